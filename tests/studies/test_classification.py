import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from auxin.studies.classification import area, balanced, carried_over, cells_resampled, estimate, threshold


def test_the_area_is_that_of_mann_and_whitney_with_ties_counted_half() -> None:
    rng = np.random.default_rng(0)
    score = rng.integers(0, 6, 40).astype(float)
    failed = score + 2 * rng.standard_normal(40) > 3
    found = estimate(area(score, failed, cells_resampled(np.arange(40))))
    u = mannwhitneyu(score[failed], score[~failed]).statistic
    assert found.value == pytest.approx(u / (failed.sum() * (~failed).sum()))
    assert 0.5 < found.low < found.value < found.high <= 1


def test_cells_are_resampled_whole() -> None:
    """Runs that repeat each other say nothing more than one of them."""
    rng = np.random.default_rng(1)
    score, failed = rng.standard_normal(12), rng.random(12) < 0.5
    again, others = np.repeat(score, 3), np.repeat(failed, 3)
    once = estimate(area(score, failed, cells_resampled(np.arange(12))))
    thrice = estimate(area(again, others, cells_resampled(np.repeat(np.arange(12), 3))))
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))
    alone = estimate(area(again, others, cells_resampled(np.arange(36))))
    assert alone.high - alone.low < 0.8 * (thrice.high - thrice.low)


def test_balanced_accuracy_and_threshold() -> None:
    failed = np.array([False, False, False, True, True, False])
    score = np.array([0.0, 1.0, 2.0, 4.0, 5.0, 4.5])
    once, none = np.ones((1, 6)), np.zeros(6, bool)
    assert threshold(score, failed) == 3.0
    assert balanced(score >= 3.0, failed, once) == pytest.approx((1 + 3 / 4) / 2)
    assert balanced(~none, failed, once) == 0.5
    assert threshold(score, none) == np.inf
    assert np.isnan(area(score, none, once))
    assert threshold(score, ~failed) == 0.0, "calls all of them failures"


def test_a_threshold_from_other_groups_never_saw_the_group_it_judges() -> None:
    score = np.array([0.0, 10.0, 0.0, 10.0, 3.0, 4.0])
    failed = np.array([False, True, False, True, True, False])
    group = np.array(["a", "a", "b", "b", "c", "c"])
    blamed = carried_over(score, failed, group)
    assert blamed.tolist()[4:] == [False, False], "5 is halfway on a and b"
    from_c = carried_over(score, failed, np.where(group == "c", "c", "other"))
    assert from_c[:4].tolist() == [False, True, False, True], "3, the lowest that is as good as none"
