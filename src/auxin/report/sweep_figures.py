"""The figures of a sweep: a response over one axis, or over every pair of axes, with bands over seeds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import polars as pl

from auxin.errors import DataError
from auxin.lab.sweep_record import Axis, Sweep, word
from auxin.measures.intervals import bands
from auxin.report.marks import Groups, figure, number, panel, share, tips
from auxin.report.markup import label
from auxin.report.tables import drawable, in_words
from auxin.report.theme import BLUE, Figure, Panel, save_inside

SIZE, COLUMNS = (230, 180), 2
"""Of a panel, and panels side by side."""
MOST_LINES = 6
"""Values of a second axis that are told apart by colour; of more there is the heat map alone."""
MOST_NUMBERS = 12
"""Values of an axis up to which the cells of a heat map have their numbers written in them."""


class Response(NamedTuple):
    """A column of the table that is drawn."""

    column: str
    title: str
    form: str
    kind: str
    """The metric, whose limits it keeps within."""


RESPONSES = (
    Response("loss", "training loss (nats)", ".2f", "loss"),
    Response("accuracy_val", "in-domain accuracy", ".0%", "accuracy"),
    Response("accuracy_gen", "generalization accuracy", ".0%", "accuracy"),
    Response("linear", "answers by the linear rule", ".0%", "accuracy"),
)
MOST_DOTS = 300
"""Models up to which lines have a dot for each."""


def sweep_figures(sweep: Sweep) -> list[Figure]:
    """A figure for the only axis, or for each pair of axes; none where there is no axis or nothing has finished.

    On a grid: lines with Student's 95% bands over the models at a value, and for two axes a heat map of means. Where
    points were drawn: a dot a model. Means are over all other axes. Raises ``RunError`` for a damaged table.
    """
    axes = [axis for axis in sweep.axes if len(axis.values) > 1]
    table = sweep.table
    shown = [r for r in RESPONSES if r.column in table.columns and table[r.column].is_not_null().any()]
    if not axes or not shown:
        return []
    pairs = list(itertools.combinations(axes, 2)) or [(axes[0], None)]
    found = [_Pair.of(*pair).figure(table, shown, others=len(axes) > 2) for pair in pairs]
    names = [figure.name for figure in found]  # of "a/b" and "a.b" they are the same
    return [replace(f, name=f"{f.name}-{i}") if f.name in names[:i] else f for i, f in enumerate(found)]


def save_sweep_figures(sweep: Sweep) -> list[Path]:
    """Write the figures into the sweep's directory ``figures``: PNG, SVG and interactive page."""
    figures = {figure.name: figure.chart for figure in sweep_figures(sweep)}
    return save_inside(sweep.path, figures, "figures") if figures else []


