"""The studies' tests find what is planted and nothing where nothing is; intervals cover what they should."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import isotonic_regression
from scipy.stats import bootstrap, spearmanr

from auxin.studies import statistics
from auxin.studies.statistics import (
    Estimate,
    contrast,
    mean,
    paired,
    peak_test,
    r_squared,
    share_contrast,
    spearman,
    two_factors,
)

DEPTHS = np.repeat([2.0, 4, 6, 8, 10], 5)
EXPONENT = np.tile(np.repeat([-0.5, -1, -2, -3, -4.5, -7], 5), 4)
DEPTH = np.repeat([2.0, 4, 8, 12], 30)
Curve = Callable[[np.ndarray], np.ndarray]


def noise(size: int, seed: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(size)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 300)


def test_a_planted_inverted_u_is_found() -> None:
    peak = peak_test(DEPTHS, 0.9 - 0.02 * (DEPTHS - 6) ** 2 + noise(25, 0))
    assert peak.inside
    assert 4 <= peak.location.low <= 6 <= peak.location.high <= 8
    assert peak.rise.value == pytest.approx(0.32, abs=0.15)
    assert peak.rise.low > 0
    assert peak.fall.low > 0


@pytest.mark.parametrize(
    "curve",
    [
        pytest.param(lambda x: 0 * x, id="flat"),
        pytest.param(lambda x: 0.1 * x, id="rising"),
        pytest.param(lambda x: -0.1 * x, id="falling"),
        pytest.param(lambda x: np.minimum(x, 4) / 4, id="saturating"),
        pytest.param(lambda x: 1.0 * (x > 5), id="a step"),
    ],
)
@pytest.mark.parametrize("spread", [1, 3 * DEPTHS / 10], ids=["alike", "wider with depth"])
def test_no_peak_is_found_in_a_monotone_curve(
    curve: Curve, spread: float | np.ndarray, few_resamples: None
) -> None:
    found = [peak_test(DEPTHS, curve(DEPTHS) + spread * noise(25, seed), seed).inside for seed in range(200)]
    assert np.mean(found) <= 0.1  # 5%, and three standard errors


def test_the_choice_of_the_highest_level_is_allowed_for(few_resamples: None) -> None:
    """On a flat curve some level is highest, and does not rise above the first."""
    peaks = [peak_test(DEPTHS, noise(25, seed), seed) for seed in range(200)]
    assert np.mean([peak.rise.low > 0 for peak in peaks]) <= 0.05
    assert np.mean([peak.fall.low > 0 for peak in peaks]) <= 0.05


def test_a_valley_is_no_peak() -> None:
    assert not peak_test(DEPTHS, 0.02 * (DEPTHS - 6) ** 2 + noise(25, 0)).inside


def test_one_run_a_level_cannot_be_tested() -> None:
    peak = peak_test(np.array([1.0, 2, 3]), np.array([0.0, 1, 0]))
    assert np.isnan(peak.p)
    assert not peak.inside
    assert peak.location.value == 2
    assert f"{peak.location:0}" == "2 (no interval)"
    assert f"{peak.rise:points}" == "100 points (no interval)"
    factors = two_factors(np.array([0.0, 0, 1, 1]), np.array([0.0, 1, 0, 1]), np.arange(4.0))
    assert np.isnan([factors.p_first, factors.p_second, factors.by_first.low]).all()


def test_isotonic_regression_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    means, weights = rng.standard_normal((20, 6)), rng.integers(1, 6, 6).astype(float)
    expected = [isotonic_regression(row, weights=weights).x for row in means]
    np.testing.assert_allclose(statistics._isotonic(means, weights), expected, atol=1e-12)


def test_the_factor_that_decides_is_found() -> None:
    curve = np.exp(-((EXPONENT + 2) ** 2) / 4)
    by_exponent = two_factors(EXPONENT, DEPTH, curve + noise(120, 0))
    assert by_exponent.by_first.low > 0.9
    assert by_exponent.by_second.high < 0.1
    assert by_exponent.p_first < 0.001
    assert by_exponent.p_second > 0.05
    by_depth = two_factors(EXPONENT, DEPTH, 0.5 * (DEPTH == 4) + noise(120, 1))
    assert by_depth.by_second.low > 0.9
    assert by_depth.p_second < 0.001
    assert by_depth.p_first > 0.05


def test_two_factors_swap() -> None:
    values = 0.3 * (DEPTH == 4) + np.exp(-((EXPONENT + 2) ** 2) / 4) + noise(120, 0)
    one, other = two_factors(EXPONENT, DEPTH, values), two_factors(DEPTH, EXPONENT, values)
    assert one.by_first.value == pytest.approx(other.by_second.value)
    assert one.by_second.value == pytest.approx(other.by_first.value)


def test_permutation_p_is_uniform_without_an_effect(few_resamples: None) -> None:
    ps = [two_factors(EXPONENT, DEPTH, np.sin(EXPONENT) + noise(120, s), s).p_second for s in range(40)]
    assert np.mean(np.array(ps) < 0.05) <= 0.15
    assert 0.35 < np.mean(ps) < 0.65


def test_the_share_of_a_factor_is_covered(few_resamples: None) -> None:
    effect = np.exp(-((EXPONENT + 2) ** 2) / 4) + 0.3 * (DEPTH == 4)
    cells = np.array([[effect[(e == EXPONENT) & (d == DEPTH)][0] for d in set(DEPTH)] for e in set(EXPONENT)])
    truth = 1 - cells.var(axis=1).mean() / cells.var()
    estimates = [two_factors(EXPONENT, DEPTH, effect + noise(120, s), s).by_first for s in range(40)]
    assert np.mean([e.low <= truth <= e.high for e in estimates]) >= 0.82


def test_contrast_of_means() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1.0, 0.1, 50), rng.normal(0.4, 0.1, 50)
    gap = contrast([a, b], [1, -1])
    assert gap.value == pytest.approx(a.mean() - b.mean())
    assert gap.high - gap.low == pytest.approx(2 * 1.96 * np.sqrt(a.var() / 50 + b.var() / 50), rel=0.1)
    assert contrast([a, b], [1, -1]) == gap
    single = mean(np.array([0.3]))
    assert single.value == 0.3
    assert np.isnan([single.low, single.high]).all()
    assert np.isnan(contrast([a, np.array([])], [1, -1]).value)


def test_the_interval_of_a_share_stays_within_zero_and_one() -> None:
    few = np.array([0.0, 0.0, 0.0, 0.0, 0.9])
    assert mean(few).low < 0
    assert mean(few, 0, 1).low == 0
    assert mean(1 - few, 0, 1).high == 1
    assert mean(few, 0, 1).high == mean(few).high
    assert np.isnan(mean(np.array([0.5]), 0, 1).low)


def test_intervals_hold_nothing_that_cannot_be() -> None:
    assert mean(np.array([0.5, 9.0])).low < 0
    assert mean(np.array([0.5, 9.0]), 0).low == 0
    none, all_or_none = np.zeros(3), np.array([0.0, 1.0])
    assert contrast([all_or_none, none], [1, -1]).high > 1
    found = share_contrast([all_or_none, none], [1, -1])
    assert (found.low, found.high) == (-1, 1)
    half = share_contrast([all_or_none, all_or_none, none], [1, -0.5, -0.5])
    assert (half.low, half.high) == (-1, 1)
    four = share_contrast([all_or_none] * 4, [1, -1, -1, 1])
    assert (four.low, four.high) == (-2, 2)
    assert np.isnan(share_contrast([none[:1], none], [1, -1]).low)


def test_zero_has_no_sign() -> None:
    tiny = Estimate(-0.001, -0.004, 0.004)
    assert f"{tiny:%}" == "0% (0 to 0)"
    assert f"{tiny:points}" == "0 points (0 to 0)"
    assert f"{tiny:2}" == "0.00 (0.00 to 0.00)"
    assert f"{-Estimate(0.0, 0.0, 0.1):1}" == "0.0 (−0.1 to 0.0)"


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_levels_have_no_peak_to_test(count: int) -> None:
    levels = np.repeat(np.arange(1.0, count + 1), 5)
    peak = peak_test(levels, levels + noise(len(levels), 0))
    assert np.isnan(peak.p)
    assert not peak.inside
    assert "takes three levels" in peak.text()
    assert np.isnan(peak.rise.value) == (count == 1)


def test_spearman_is_that_of_scipy_and_r_squared_of_a_mean_is_zero() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 10, 40).astype(float)
    y = x + rng.standard_normal(40)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)))
    assert r_squared(y, y) == 1
    assert r_squared(y, np.full(40, y.mean())) == 0
    estimate = paired(spearman, x, y)
    assert estimate.low < estimate.value < estimate.high


def test_pairs_are_resampled_as_scipy_does() -> None:
    x, y = np.random.default_rng(0).random((2, 30))
    drawn = bootstrap(
        (x, y),
        lambda x, y, axis: spearman(x, y),
        paired=True,
        method="percentile",
        n_resamples=4000,
        random_state=1,
    )
    expected = drawn.confidence_interval
    found = paired(spearman, x, y)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)
