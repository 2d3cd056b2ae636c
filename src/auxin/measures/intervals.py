"""95% intervals that hold for as few runs as are usually trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from auxin.errors import DataError

COVERED = 0.95


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's interval of a proportion (Wilson 1927): (p + z²/2n ± z√(p(1−p)/n + z²/4n²))/(1 + z²/n)."""
    if not 0 <= successes <= trials or trials == 0:
        raise DataError(f"{successes} successes in {trials} trials; allowed: 0 to the number of trials")
    z, p = 1.959963984540054, successes / trials
    center = p + z * z / (2 * trials)
    margin = z * math.sqrt(p * (1 - p) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    return max(0.0, (center - margin) / scale), min(1.0, (center + margin) / scale)


def welch(
    groups: Sequence[NDArray[np.float64]], weights: Sequence[float] = (1.0,), comparisons: int = 1
) -> tuple[float, float]:
    """Student's interval of Σ w_i·mean(group_i) for groups of unequal variance (Welch 1947).

    With v_i = w_i²·s_i²/n_i, it is ± t·√Σv_i at (Σv_i)²/Σ(v_i²/(n_i − 1)) degrees of freedom (Satterthwaite
    1946). One group of weight 1: that of a mean. Percentile bootstrap intervals are too narrow for few runs: of
    five, they hold the mean 84% of the time. ``comparisons``: that so many of them hold together (Bonferroni).
    NaN where a group has fewer than two runs.
    """
    if min(map(len, groups)) < 2:
        return math.nan, math.nan
    sizes = np.array([len(g) for g in groups])
    variances = np.array([w * w * g.var(ddof=1) for w, g in zip(weights, groups, strict=True)]) / sizes
    center = float(sum(w * g.mean() for w, g in zip(weights, groups, strict=True)))
    total = variances.sum()
    if total == 0:
        return center, center
    freedom = total**2 / (variances**2 / (sizes - 1)).sum()
    margin = float(stdtrit(freedom, 1 - (1 - COVERED) / comparisons / 2) * np.sqrt(total))
    return center - margin, center + margin
