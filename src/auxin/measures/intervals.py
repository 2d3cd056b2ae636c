"""95% intervals that hold for as few runs as are usually trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from auxin.errors import DataError

COVERED = 0.95
SHARES = frozenset((
    "accuracy", "first_auxiliary", "hierarchical", "linear", "neither", "t_parseval", "at_saturation",
    "early_stopping", "final", "best", "committed", "grokked", "relapsed",
))  # fmt: skip
SIZES = frozenset((
    "loss", "weight_norm", "gradient_norm", "saturation_step", "grokking_step", "delay_ratio", "total_variation",
))  # fmt: skip


def limits(name: str) -> tuple[float, float]:
    """Between what a quantity of this name lies, whatever the run: shares from 0 to 1, losses and steps from 0."""
    return (0.0 if name in SHARES | SIZES else -math.inf), (1.0 if name in SHARES else math.inf)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's interval of a proportion (Wilson 1927)."""
    if not 0 <= successes <= trials or trials == 0:
        raise DataError(f"{successes} successes in {trials} trials; allowed: 0 to the number of trials")
    from scipy.stats import binomtest  # takes a second to load

    found = binomtest(successes, trials).proportion_ci(COVERED, "wilson")
    return float(found.low), float(found.high)


def bands(rows: pl.DataFrame, by: Sequence[str], name: str | None = None) -> pl.DataFrame:
    """Mean of ``value`` over models with Student's interval, within what the metric can be; sorted by ``by``.

    Columns: by, value, low, high, models (whose value is known); no interval of one model. The metric is ``name``, or
    that of the column ``name``.
    """
    keys = list(by) if name is not None or "name" in by else [*by, "name"]
    value, known = pl.col("value"), pl.col("value").count()
    means = rows.group_by(keys).agg(value.mean(), models=known, error=value.std() / known.sqrt()).sort(keys)
    freedom = np.maximum(means["models"].to_numpy() - 1, 1)  # where it is none, the error is null
    margin = pl.Series(stdtrit(freedom, (1 + COVERED) / 2)) * means["error"]
    names = [name] * len(means) if name is not None else means["name"].to_list()
    least, most = (pl.lit(pl.Series([limits(n)[end] for n in names], dtype=pl.Float64)) for end in (0, 1))
    return means.select(
        *by,
        "value",
        (value - margin).clip(lower_bound=least).alias("low"),
        (value + margin).clip(upper_bound=most).alias("high"),
        "models",
    )


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