@dataclass(frozen=True)
class _Pair:
    """What is drawn over: the horizontal axis and the other one, if there is one."""

    first: Axis
    second: Axis | None

    @classmethod
    def of(cls, first: Axis, second: Axis | None) -> _Pair:
        """Numbers on the horizontal axis, of two the one with more values."""
        key = lambda axis: (axis.categorical, -len(axis.values))
        if second is None or key(second) >= key(first):
            return cls(first, second)
        return cls(second, first)

    def figure(self, table: pl.DataFrame, shown: Sequence[Response], *, others: bool) -> Figure:
        """The figure of these axes over all ``others``."""
        axes = [self.first] if self.second is None else [self.first, self.second]
        rows = [self._rows(table, response) for response in shown]
        if any(axis.drawn for axis in axes):
            dots = [self._dots(part, response) for part, response in zip(rows, shown, strict=True)]
            chart = alt.concat(*dots, columns=COLUMNS).resolve_scale(color="independent")
            subtitle, words = f"a dot for each of {len(table)} models, whose settings were drawn", ""
        else:
            means = [_means(part, response) for part, response in zip(rows, shown, strict=True)]
            chart = self._grid(means, rows, shown)
            subtitle = f"mean and 95% interval over models ({len(table)} in all, a small dot each)"
            subtitle += ", over all other axes, too" * others
            second = pl.col("series").replace("", None)
            at = pl.concat_str("place", second, separator=", ", ignore_nulls=True)
            estimates = [m.select(at, "value", "low", "high").iter_rows() for m in means]
            named = zip(estimates, shown, strict=True)
            words = " ".join(f"{r.title}: {in_words(rows, r.form)}." for rows, r in named)
        over = " and ".join(label(axis.name) for axis in axes)
        return figure(
            "-by-".join(re.sub(r"[^\w=+-]+", "-", axis.name).strip("-") for axis in axes),
            chart,
            (f"What {over} {'does' if self.second is None else 'do'}", subtitle),
            f"{', '.join(r.title for r in shown)} over {over}. {words}".strip(),
        )

    def _rows(self, table: pl.DataFrame, response: Response) -> pl.DataFrame:
        """Columns run, seed, x, y and value of the models that have the response; one axis has y empty."""
        columns: list[pl.Expr] = []
        for axis in (self.first, self.second):
            if axis is not None and axis.name not in table.columns:
                raise DataError(f"the table of the sweep has no column {axis.name!r}")
            kind = pl.String if axis is not None and axis.categorical else pl.Float64
            columns.append(pl.lit("") if axis is None else pl.col(axis.name).cast(kind))
        x, y = columns
        rows = table.select("run", "seed", x=x, y=y, value=pl.col(response.column))
        return rows.filter(pl.col("value").is_finite()).drop_nulls()

    def _grid(
        self, means: Sequence[pl.DataFrame], rows: Sequence[pl.DataFrame], shown: Sequence[Response]
    ) -> Any:
        """Lines with bands, a panel a response, and for two axes heat maps below them."""
        second = self.second
        if second is None:
            groups = Groups([""])
        else:
            groups = Groups(_order(second), label(second.name), ordered=not second.categorical)
        lines = [self._lines(m, part, groups, r) for m, part, r in zip(means, rows, shown, strict=True)]
        lines[0] = groups.choosing(lines[0])
        upper = alt.concat(*lines, columns=COLUMNS).resolve_scale(color="shared")
        if second is None:
            return upper
        maps = [self._map(m, second, r) for m, r in zip(means, shown, strict=True)]
        lower = alt.concat(*maps, columns=COLUMNS).resolve_scale(color="independent")
        if len(groups.names) > MOST_LINES:
            return lower
        return alt.vconcat(upper, lower, spacing=30).resolve_scale(color="independent")

    def _lines(self, means: pl.DataFrame, rows: pl.DataFrame, groups: Groups, response: Response) -> Panel:
        """The means with their intervals, and where they are few a dot a model."""
        tip = tips(response.form, "place:N", *(["series:N"] if groups.title else []), "models:Q")
        x, y = _along(alt.X, "x", self.first), _height(response)
        models = [self._models(rows, groups, x, y)] if len(rows) <= MOST_DOTS else []
        if self.first.categorical:
            return panel([*models, *groups.intervals(means, x, y, tip)], "", *SIZE)
        chart = alt.Chart(drawable(means, response.title).sort("series", "x"))
        band = chart.mark_area(clip=True).encode(
            x, alt.Y("low:Q"), alt.Y2("high:Q"), groups.color, opacity=groups.opacity(0.18)
        )
        line = chart.mark_line(strokeWidth=2, point={"size": 40})
        line = line.encode(x, y, groups.color, opacity=groups.opacity(1), tooltip=tip)
        return panel([band, *models, line], "", *SIZE)

    def _models(self, rows: pl.DataFrame, groups: Groups, x: Any, y: alt.Y) -> alt.Chart:
        series = pl.Series([_text(value) for value in rows["y"]], dtype=pl.String)
        dots = alt.Chart(rows.with_columns(series=series)).mark_point(filled=True, size=14)
        tip = [alt.Tooltip("run:N"), alt.Tooltip("seed:N"), alt.Tooltip("value:Q")]
        return dots.encode(x, y, groups.color, opacity=groups.opacity(0.45), tooltip=tip)

    def _map(self, means: pl.DataFrame, second: Axis, response: Response) -> Panel:
        """A cell a point, coloured by the mean, with its number where there is room."""
        cells = means.with_columns(bright=_bright(means["value"], response))
        apart = alt.Scale(padding=0.03)  # cells that touch show faint lines where a side falls within a pixel
        level, title = alt.Axis(labelAngle=0), label(self.first.name)
        x = alt.X("place:O", title=title, sort=_order(self.first), axis=level, scale=apart)
        order = _order(second)[:: 1 if second.categorical else -1]
        y = alt.Y("series:O", title=label(second.name), sort=order, scale=apart)
        tip = tips(response.form, "place:N", "series:N", "models:Q")
        chart = alt.Chart(drawable(cells, response.title))
        numbers = max(len(self.first.values), len(second.values)) <= MOST_NUMBERS
        layers = [chart.mark_rect().encode(x, y, _color(response), tooltip=tip)]
        if numbers:
            ink = alt.when(alt.datum.bright).then(alt.value("black")).otherwise(alt.value("white"))
            text = alt.Text("value:Q", format=response.form)
            layers.append(chart.mark_text(fontSize=10).encode(x, y, text=text, color=ink))
        return panel(layers, response.title, *SIZE)

    def _dots(self, rows: pl.DataFrame, response: Response) -> Panel:
        """A dot a model: over one axis at its height, over two in its colour."""
        first, second = self.first, self.second
        tip = [alt.Tooltip("x", title=label(first.name)), alt.Tooltip("value:Q", format=response.form)]
        tip += [alt.Tooltip("run:N"), alt.Tooltip("seed:N")]
        chart = alt.Chart(drawable(rows, response.title)).mark_point(filled=True, size=60, opacity=1)
        x = _along(alt.X, "x", first)
        if second is None:
            dots = chart.encode(x, _height(response), color=alt.value(BLUE), tooltip=tip)
            return panel([dots], "", *SIZE)
        tip.insert(1, alt.Tooltip("y", title=label(second.name)))
        dots = chart.encode(x, _along(alt.Y, "y", second), _color(response), tooltip=tip)
        return panel([dots], response.title, *SIZE)


