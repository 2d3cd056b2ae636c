"""Intervals hold what they say, for as few runs as studies have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp, ttest_ind

from auxin.errors import DataError
from auxin.measures.intervals import welch, wilson

RNG = np.random.default_rng


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(deadline=None)
def test_wilson_is_where_the_score_test_is_just_not_significant(counts: tuple[int, int]) -> None:
    """(p̂ − p)² = z²·p(1 − p)/n at both ends, or an end is 0 or 1."""
    successes, n = counts
    for p in wilson(*counts):
        assert (successes / n - p) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / n, abs=1e-6)


@pytest.mark.parametrize("counts", [(1, 0), (3, 2), (-1, 2)])
def test_impossible_proportions(counts: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="allowed"):
        wilson(*counts)


def test_welch_agrees_with_scipy() -> None:
    a, b = RNG(0).normal(1, 1, 5), RNG(1).normal(0, 4, 9)
    one = ttest_1samp(a, 0).confidence_interval()
    assert welch([a]) == pytest.approx((one.low, one.high))
    two = ttest_ind(a, b, equal_var=False).confidence_interval()
    assert welch([a, b], [1, -1]) == pytest.approx((two.low, two.high))
    low, high = ttest_ind(a, b, equal_var=False).confidence_interval(1 - 0.05 / 4)
    assert welch([a, b], [1, -1], comparisons=4) == pytest.approx((low, high))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_of_few_runs_hold_the_mean(n: int) -> None:
    """95% of the time; percentiles of bootstrap means do so 75, 84 and 90% of the time."""
    one = [welch([sample]) for sample in RNG(n).standard_normal((2000, n))]
    assert np.mean([low <= 0 <= high for low, high in one]) == pytest.approx(0.95, abs=0.015)
    pairs = zip(RNG(n).standard_normal((2000, n)), 5 * RNG(n + 1).standard_normal((2000, 2 * n)), strict=True)
    two = [welch(pair, [1, -1]) for pair in pairs]
    assert np.mean([low <= 0 <= high for low, high in two]) == pytest.approx(0.95, abs=0.015)


def test_one_run_has_no_interval_and_runs_that_agree_a_point() -> None:
    assert np.isnan(welch([np.array([0.3])])).all()
    assert np.isnan(welch([np.arange(5.0), np.array([0.3])], [1, -1])).all()
    assert welch([np.full(4, 0.5)]) == (0.5, 0.5)
