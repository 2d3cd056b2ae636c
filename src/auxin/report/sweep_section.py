"""A sweep on the page: a figure for each pair of its axes, and its table with what differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from auxin.errors import DataError
from auxin.lab.sweep_record import Sweep
from auxin.measures.intervals import bands
from auxin.report.drawings import Drawings
from auxin.report.labels import label
from auxin.report.marks import Figure
from auxin.report.markup import Table, number, setting
from auxin.report.sweep_figures import sweep_figures

SHOWN: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "loss": ("training loss", "loss", number),
    "accuracy_val": ("in-domain accuracy", "accuracy", lambda share: f"{100 * share:.0f}%"),
    "accuracy_gen": ("generalization", "accuracy", lambda share: f"{100 * share:.0f}%"),
    "grokked": ("passes 80%", "accuracy", lambda share: f"{100 * share:.0f}%"),
    "angle_total": ("L·λ_a at initialization", "", number),
    "gradient_total": ("L·λ_g at initialization", "", number),
}
"""Columns of a sweep's table: heading, the metric whose limits it keeps within, and how a value is written."""


def sweep_section(sweep: Sweep, name: str, drawings: Drawings) -> dict[str, Any]:
    """What sweep.html shows of the sweep as the section ``name``; raises ``RunError`` for a damaged one."""
    axes = [axis.name for axis in sweep.axes]
    figures, undrawn = _figures(sweep)
    return {
        "template": "sweep.html",
        "id": name,
        "title": f"{sweep.path.name}: a sweep over {' and '.join(map(label, axes)) or 'seeds'}",
        "figures": drawings.place(figures),
        "undrawn": undrawn,
        "unfinished": [run for run in sweep.runs if run.status != "finished"],
        "runs": len(sweep.runs),
        "points": _points(sweep, [axis for axis in axes if axis in sweep.table.columns]),
    }


def _figures(sweep: Sweep) -> tuple[list[Figure], str]:
    try:
        return sweep_figures(sweep), ""
    except DataError as error:
        return [], str(error)


def _points(sweep: Sweep, axes: list[str]) -> Table:
    """A row a point: its settings, how many models, and their means with 95% intervals."""
    table = sweep.table
    shown = [column for column in SHOWN if column in table.columns and table[column].is_not_null().any()]
    points = (
        table.group_by(axes, maintain_order=True).len() if axes else pl.DataFrame({"len": [table.height]})
    )
    rows = [[setting(value) for value in (*point[:-1], point[-1])] for point in points.iter_rows()]
    for column in shown:
        _, metric, write = SHOWN[column]
        values = table.select(*axes, value=pl.col(column).cast(pl.Float64)).filter(
            pl.col("value").is_finite()
        )
        means = {row[: len(axes)]: row for row in _means(values, axes, metric).iter_rows()}
        for point, row in zip(points.iter_rows(), rows, strict=True):
            row.append(_written(means.get(point[:-1]), len(axes), write))
    return Table([*axes, "models", *(SHOWN[column][0] for column in shown)], rows)


def _means(values: pl.DataFrame, axes: list[str], metric: str) -> pl.DataFrame:
    """Columns: the axes, value, models, low, high."""
    keys = axes or ["all"]
    found = bands(values if axes else values.with_columns(all=0), keys, metric)
    return found.select(*axes, "value", "models", "low", "high")


def _written(row: tuple[Any, ...] | None, axes: int, write: Callable[[float], str]) -> str:
    if row is None:
        return "–"
    value, models, low, high = row[axes:]
    if models == 1 or low == high:
        return write(value)
    return f"{write(value)} ({write(low).rstrip('%')} to {write(high).rstrip('%')})"
