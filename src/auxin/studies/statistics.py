"""The tests that the studies' answers rest on; every random number comes from a seed.

A response is measured in several runs at each of a few ordered levels (depths, exponents): ``peak_test`` asks
whether it rises and then falls, ``two_factors`` on which of two crossed factors it depends. Intervals are of 95%:
Student's for means and their differences, percentiles of bootstrap draws over runs (Efron 1979) for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from auxin.measures.intervals import welch, wilson

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

RESAMPLES = 4000
SEED = 0


class Estimate(NamedTuple):
    """A number with its 95% interval; a template writes it.

    >>> share = Estimate(0.12, 0.03, 0.2)
    >>> f"{share:%}, {share:points}, {share:2}"
    '12% (3 to 20), 12 points (3 to 20), 0.12 (0.03 to 0.20)'
    """

    value: float
    low: float
    high: float

    def __neg__(self) -> Estimate:
        """Of the number's opposite."""
        return Estimate(-self.value, -self.high, -self.low)

    def within(self, low: float, high: float) -> Estimate:
        """With its interval cut to what the number can be; NaN stays."""
        return Estimate(self.value, *np.clip(self[1:], low, high).tolist())

    def columns(self, name: str) -> dict[str, float]:
        """As the columns ``name``, ``name_low`` and ``name_high`` of a table."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    def bounds(self, digits: int) -> str:
        """The interval alone, as ``(0.03 to 0.20)``."""
        if not math.isfinite(self.low + self.high):
            return "(no interval)"
        return f"({written(self.low, digits)} to {written(self.high, digits)})"

    def __format__(self, spec: str) -> str:
        if not math.isfinite(self.value):
            return "undetermined" if spec.isdigit() else UNDETERMINED[spec]
        if spec.isdigit():
            return f"{written(self.value, int(spec))} {self.bounds(int(spec))}"
        scaled = Estimate(*(100 * x for x in self))
        return f"{written(scaled.value, 0)}{'%' if spec == '%' else ' points'} {scaled.bounds(0)}"


UNKNOWN = Estimate(math.nan, math.nan, math.nan)
UNDETERMINED = {"%": "an undetermined share", "points": "an undetermined number of points"}


def written(value: float, digits: int | str) -> str:
    """A number with so many digits, or in a format, its minus sign a true one."""
    return f"{value:{digits if isinstance(digits, str) else f'z.{digits}f'}}".replace("-", "−")


def p_text(p: float) -> str:
    """``p = 0.012``, ``p < 0.001``, or that there were too few runs for a test."""
    if math.isnan(p):
        return "untestable"
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def interval(value: float, drawn: Array) -> Estimate:
    """The estimate with the 2.5% and 97.5% quantiles of its bootstrap draws; NaN without finite ones."""
    finite = drawn[np.isfinite(drawn)]
    bounds = np.quantile(finite, [0.025, 0.975]).tolist() if len(finite) else (math.nan, math.nan)
    return Estimate(float(value), *bounds)


def contrast(groups: Sequence[Array], weights: Sequence[float], comparisons: int = 1) -> Estimate:
    """Σ_i w_i·mean(group_i) with the interval of ``welch``; NaN where a group is empty."""
    if min(map(len, groups)) == 0:
        return UNKNOWN
    value = sum(w * g.mean() for w, g in zip(weights, groups, strict=True))
    return Estimate(float(value), *welch(groups, weights, comparisons))


def share_contrast(groups: Sequence[Array], weights: Sequence[float], comparisons: int = 1) -> Estimate:
    """``contrast`` of numbers from 0 to 1: its interval does not go beyond what they can add up to."""
    least, most = (float(sum(w for w in weights if w * sign > 0)) for sign in (-1, 1))
    return contrast(groups, weights, comparisons).within(least, most)


def mean(values: Array, low: float = -math.inf, high: float = math.inf) -> Estimate:
    """The mean of independent runs, of numbers that lie between ``low`` and ``high``."""
    return contrast([values], [1.0]).within(low, high)


def proportion(successes: int, trials: int) -> Estimate:
    """A share of models with Wilson's interval; unknown of none."""
    return Estimate(successes / trials, *wilson(successes, trials)) if trials else UNKNOWN


def paired(statistic: Callable[[Array, Array], Array], x: Array, y: Array, seed: int = SEED) -> Estimate:
    """A statistic of pairs, whole pairs resampled; it works along the axis of runs, the last of x [N]."""
    drawn = np.random.default_rng(seed).integers(0, len(x), (RESAMPLES, len(x)))
    return interval(float(statistic(x, y)), statistic(x[drawn], y[drawn]))


