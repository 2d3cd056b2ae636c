"""Which models fail: probabilities fitted to some groups of them, scores, and yes or no, judged on others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from auxin.studies.statistics import RESAMPLES, SEED, Array, Estimate, interval, proportion, ratio

Flags = NDArray[np.bool_]

PENALTY, BINS, DRAWS = 1.0, 10, 2000
FAR = 4.0
"""Standard deviations at which features are cut: a group left out may lie far outside those fitted."""


class Logistic:
    """Logistic regression on standardized features, their squares and products, with a ridge penalty.

    p(x) = 1/(1 + exp(−w·f(x))), w = argmin Σ log(1 + exp(−y w·f)) + ½λ‖w‖² without the constant's part, y = ±1.
    """

    def __init__(self, features: Array, failed: Flags, penalty: float = PENALTY) -> None:
        """features [N, D], failed [N]."""
        self._center, spread = features.mean(0), features.std(0)
        self._scale = np.where(spread > 0, spread, 1.0)
        rows, sign = self._expanded(features), np.where(failed, 1.0, -1.0)
        ridge = penalty * np.r_[0.0, np.ones(rows.shape[1] - 1)]

        def objective(w: Array) -> tuple[float, Array]:
            margin = sign * (rows @ w)
            gradient = -(sign * expit(-margin)) @ rows + ridge * w
            return float(np.logaddexp(0, -margin).sum() + (ridge * w * w).sum() / 2), gradient

        self._weights = minimize(objective, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x

    def __call__(self, features: Array) -> Array:
        """[N']: probabilities of failure for features [N', D]."""
        return expit(self._expanded(features) @ self._weights)

    def _expanded(self, features: Array) -> Array:
        x = np.clip((features - self._center) / self._scale, -FAR, FAR)
        i, j = np.triu_indices(x.shape[1])
        return np.concatenate([np.ones((len(x), 1)), x, x[:, i] * x[:, j]], axis=1)


def resampled(group: NDArray[Any]) -> Array:
    """[1 + R, N]: how often each model counts: once, then in bootstrap draws within its group."""
    generator = np.random.default_rng(SEED)
    counts = np.ones((1 + DRAWS, len(group)))
    for name in np.unique(group):
        own = np.flatnonzero(group == name)
        counts[1:, own] = generator.multinomial(len(own), np.full(len(own), 1 / len(own)), DRAWS)
    return counts


def area(probability: Array, failed: Flags, group: NDArray[Any], weights: Array) -> Array:
    """[R]: area under the ROC curve within a group, ties counted half, the mean over groups with both outcomes."""
    groups = [group == name for name in np.unique(group)]
    known = np.stack([_area(probability[own], failed[own], weights[:, own]) for own in groups])
    return ratio(np.nansum(known, axis=0), np.isfinite(known).sum(0))


def _area(score: Array, failed: Flags, weights: Array) -> Array:
    """[R]: how often a run that failed has the higher score of two, where runs count ``weights`` [R, N] times."""
    bad, good, one, other = score[failed], score[~failed], weights[:, failed], weights[:, ~failed]
    above = (bad[:, None] > good) + 0.5 * (bad[:, None] == good)  # [F, T]
    return ratio(((one @ above) * other).sum(1), one.sum(1) * other.sum(1))


def calibration_error(probability: Array, failed: Flags, weights: Array) -> Array:
    """[R]: |share that failed − mean probability|, the mean over bins of equally many models."""
    gap = weights * (failed - probability)
    off = [np.abs(gap[:, own].sum(1)) for own in _bins(probability)]
    return np.sum(off, axis=0) / weights.sum(1)


def calibration_bins(probability: Array, failed: Flags) -> pl.DataFrame:
    """A row a bin of equally many models: mean probability, and the share that failed with Wilson's interval."""
    rows: list[dict[str, Any]] = []
    for own in _bins(probability):
        share = proportion(int(failed[own].sum()), len(own)).columns("failed")
        rows.append({"probability": float(probability[own].mean()), "models": len(own)} | share)
    return pl.DataFrame(rows)


def _bins(probability: Array) -> list[NDArray[np.intp]]:
    return np.array_split(np.argsort(probability, kind="stable"), min(BINS, len(probability)))


@dataclass(frozen=True)
class Verdicts:
    """Runs that failed or did not, in cells of equal settings, which are resampled whole."""

    cell: NDArray[np.integer]
    """[N]: which cell a run belongs to."""
    failed: Flags
    """[N]."""

    def area(self, score: Array) -> Estimate:
        """Area under the ROC curve: how often a run that failed has the higher score of two, ties counted half.

        NaN where all failed or none did. The interval is that of percentiles of bootstrap draws of cells (Efron 1979).
        """
        return self._estimate(lambda weights: _area(score, self.failed, weights))

    def balanced(self, flagged: Flags) -> Estimate:
        """Mean of the share of failed runs that are flagged and the share of the others that are not."""

        def of(weights: Array) -> Array:
            right = weights * (flagged == self.failed)
            sides = (self.failed, ~self.failed)
            return np.mean([ratio((right * side).sum(1), (weights * side).sum(1)) for side in sides], axis=0)

        return self._estimate(of)

    def threshold(self, score: Array) -> float:
        """The score from which on runs are best called failures, by balanced accuracy; ∞ without both outcomes.

        Halfway between two scores that occur; the lowest of several that are equally good.
        """
        return _threshold(score, self.failed)

    def carried_over(self, score: Array, group: NDArray[np.generic]) -> Flags:
        """[N]: what the threshold found on all other groups says of the runs of each group."""
        limits = {g: _threshold(score[group != g], self.failed[group != g]) for g in np.unique(group)}
        return score >= np.array([limits[g] for g in group])

    def _estimate(self, statistic: Callable[[Array], Array]) -> Estimate:
        cells, index = np.unique(self.cell, return_inverse=True)
        drawn = np.random.default_rng(SEED).integers(0, len(cells), (RESAMPLES, len(cells)))
        counts = (drawn[:, :, None] == np.arange(len(cells))).sum(1)  # [R, C]
        once = np.ones((1, len(self.cell)))
        return interval(float(statistic(once)[0]), statistic(counts[:, index].astype(float)))


def _threshold(score: Array, failed: Flags) -> float:
    if failed.all() or not failed.any():
        return np.inf
    values = np.unique(score)
    limits = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2, [np.inf]])
    flagged = score >= limits[:, None]  # [K, N]
    accuracy = (flagged[:, failed].mean(1) + (~flagged[:, ~failed]).mean(1)) / 2
    return float(limits[accuracy.argmax()])