def _means(rows: pl.DataFrame, response: Response) -> pl.DataFrame:
    """Mean of the models at a point with Student's 95% interval, within what the response can be."""
    means = bands(rows, ("x", "y"), response.kind)
    return means.with_columns(
        place=pl.Series([_text(value) for value in means["x"]], dtype=pl.String),
        series=pl.Series([_text(value) for value in means["y"]], dtype=pl.String),
    )


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else word(value)


def _order(axis: Axis) -> list[str]:
    """An axis's values as texts."""
    return [_text(value) for value in axis.values]


def _along(channel: Any, column: str, axis: Axis) -> Any:
    """A channel along an axis, with a tick a value where these are few."""
    title = label(axis.name)
    if axis.categorical:
        ticks = alt.Axis(labelAngle=0 if channel is alt.X else alt.Undefined)
        return channel(f"{column}:N", title=title, sort=_order(axis), axis=ticks)
    form: dict[str, Any] = {"format": "~g"}
    few = not axis.drawn and len(axis.values) <= MOST_LINES
    form |= {"values": [float(value) for value in axis.values]} if few else {"tickCount": 4}
    scale = alt.Scale(type="log" if axis.log else "linear", zero=False, nice=False, padding=8)
    title += ", logarithmic" * axis.log
    return channel(f"{column}:Q", title=title, scale=scale, axis=alt.Axis(**form))


def _height(response: Response) -> alt.Y:
    return share(response.title) if response.kind == "accuracy" else number(response.title)


def _color(response: Response) -> alt.Color:
    """Bright is good: high accuracy, low loss."""
    limits: dict[str, Any] = {"reverse": True} if response.kind == "loss" else {"domain": [0, 1]}
    scale, legend = alt.Scale(scheme="viridis", **limits), alt.Legend(format=response.form)
    return alt.Color("value:Q", title=None, scale=scale, legend=legend)


def _bright(values: pl.Series, response: Response) -> pl.Series:
    """Whether the colour of a value is so light that black can be read on it."""
    if response.kind == "accuracy":
        return values > 0.6
    low, high = float(values.min() or 0), float(values.max() or 0)  # pyright: ignore[reportArgumentType]
    return values < low + 0.4 * (high - low)
