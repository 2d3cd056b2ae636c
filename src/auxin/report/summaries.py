"""What the learning curves of a run come to, in words and tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from auxin.measures.grokking import GrokkingSummary
from auxin.report.markup import Table

_share = "{:.1%}".format
COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "saturation_step": ("val≥99%", "{:,.0f}".format),
    "at_saturation": ("gen then", _share),
    "early_stopping": ("early stop", _share),
    "final": ("final", _share),
    "best": ("best", _share),
    "grokking_step": ("gen>80%", "{:,.0f}".format),
    "delay_ratio": ("delay", "{:.1f}×".format),
    "total_variation": ("varies", "{:.2f}".format),
    "committed": ("keeps", "{:.0%}".format),
}
"""Quantities of the grokking summary: heading, and how a value is written."""


def members(summary: GrokkingSummary) -> Table:
    """The quantities, a row a seed."""
    rows = [
        [
            str(member["member"]),
            *(written(member[name], write) for name, (_, write) in COLUMNS.items()),
            "yes" if member["relapsed"] else "no",
        ]
        for member in summary.members.to_dicts()
    ]
    return Table(["seed", *(heading for heading, _ in COLUMNS.values()), "relapsed"], rows)


def overall(summary: GrokkingSummary) -> Table:
    """Means and shares over several members, with their 95% intervals; no row of one."""
    rows: list[list[str]] = []
    several = len(summary.members) > 1
    for row in summary.overall.filter(several, pl.col("members") > 0).to_dicts():
        heading, write = COLUMNS.get(row["quantity"], (row["quantity"], "{:.0%}".format))
        low, high = (written(row[side], write) for side in ("low", "high"))
        rows.append([heading, written(row["value"], write), f"{low} to {high}", str(row["members"])])
    return Table(["over seeds", "mean", "95% interval", "seeds"], rows)


def written(value: Any, write: Callable[[Any], str]) -> str:
    """A value in its format; – for none."""
    return "–" if value is None else write(value)


def stability(members: pl.DataFrame) -> str:
    """How steady generalization was: means over seeds."""
    varies, keeps = members["total_variation"].mean(), members["committed"].mean()
    kept = "" if keeps is None else f", committed to a rule {keeps:.0%} of the time since in-domain ≥ 99%"
    return f"generalization varies by {varies:.2f} in total{kept}"
