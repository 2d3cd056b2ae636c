"""The tests that the studies' answers rest on; every random number comes from a seed.

A response is measured in several runs at each of a few ordered levels (depths, exponents): ``peak_test`` asks
whether it rises and then falls, ``two_factors`` on which of two crossed factors it depends. Intervals are of 95%:
Student's for means and their differences, percentiles of bootstrap draws over runs (Efron 1979) for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from auxin.measures.intervals import welch, wilson

Array = NDArray[np.float64]

RESAMPLES = 4000
SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval."""

    value: float
    low: float
    high: float

    def __neg__(self) -> Estimate:
        """Of the number's opposite."""
        return Estimate(-self.value, -self.high, -self.low)

    def within(self, low: float, high: float) -> Estimate:
        """With its interval cut to what the number can be; NaN stays."""
        return Estimate(self.value, *np.clip([self.low, self.high], low, high).tolist())

    def columns(self, name: str) -> dict[str, float]:
        """As the columns ``name``, ``name_low`` and ``name_high`` of a table."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    def percent(self) -> str:
        """A share, as ``12% (3 to 20)``."""
        return self._written(100, 0, "%") or "an undetermined share"

    def points(self) -> str:
        """A difference of shares, as ``12 points (3 to 20)``."""
        return self._written(100, 0, " points") or "an undetermined number of points"

    def text(self, digits: int = 2) -> str:
        """As ``0.12 (0.03 to 0.20)``."""
        return self._written(1, digits, "") or "undetermined"

    def bounds(self, digits: int) -> str:
        """The interval alone, as ``(0.03 to 0.20)``."""
        if not math.isfinite(self.low + self.high):
            return "(no interval)"
        return f"({written(self.low, digits)} to {written(self.high, digits)})"

    def _written(self, scale: float, digits: int, unit: str) -> str:
        scaled = Estimate(scale * self.value, scale * self.low, scale * self.high)
        known = math.isfinite(self.value)
        return f"{written(scaled.value, digits)}{unit} {scaled.bounds(digits)}" if known else ""


def written(value: float, digits: int | str) -> str:
    """A number with so many digits, or in a format, its minus sign a true one."""
    return f"{value:{digits if isinstance(digits, str) else f'z.{digits}f'}}".replace("-", "−")


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def p_text(p: float) -> str:
    """``p = 0.012``, ``p < 0.001``, or that there were too few runs for a test."""
    if math.isnan(p):
        return "untestable"
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def interval(value: float, drawn: Array) -> Estimate:
    """The estimate with the 2.5% and 97.5% quantiles of its bootstrap draws; NaN without finite ones."""
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return Estimate(float(value), np.nan, np.nan)
    low, high = np.quantile(finite, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def contrast(groups: Sequence[Array], weights: Sequence[float], comparisons: int = 1) -> Estimate:
    """Σ_i w_i·mean(group_i) with the interval of ``welch``; NaN where a group is empty."""
    if min(map(len, groups)) == 0:
        return UNKNOWN
    value = sum(w * g.mean() for w, g in zip(weights, groups, strict=True))
    return Estimate(float(value), *welch(groups, weights, comparisons))


def mean(values: Array) -> Estimate:
    """The mean of independent runs."""
    return contrast([values], [1.0])


def mean_share(values: Array) -> Estimate:
    """The mean of numbers from 0 to 1, beyond which its interval does not go."""
    return mean(values).within(0, 1)


def proportion(successes: int, trials: int) -> Estimate:
    """A share of models with Wilson's interval; unknown of none."""
    return Estimate(successes / trials, *wilson(successes, trials)) if trials else UNKNOWN


def mean_size(values: Array) -> Estimate:
    """The mean of numbers that are never negative (losses, steps, ratios of them), nor is its interval."""
    return mean(values).within(0, math.inf)


def share_contrast(groups: Sequence[Array], weights: Sequence[float], comparisons: int = 1) -> Estimate:
    """``contrast`` of numbers from 0 to 1: its interval does not go beyond what they can add up to."""
    least, most = (float(sum(w for w in weights if w * sign > 0)) for sign in (-1, 1))
    return contrast(groups, weights, comparisons).within(least, most)


