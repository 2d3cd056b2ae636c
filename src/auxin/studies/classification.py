"""Which models fail: probabilities fitted to some groups of them, scores, and yes or no, judged on others."""

from __future__ import annotations

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
    """[1 + R, N]: how often each model counts: once, then in bootstrap draws within its group (Efron 1979)."""
    generator = np.random.default_rng(SEED)
    counts = np.ones((1 + DRAWS, len(group)))
    for name in np.unique(group):
        own = np.flatnonzero(group == name)
        counts[1:, own] = generator.multinomial(len(own), np.full(len(own), 1 / len(own)), DRAWS)
    return counts


def cells_resampled(cell: NDArray[Any]) -> Array:
    """[1 + R, N]: the same in draws of whole cells, which hold the models of equal settings."""
    cells, index = np.unique(cell, return_inverse=True)
    drawn = np.random.default_rng(SEED).integers(0, len(cells), (RESAMPLES, len(cells)))
    counts = (drawn[:, :, None] == np.arange(len(cells))).sum(1)  # [R, C]
    return np.concatenate([np.ones((1, len(cell))), counts[:, index]])


def estimate(draws: Array) -> Estimate:
    """What counts once, with the interval of the draws after it."""
    return interval(float(draws[0]), draws[1:])


def area(score: Array, failed: Flags, weights: Array, group: NDArray[Any] | None = None) -> Array:
    """[R]: area under the ROC curve: how often a model that failed has the higher score of two, ties counted half.

    Models count ``weights`` [R, N] times. With groups it is the mean over those with both outcomes; NaN without any.
    """
    groups = [np.ones(len(score), bool)] if group is None else [group == name for name in np.unique(group)]
    known = np.stack([_area(score[own], failed[own], weights[:, own]) for own in groups])
    return ratio(np.nansum(known, axis=0), np.isfinite(known).sum(0))


def _area(score: Array, failed: Flags, weights: Array) -> Array:
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


def balanced(flagged: Flags, failed: Flags, weights: Array) -> Array:
    """[R]: mean of the share of failed models that are flagged and the share of the others that are not."""
    right, sides = weights * (flagged == failed), (failed, ~failed)
    return np.mean([ratio((right * side).sum(1), (weights * side).sum(1)) for side in sides], axis=0)


def threshold(score: Array, failed: Flags) -> float:
    """The score from which on models are best called failures, by balanced accuracy; ∞ without both outcomes.

    Halfway between two scores that occur; the lowest of several that are equally good.
    """
    if failed.all() or not failed.any():
        return np.inf
    values = np.unique(score)
    limits = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2, [np.inf]])
    flagged = score >= limits[:, None]  # [K, N]
    accuracy = (flagged[:, failed].mean(1) + (~flagged[:, ~failed]).mean(1)) / 2
    return float(limits[accuracy.argmax()])


def carried_over(score: Array, failed: Flags, group: NDArray[np.generic]) -> Flags:
    """[N]: what the threshold found on all other groups says of the models of each group."""
    limits = {g: threshold(score[group != g], failed[group != g]) for g in np.unique(group)}
    return score >= np.array([limits[g] for g in group])
