import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from auxin.studies.classification import Verdicts


def test_the_area_is_that_of_mann_and_whitney_with_ties_counted_half() -> None:
    rng = np.random.default_rng(0)
    score = rng.integers(0, 6, 40).astype(float)
    failed = score + 2 * rng.standard_normal(40) > 3
    found = Verdicts(np.arange(40), failed).area(score)
    u = mannwhitneyu(score[failed], score[~failed]).statistic
    assert found.value == pytest.approx(u / (failed.sum() * (~failed).sum()))
    assert 0.5 < found.low < found.value < found.high <= 1


def test_cells_are_resampled_whole() -> None:
    """Runs that repeat each other say nothing more than one of them."""
    rng = np.random.default_rng(1)
    score, failed = rng.standard_normal(12), rng.random(12) < 0.5
    once = Verdicts(np.arange(12), failed).area(score)
    thrice = Verdicts(np.repeat(np.arange(12), 3), np.repeat(failed, 3)).area(np.repeat(score, 3))
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))
    alone = Verdicts(np.arange(36), np.repeat(failed, 3)).area(np.repeat(score, 3))
    assert alone.high - alone.low < 0.8 * (thrice.high - thrice.low)


def test_balanced_accuracy_and_threshold() -> None:
    failed = np.array([False, False, False, True, True, False])
    score = np.array([0.0, 1.0, 2.0, 4.0, 5.0, 4.5])
    verdicts = Verdicts(np.arange(6), failed)
    assert verdicts.threshold(score) == 3.0
    assert verdicts.balanced(score >= 3.0).value == pytest.approx((1 + 3 / 4) / 2)
    assert verdicts.balanced(np.ones(6, bool)).value == 0.5
    assert Verdicts(np.arange(6), np.zeros(6, bool)).threshold(score) == np.inf
    assert np.isnan(Verdicts(np.arange(6), np.zeros(6, bool)).area(score).value)
    assert Verdicts(np.arange(6), ~failed).threshold(score) == 0.0, "calls all of them failures"


def test_a_threshold_from_other_groups_never_saw_the_group_it_judges() -> None:
    score = np.array([0.0, 10.0, 0.0, 10.0, 3.0, 4.0])
    failed = np.array([False, True, False, True, True, False])
    group = np.array(["a", "a", "b", "b", "c", "c"])
    blamed = Verdicts(np.arange(6), failed).carried_over(score, group)
    assert blamed.tolist()[4:] == [False, False], "5 is halfway on a and b"
    from_c = Verdicts(np.arange(6), failed).carried_over(score, np.where(group == "c", "c", "other"))
    assert from_c[:4].tolist() == [False, True, False, True], "3, the lowest that is as good as none"