def paired(statistic: Callable[[Array, Array], Array], x: Array, y: Array, seed: int = SEED) -> Estimate:
    """A statistic of pairs, whole pairs resampled; it works along the axis of runs, the last of x [N]."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(x), (RESAMPLES, len(x)))
    return interval(float(statistic(x, y)), statistic(x[drawn], y[drawn]))


def spearman(x: Array, y: Array) -> Array:
    """Rank correlation along the last axis; NaN where one of the two does not vary."""
    a, b = rankdata(x, axis=-1), rankdata(y, axis=-1)
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.where(scale > 0, (a * b).sum(-1) / np.where(scale > 0, scale, 1), np.nan)


def r_squared(truth: Array, prediction: Array) -> Array:
    """1 − Σ(y − ŷ)²/Σ(y − ȳ)² along the last axis; NaN where the truth does not vary."""
    total = ((truth - truth.mean(-1, keepdims=True)) ** 2).sum(-1)
    left = ((truth - prediction) ** 2).sum(-1)
    return np.where(total > 0, 1 - left / np.where(total > 0, total, 1), np.nan)


@dataclass(frozen=True)
class Peak:
    """Whether a response rises and then falls over ordered levels."""

    location: Estimate
    """The level at which the best rising-then-falling curve is highest."""
    p: float
    """Of so much better a fit than every monotone curve's, were the curve monotone; NaN with a run a level, and
    with fewer than three levels, which have none inside."""
    rise: Estimate
    """Mean at the highest level minus mean at the lowest x; its interval allows for the choice of that level."""
    fall: Estimate
    """Mean at the highest level minus mean at the highest x, likewise."""

    @property
    def inside(self) -> bool:
        """Whether there is a peak between the ends, at p < 0.05."""
        return self.p < 0.05

    def text(self) -> str:
        """Whether there is a peak, with its p, to follow "there is"."""
        if math.isnan(self.p):
            return "no test of a peak: that takes three levels, and several runs at one of them"
        told = "a peak inside the range" if self.inside else "no peak that can be told from a monotone curve"
        return f"{told} ({p_text(self.p)})"


def peak_test(levels: Array, values: Array, seed: int = SEED) -> Peak:
    """Test a curve with a peak inside the range against all monotone ones, whatever their shapes.

    Against rising curves T = SSE of the best rising (isotonic) fit − SSE of the best unimodal one, which rises
    to some level and falls from there, each to the level means, weighted by runs; likewise against falling ones.
    The null distribution is that of a flat curve, the least favourable of both families, with runs' residuals
    resampled within their levels, whose scatter may differ; p is the larger of the two. A parabola would call a
    curve that saturates a peak; this does not. Without a second run at any level there is neither p nor interval,
    with fewer than three levels no p, with one level no rise or fall.
    Cost O(resamples·K³) for K levels.
    """
    x, index, counts = np.unique(levels, return_inverse=True, return_counts=True)
    values, weights = np.asarray(values, float), counts.astype(float)
    means = np.bincount(index, values) / counts
    generator = np.random.default_rng(seed)
    observed, fit = _unimodal(means[None], weights)
    top = int(fit[0].argmax())
    at = [values[index == k] for k in range(len(x))]
    ends = (0, len(x) - 1)
    rise, fall = (
        contrast([at[top], at[end]], [1, -1], len(x) - 1) if end != top else Estimate(0.0, 0.0, 0.0)
        for end in ends
    )
    if len(x) == 1:
        return Peak(UNKNOWN, math.nan, UNKNOWN, UNKNOWN)
    if counts.max() == 1:
        return Peak(Estimate(x[top], math.nan, math.nan), math.nan, rise, fall)
    residuals = (values - means[index]) * np.sqrt(counts / np.maximum(counts - 1, 1))[index]
    null = _unimodal(_resampled_means(residuals, index, len(x), generator), weights)[0]
    p = float((1 + (null >= observed - 1e-12).sum(0)).max() / (1 + RESAMPLES)) if len(x) > 2 else math.nan
    again = _resampled_means(values, index, len(x), generator)
    return Peak(interval(x[top], x[_unimodal(again, weights)[1].argmax(1)]), p, rise, fall)


def _unimodal(means: Array, weights: Array) -> tuple[Array, Array]:
    """By how much the best rising and the best falling fit are worse [R, 2] than the best unimodal fit [R, K]."""
    fits = []
    for split in range(means.shape[1] + 1):  # rising over the first ``split`` levels, falling over the others
        rising = _isotonic(means[:, :split], weights[:split])
        falling = _isotonic(means[:, split:][:, ::-1], weights[split:][::-1])[:, ::-1]
        fits.append(np.concatenate([rising, falling], axis=1))
    errors = np.stack([(weights * (fit - means) ** 2).sum(1) for fit in fits])  # [K + 1, R]
    best = np.stack(fits)[errors.argmin(0), np.arange(len(means))]
    return (errors[[-1, 0]] - errors.min(0)).T, best


def _isotonic(means: Array, weights: Array) -> Array:
    """Weighted isotonic regression of all rows at once, which scipy takes one by one.

    g_i = max over j ≤ i of min over k ≥ i of the mean of j … k.
    """
    K = means.shape[1]
    if K == 0:
        return means
    total = np.concatenate([np.zeros((len(means), 1)), np.cumsum(weights * means, axis=1)], axis=1)
    weight = np.concatenate([[0.0], np.cumsum(weights)])
    fitted = np.empty_like(means)
    for i in range(K):
        j, k = np.arange(i + 1)[:, None], np.arange(i, K)[None, :] + 1
        averages = (total[:, k] - total[:, j]) / (weight[k] - weight[j])  # [R, i + 1, K − i]
        fitted[:, i] = averages.min(2).max(1)
    return fitted


def _level_means(values: Array, index: NDArray[np.intp], counts: NDArray[np.intp]) -> Array:
    """[R, K]: means by level of each row of values [R, N]."""
    member = (index[:, None] == np.arange(len(counts))) / counts
    return values @ member


def _resampled_means(
    values: Array, index: NDArray[np.intp], groups: int, generator: np.random.Generator
) -> Array:
    """[R, K]: group means with runs resampled within their groups."""
    again = np.empty((RESAMPLES, groups))
    for k in range(groups):
        own = values[index == k]
        again[:, k] = own[generator.integers(0, len(own), (RESAMPLES, len(own)))].mean(1)
    return again


@dataclass(frozen=True)
class TwoFactors:
    """On which of two crossed factors a response depends."""

    by_first: Estimate
    """Share of the differences among cell means that the first factor alone accounts for, 0 to 1."""
    by_second: Estimate
    """The same for the second factor."""
    p_first: float
    """Permutation test that the first factor does not matter where the second is the same."""
    p_second: float
    """Permutation test that the second factor does not matter where the first is the same."""


def two_factors(first: Array, second: Array, values: Array, seed: int = SEED) -> TwoFactors:
    """Which of two crossed factors decides: shares of variance, and permutations of each one's labels.

    With m the cell means, V their variance and V(·|f) its mean within levels of f, both corrected for the runs'
    scatter, a factor f accounts for the share 1 − V(·|f)/V. For the p of a factor, runs are permuted within the
    levels of the other one, which keeps every effect of that; the statistic is the variance of cell means there.
    Where no cell has a second run there is nothing to judge by: shares and p are NaN.
    """
    a, b = np.unique(first, return_inverse=True)[1], np.unique(second, return_inverse=True)[1]
    values = np.asarray(values, float)
    cells, index, counts = np.unique(np.stack([a, b]), axis=1, return_inverse=True, return_counts=True)
    index = index.ravel()
    if counts.max() == 1:
        return TwoFactors(UNKNOWN, UNKNOWN, math.nan, math.nan)
    means = np.bincount(index, values) / counts
    generator = np.random.default_rng(seed)
    noise = np.bincount(index, (values - means[index]) ** 2) / np.maximum(counts * (counts - 1), 1)
    again = _resampled_means(values, index, len(counts), generator)
    repeated = noise * (1 + (counts - 1) / counts)  # resampling adds its own scatter to the runs'
    estimates, ps = [], []
    for own, other in ((cells[0], b), (cells[1], a)):
        value = _share(means[None], own, noise)[0]
        estimates.append(interval(value, _share(again, own, repeated)))
        ps.append(_permutation_p(index, counts, cells[1 - len(ps)], other, values, generator))
    return TwoFactors(*estimates, *ps)


def _share(means: Array, factor: NDArray[np.intp], noise: Array) -> Array:
    """[R]: share of the variance of cell means [R, C] that a factor accounts for, noise taken off."""
    C = means.shape[1]
    whole = means.var(axis=1) - noise.mean() * (C - 1) / C
    within = np.zeros(len(means))
    for level in np.unique(factor):
        own = factor == level
        n = own.sum()
        within += n / C * (means[:, own].var(axis=1) - noise[own].mean() * (n - 1) / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, np.clip(1 - within / whole, 0, 1), np.nan)


def _permutation_p(
    index: NDArray[np.intp],
    counts: NDArray[np.intp],
    blocks: NDArray[np.intp],
    block: NDArray[np.intp],
    values: Array,
    generator: np.random.Generator,
) -> float:
    """p of the weighted variance of cell means within blocks, runs permuted within blocks."""
    shuffled = np.empty((RESAMPLES, len(values)))
    for level in np.unique(block):
        own = np.flatnonzero(block == level)
        shuffled[:, own] = generator.permuted(np.tile(values[own], (RESAMPLES, 1)), axis=1)
    means = _level_means(np.concatenate([values[None], shuffled]), index, counts)
    statistic = np.zeros(len(means))
    for level in np.unique(blocks):
        own = blocks == level
        center = (means[:, own] * counts[own]).sum(1, keepdims=True) / counts[own].sum()
        statistic += (counts[own] * (means[:, own] - center) ** 2).sum(1)
    return float((1 + (statistic[1:] >= statistic[0] - 1e-12).sum()) / (1 + RESAMPLES))
