"""Learning curves in numbers: when a run saturates in domain, when it generalizes, what stopping early misses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from auxin.display import Displayed
from auxin.errors import DataError
from auxin.measures.intervals import limits, welch, wilson

SATURATED, GENERALIZED, RELAPSED = 0.99, 0.80, 0.60
"""In-domain accuracy that counts as saturated; generalization above which it is there, below which it is lost."""

COMMITTED = (0.05, 0.95)
"""Generalization below and above which a model keeps to one rule (Qin et al. 2025)."""

QUANTITIES = (
    "saturation_step",
    "at_saturation",
    "early_stopping",
    "final",
    "best",
    "grokking_step",
    "delay_ratio",
    "total_variation",
    "committed",
)
"""Columns of ``members`` whose means ``overall`` gives."""


@dataclass(frozen=True)
class GrokkingSummary(Displayed):
    """Both tables of ``grokking_summary``."""

    members: pl.DataFrame
    """A row a member: member, saturation_step, at_saturation, early_stopping, final, best, grokking_step,
    grokked, relapsed, delay_ratio, total_variation, committed."""
    overall: pl.DataFrame
    """A row a quantity: quantity, value, low, high, members (those that have it)."""

    @property
    def saturation(self) -> int | None:
        """Median step at which members saturate in domain; None where none does."""
        median = self.members["saturation_step"].median()
        return None if median is None else round(median)  # pyright: ignore[reportArgumentType]


def grokking_summary(metrics: pl.DataFrame) -> GrokkingSummary:
    """Summarize the accuracies of one run, or of the members of one group.

    Of each member, from the steps at which both its val and its gen accuracy were logged:
    ``saturation_step``, the first with val ≥ 99%, and the generalization there, ``at_saturation``;
    ``early_stopping``, the generalization at the first step of the best val, which is what selection on val
    reports; ``final`` and ``best`` generalization; ``grokking_step``, the first with gen > 80%, ``grokked``
    whether there is one, ``relapsed`` whether gen fell below 60% after it; ``delay_ratio``, grokking_step over
    saturation_step; ``total_variation``, the sum of |changes| of generalization from evaluation to evaluation, 1 for
    one that rises to 100% and stays; ``committed``, from saturation on, the share of the steps after evaluations with
    gen > 95% or < 5%: the model keeps to one rule (Qin et al. 2025). What did not happen is null.

    Over members: means over those that have the quantity, with Student's 95% intervals (null for a single
    member), and the shares ``grokked`` and ``relapsed`` with Wilson's.

    Args:
        metrics: tidy, with columns step, member, split, name, value; rows named ``accuracy`` of the splits val
            and gen are read. A run stands for its metrics.

    Raises ``DataError`` when a column or every pair of such accuracies is missing.

    >>> import polars
    >>> accuracy = {"val": [0.5, 0.99, 1.0], "gen": [0.1, 0.2, 0.9]}
    >>> rows = [(100 * i, 0, split, "accuracy", a[i]) for split, a in accuracy.items() for i in range(3)]
    >>> names = ["step", "member", "split", "name", "value"]
    >>> (member,) = grokking_summary(polars.DataFrame(rows, schema=names, orient="row")).members.to_dicts()
    >>> member["saturation_step"], member["grokking_step"], member["early_stopping"]
    (100, 200, 0.9)
    """
    curves = _curves(getattr(metrics, "metrics", metrics))
    rows = [_member(name, curve) for (name,), curve in curves.group_by("member", maintain_order=True)]
    members = pl.DataFrame(rows, infer_schema_length=None)
    overall: list[tuple[object, ...]] = []
    for quantity in QUANTITIES:
        values = members[quantity].drop_nulls().cast(pl.Float64).to_numpy()
        mean = float(values.mean()) if len(values) else None
        several = len(values) > 1
        ends = np.clip(welch([values]), *limits(quantity)).tolist() if several else (None, None)
        overall.append((quantity, mean, *ends, len(values)))
    for quantity in ("grokked", "relapsed"):
        count, n = int(members[quantity].sum()), len(members)
        overall.append((quantity, count / n, *wilson(count, n), n))
    numbers = dict.fromkeys(("value", "low", "high"), pl.Float64)
    schema = {"quantity": pl.String} | numbers | {"members": pl.Int64}
    return GrokkingSummary(members, pl.DataFrame(overall, schema=schema, orient="row"))


def _curves(metrics: pl.DataFrame) -> pl.DataFrame:
    """Columns member, step, val, gen, sorted, one row a logged step."""
    missing = {"step", "member", "split", "name", "value"} - set(metrics.columns)
    if missing:
        raise DataError(
            f"metrics have no column {sorted(missing)[0]!r}; allowed: step, member, split, name, value"
        )
    rows = metrics.filter(pl.col("name") == "accuracy").unique(
        ["step", "member", "split"], keep="last", maintain_order=True
    )
    val, gen = (
        rows.filter(pl.col("split") == split).select("member", "step", pl.col("value").alias(split))
        for split in ("val", "gen")
    )
    curves = val.join(gen, on=["member", "step"], how="inner").sort("member", "step")
    if not len(curves):
        raise DataError("metrics hold no step with accuracy of val and of gen; allowed: one or more")
    return curves


def _member(name: object, curve: pl.DataFrame) -> dict[str, object]:
    """The row of one member from its columns step, val, gen."""
    steps, val, gen = (curve[column].to_numpy() for column in ("step", "val", "gen"))
    saturated, grokked = _first(val >= SATURATED), _first(gen > GENERALIZED)
    at = lambda values, place: None if place is None else values[place].item()
    saturation_step, grokking_step = at(steps, saturated), at(steps, grokked)
    return {
        "member": name,
        "saturation_step": saturation_step,
        "at_saturation": at(gen, saturated),
        "early_stopping": float(gen[np.argmax(val)]),
        "final": float(gen[-1]),
        "best": float(gen.max()),
        "grokking_step": grokking_step,
        "grokked": grokked is not None,
        "relapsed": grokked is not None and bool((gen[grokked:] < RELAPSED).any()),
        "delay_ratio": grokking_step / saturation_step
        if grokking_step is not None and saturation_step
        else None,
        "total_variation": float(np.abs(np.diff(gen)).sum()),
        "committed": None if saturated is None else _committed(steps[saturated:], gen[saturated:]),
    }


def _committed(steps: NDArray[np.int64], gen: NDArray[np.float64]) -> float:
    """Share of time with generalization near 0 or 1; an evaluation stands for the steps to the next one."""
    low, high = COMMITTED
    kept = (gen < low) | (gen > high)
    lengths = np.diff(steps)
    return float((kept[:-1] * lengths).sum() / lengths.sum()) if len(lengths) else float(kept[0])


def _first(condition: NDArray[np.bool_]) -> int | None:
    return int(condition.argmax()) if condition.any() else None
