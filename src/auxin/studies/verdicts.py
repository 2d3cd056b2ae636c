"""How well a score, or a yes or no, tells models that fail from those that do not; intervals over cells of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auxin.studies.statistics import RESAMPLES, SEED, Array, Estimate, interval

Flags = NDArray[np.bool_]


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
        bad, good = score[self.failed], score[~self.failed]
        above = (bad[:, None] > good) + 0.5 * (bad[:, None] == good)  # [F, T]

        def of(weights: Array) -> Array:
            """[R]: of runs that count ``weights`` [R, N] times."""
            one, other = weights[:, self.failed], weights[:, ~self.failed]
            return _ratio(((one @ above) * other).sum(1), one.sum(1) * other.sum(1))

        return self._estimate(of)

    def balanced(self, blamed: Flags) -> Estimate:
        """Mean of the share of failed runs that are blamed and the share of the others that are not."""

        def of(weights: Array) -> Array:
            shares = [
                _ratio((weights * (own & (blamed == own_verdict))).sum(1), (weights * own).sum(1))
                for own, own_verdict in ((self.failed, True), (~self.failed, False))
            ]
            return (shares[0] + shares[1]) / 2

        return self._estimate(of)

    def threshold(self, score: Array) -> float:
        """The score from which on runs are best called failures, by balanced accuracy; ∞ without both outcomes.

        Halfway between two scores that occur; the lowest of several that are equally good.
        """
        return _threshold(score, self.failed)

    def carried_over(self, score: Array, group: NDArray[np.generic]) -> Flags:
        """[N]: what the threshold found on all other groups says of the runs of each group."""
        blamed = np.zeros(len(score), bool)
        for each in np.unique(group):
            own = group == each
            blamed[own] = score[own] >= _threshold(score[~own], self.failed[~own])
        return blamed

    def _estimate(self, statistic: Callable[[Array], Array]) -> Estimate:
        cells, index = np.unique(self.cell, return_inverse=True)
        drawn = np.random.default_rng(SEED).integers(0, len(cells), (RESAMPLES, len(cells)))
        counts = (drawn[:, :, None] == np.arange(len(cells))).sum(1)  # [R, C]
        own = np.ones((1, len(self.cell)))
        return interval(float(statistic(own)[0]), statistic(counts[:, index].astype(float)))


def _threshold(score: Array, failed: Flags) -> float:
    if failed.all() or not failed.any():
        return np.inf
    values = np.unique(score)
    limits = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2, [np.inf]])
    blamed = score >= limits[:, None]  # [K, N]
    accuracy = (blamed[:, failed].mean(1) + (~blamed[:, ~failed]).mean(1)) / 2
    return float(limits[accuracy.argmax()])


def _ratio(part: Array, whole: Array) -> Array:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
