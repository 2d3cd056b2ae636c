"""How well a score, or a yes or no, tells models that fail from those that do not; intervals over cells of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auxin.studies.statistics import RESAMPLES, SEED, Array, Estimate, interval, ratio

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
            return ratio(((one @ above) * other).sum(1), one.sum(1) * other.sum(1))

        return self._estimate(of)

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
