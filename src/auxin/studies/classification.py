"""Probabilities of failure, fitted to some groups of models and judged on others."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from auxin.studies.statistics import SEED, Array, proportion, ratio

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
    areas: list[Array] = []
    for name in np.unique(group):
        bad, good = (group == name) & failed, (group == name) & ~failed
        above = probability[bad][:, None] - probability[good]
        above = (above > 0) + 0.5 * (above == 0)
        one, other = weights[:, bad], weights[:, good]
        areas.append(ratio(((one @ above) * other).sum(1), one.sum(1) * other.sum(1)))
    known = np.stack(areas)
    count = np.isfinite(known).sum(0)
    return ratio(np.nansum(known, axis=0), count)


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