def ratio(part: Array, whole: Array) -> Array:
    """part/whole; NaN where the whole is not above 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def spearman(x: Array, y: Array) -> Array:
    """Rank correlation along the last axis; NaN where one of the two does not vary."""
    a, b = rankdata(x, axis=-1), rankdata(y, axis=-1)
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    return ratio((a * b).sum(-1), np.sqrt((a * a).sum(-1) * (b * b).sum(-1)))


def r_squared(truth: Array, prediction: Array) -> Array:
    """1 − Σ(y − ŷ)²/Σ(y − ȳ)² along the last axis; NaN where the truth does not vary."""
    total = ((truth - truth.mean(-1, keepdims=True)) ** 2).sum(-1)
    return 1 - ratio(((truth - prediction) ** 2).sum(-1), total)


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
        found = "a peak inside the range" if self.inside else "no peak that can be told from a monotone curve"
        return f"{found} ({p_text(self.p)})"


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
    if len(x) == 1:
        return Peak(UNKNOWN, math.nan, UNKNOWN, UNKNOWN)
    values, weights = np.asarray(values, float), counts.astype(float)
    means = np.bincount(index, values) / counts
    observed, fit = _unimodal(means[None], weights)
    top = int(fit[0].argmax())
    at = [values[index == k] for k in range(len(x))]
    rise, fall = (
        contrast([at[top], at[end]], [1, -1], len(x) - 1) if end != top else Estimate(0.0, 0.0, 0.0)
        for end in (0, len(x) - 1)
    )
    if counts.max() == 1:
        return Peak(Estimate(x[top], math.nan, math.nan), math.nan, rise, fall)
    generator = np.random.default_rng(seed)
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
    total = np.pad(np.cumsum(weights * means, axis=1), ((0, 0), (1, 0)))
    weight = np.pad(np.cumsum(weights), (1, 0))
    fitted = np.empty_like(means)
    for i in range(len(weights)):
        j, k = np.arange(i + 1)[:, None], np.arange(i, len(weights))[None, :] + 1
        fitted[:, i] = ((total[:, k] - total[:, j]) / (weight[k] - weight[j])).min(2).max(1)
    return fitted


def _resampled_means(values: Array, index: Labels, groups: int, generator: np.random.Generator) -> Array:
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
    factors = np.stack([np.unique(factor, return_inverse=True)[1] for factor in (first, second)])
    values = np.asarray(values, float)
    cells, index, counts = np.unique(factors, axis=1, return_inverse=True, return_counts=True)
    index = index.ravel()
    if counts.max() == 1:
        return TwoFactors(UNKNOWN, UNKNOWN, math.nan, math.nan)
    means = np.bincount(index, values) / counts
    generator = np.random.default_rng(seed)
    noise = np.bincount(index, (values - means[index]) ** 2) / np.maximum(counts * (counts - 1), 1)
    again = _resampled_means(values, index, len(counts), generator)
    repeated = noise * (1 + (counts - 1) / counts)  # resampling adds its own scatter to the runs'
    estimates, ps = [], []
    for f in (0, 1):
        value = _share(means[None], cells[f], noise)[0]
        estimates.append(interval(value, _share(again, cells[f], repeated)))
        shuffled = np.tile(values, (1 + RESAMPLES, 1))
        for level in np.unique(factors[1 - f]):
            own = np.flatnonzero(factors[1 - f] == level)
            shuffled[1:, own] = generator.permuted(shuffled[1:, own], axis=1)
        member = (index[:, None] == np.arange(len(counts))) / counts
        drawn, blocks = shuffled @ member, cells[1 - f]
        within = np.sum([_scatter(drawn, counts, blocks == block) for block in np.unique(blocks)], axis=0)
        ps.append(float((1 + (within[1:] >= within[0] - 1e-12).sum()) / (1 + RESAMPLES)))
    return TwoFactors(*estimates, *ps)


def _scatter(means: Array, counts: Labels, cells: NDArray[np.bool_]) -> Array:
    """[R]: sum of squares of some cells' means [R, C] around their own mean, weighted by runs."""
    center = (means[:, cells] * counts[cells]).sum(1, keepdims=True) / counts[cells].sum()
    return (counts[cells] * (means[:, cells] - center) ** 2).sum(1)


def _share(means: Array, factor: Labels, noise: Array) -> Array:
    """[R]: share of the variance of cell means [R, C] that a factor accounts for, noise taken off."""
    C = means.shape[1]
    whole = means.var(axis=1) - noise.mean() * (C - 1) / C
    within = np.zeros(len(means))
    for level in np.unique(factor):
        own = factor == level
        n = own.sum()
        within += n / C * (means[:, own].var(axis=1) - noise[own].mean() * (n - 1) / n)
    return np.clip(1 - ratio(within, whole), 0, 1)
