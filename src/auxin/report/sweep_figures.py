"""The figures of a sweep: a response over one axis, or over every pair of axes, with bands over seeds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import polars as pl

from auxin.disk.folder import Folder, failing_clearly
from auxin.errors import DataError
from auxin.lab.sweep_record import Axis, Sweep, word
from auxin.measures.intervals import bands
from auxin.report.labels import label
from auxin.report.marks import Figure, Groups, tips
from auxin.report.tables import drawable, in_words
from auxin.report.theme import BLUE, Panel, save_own

PANEL = {"width": 230, "height": 180}
Pair = tuple[Axis, Axis | None]
"""Of the horizontal axis and the other one, if there is one."""
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
)


def sweep_figures(sweep: Sweep) -> list[Figure]:
    """A figure for the only axis, or for each pair of axes; none where there is no axis or nothing has finished.

    On a grid: lines with Student's 95% bands over the models at a value, and for two axes a heat map of means. Where
    points were drawn: a dot a model. Means are over all other axes. Raises ``RunError`` for a damaged table.
    """
    axes = [axis for axis in sweep.axes if len(axis.values) > 1]
    table = sweep.table
    shown = [r for r in RESPONSES if table[r.column].is_not_null().any()]
    if not axes or not shown:
        return []
    pairs = list(itertools.combinations(axes, 2)) or [(axes[0], None)]
    found = [_figure(table, _ordered(pair), shown, len(axes) > 2) for pair in pairs]
    names = [figure.name for figure in found]  # of "a/b" and "a.b" they are the same
    return [
        replace(f, name=f"{n}-{i}") if n in names[:i] else f
        for i, (f, n) in enumerate(zip(found, names, strict=True))
    ]


def save_sweep_figures(sweep: Sweep) -> list[Path]:
    """Write the figures into the sweep's directory ``figures``: PNG, SVG and interactive page."""
    figures = sweep_figures(sweep)
    if not figures:
        return []
    where = sweep.path / "figures"
    with Folder.open(sweep.path) as folder, failing_clearly(where), folder.make_sub("figures") as directory:
        return [path for each in figures for path in save_own(each.chart, directory, each.name)]


def _ordered(pair: Pair) -> Pair:
    """Numbers on the horizontal axis, of two the one with more values."""
    first, second = pair
    if second is None or (second.categorical, -len(second.values)) >= (first.categorical, -len(first.values)):
        return pair
    return second, first


def _figure(table: pl.DataFrame, pair: Pair, shown: Sequence[Response], others: bool) -> Figure:
    rows = [_rows(table, pair, response) for response in shown]
    if any(axis is not None and axis.drawn for axis in pair):
        panels = [_dots(each, pair, r) for each, r in zip(rows, shown, strict=True)]
        chart = alt.hconcat(*panels).resolve_scale(color="independent")
        said, words = f"a dot for each of {len(table)} models, whose settings were drawn", ""
    else:
        means = [_means(each, pair, r) for each, r in zip(rows, shown, strict=True)]
        chart = _grid(means, pair, shown)
        said = (
            f"mean and 95% interval over models ({len(table)} in all)" + ", over all other axes, too" * others
        )
        words = " ".join(f"{r.title}: {_in_words(m, r)}." for m, r in zip(means, shown, strict=True))
    over = " and ".join(label(axis.name) for axis in pair if axis)
    title = alt.Title(f"What {over} {'does' if pair[1] is None else 'do'}", subtitle=said)
    description = f"{', '.join(r.title for r in shown)} over {over}. {words}".strip()
    name = "-by-".join(re.sub(r"[^\w=+-]+", "-", axis.name).strip("-") for axis in pair if axis)
    return Figure(name, chart.properties(title=title, description=description))


def _rows(table: pl.DataFrame, pair: Pair, response: Response) -> pl.DataFrame:
    """Columns run, seed, x, y and value of the models that have the response; one axis has y empty."""
    for axis in pair:
        if axis is not None and axis.name not in table.columns:
            raise DataError(f"the table of the sweep has no column {axis.name!r}")
    first, second = (
        pl.lit("") if axis is None else pl.col(axis.name).cast(pl.String if axis.categorical else pl.Float64)
        for axis in pair
    )
    rows = table.select("run", "seed", x=first, y=second, value=pl.col(response.column))
    return rows.filter(pl.col("value").is_finite()).drop_nulls()


def _means(rows: pl.DataFrame, pair: Pair, response: Response) -> pl.DataFrame:
    """Mean of the models at a point with Student's 95% interval, within what the response can be."""
    means = bands(rows, ("x", "y"), response.kind)
    return means.with_columns(place=_texts(means["x"]), series=_texts(means["y"]))


def _texts(values: pl.Series) -> pl.Series:
    return pl.Series([_text(value) for value in values], dtype=pl.String)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else word(value)


def _order(axis: Axis | None) -> list[str]:
    """An axis's values as ``_texts`` has them."""
    return [""] if axis is None else [_text(value) for value in axis.values]


def _grid(
    means: Sequence[pl.DataFrame], pair: Pair, shown: Sequence[Response]
) -> alt.HConcatChart | alt.VConcatChart:
    """Lines with bands, a panel a response, and for two axes heat maps below them."""
    first, second = pair
    title, ordered = (label(second.name), not second.categorical) if second else (None, False)
    groups = Groups(_order(second), title=title, ordered=ordered)
    lines = [_lines(m, first, groups, r) for m, r in zip(means, shown, strict=True)]
    if groups.chosen is not None:
        lines[0] = lines[0].add_params(groups.chosen)
    upper = alt.hconcat(*lines).resolve_scale(color="shared")
    if second is None:
        return upper
    maps = [_map(m, first, second, r) for m, r in zip(means, shown, strict=True)]
    lower = alt.hconcat(*maps).resolve_scale(color="independent")
    if len(groups.names) > MOST_LINES:
        return lower
    return alt.vconcat(upper, lower, spacing=30).resolve_scale(color="independent")


def _lines(means: pl.DataFrame, axis: Axis, groups: Groups, response: Response) -> Panel:
    tip = tips(response.form, "place:N", *(["series:N"] if groups.title else []), "models:Q")
    x, y = _x(axis), _y(response)
    if axis.categorical:
        layers = groups.intervals(means, x, y, tip)
    else:
        chart = alt.Chart(drawable(means, response.title).sort("series", "x"))
        band = chart.mark_area(clip=True).encode(
            x, alt.Y("low:Q"), alt.Y2("high:Q"), groups.color, opacity=groups.opacity(0.18)
        )
        line = chart.mark_line(strokeWidth=2, point={"size": 40})
        layers = [band, line.encode(x, y, groups.color, opacity=groups.opacity(1), tooltip=tip)]
    return alt.layer(*layers).properties(**PANEL)


def _x(axis: Axis) -> alt.X:
    if axis.categorical:
        return alt.X("x:N", title=label(axis.name), sort=_order(axis), axis=alt.Axis(labelAngle=0))
    return alt.X("x:Q", title=_title(axis), scale=_scale(axis), axis=_ticks(axis))


def _title(axis: Axis) -> str:
    return f"{label(axis.name)} (logarithmic)" if axis.log else label(axis.name)


def _scale(axis: Axis) -> alt.Scale:
    return alt.Scale(type="log" if axis.log else "linear", zero=False, nice=False, padding=8)


def _ticks(axis: Axis) -> alt.Axis:
    """A tick a value, where they are few."""
    form: dict[str, Any] = {"format": "~g"} if axis.log else {}
    if axis.drawn or len(axis.values) > MOST_LINES:
        return alt.Axis(**form, tickCount=4)
    return alt.Axis(**form, values=[float(value) for value in axis.values])


def _y(response: Response) -> alt.Y:
    if response.kind == "accuracy":
        return alt.Y(
            "value:Q", title=response.title, axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1])
        )
    return alt.Y("value:Q", title=response.title, scale=alt.Scale(zero=False))


def _color(response: Response, legend: bool) -> alt.Color:
    """Bright is good: high accuracy, low loss."""
    loss = response.kind == "loss"
    scale = alt.Scale(scheme="viridis", reverse=True) if loss else alt.Scale(scheme="viridis", domain=[0, 1])
    return alt.Color(
        "value:Q", title=None, scale=scale, legend=alt.Legend(format=response.form) if legend else None
    )


def _map(means: pl.DataFrame, first: Axis, second: Axis, response: Response) -> Panel:
    """A cell a point, coloured by the mean, with its number where there is room."""
    cells = means.with_columns(bright=_bright(means["value"], response))
    x = alt.X("place:O", title=label(first.name), sort=_order(first), axis=alt.Axis(labelAngle=0))
    y = alt.Y("series:O", title=label(second.name), sort=_order(second)[:: 1 if second.categorical else -1])
    tip = tips(response.form, "place:N", "series:N", "models:Q")
    chart = alt.Chart(drawable(cells, response.title))
    numbers = max(len(first.values), len(second.values)) <= MOST_NUMBERS
    layers: list[alt.Chart] = [chart.mark_rect().encode(x, y, _color(response, not numbers), tooltip=tip)]
    if numbers:
        ink = alt.when(alt.datum.bright).then(alt.value("black")).otherwise(alt.value("white"))
        number = chart.mark_text(fontSize=10).encode(
            x, y, text=alt.Text("value:Q", format=response.form), color=ink
        )
        layers.append(number)
    heading = alt.Title(response.title, fontSize=12, fontWeight="normal", frame="group", offset=8)
    return alt.layer(*layers).properties(title=heading, **PANEL)


def _bright(values: pl.Series, response: Response) -> pl.Series:
    """Whether the colour of a value is so light that black can be read on it."""
    if response.kind == "accuracy":
        return values > 0.6
    low, high = float(values.min() or 0), float(values.max() or 0)  # pyright: ignore[reportArgumentType]
    return values < low + 0.4 * (high - low)


def _dots(rows: pl.DataFrame, pair: Pair, response: Response) -> alt.Chart:
    """A dot a model: over one axis at its height, over two in its colour."""
    first, second = pair
    form = [
        alt.Tooltip("x", title=label(first.name)),
        alt.Tooltip("value:Q", format=response.form),
        "run:N",
        "seed:N",
    ]
    chart = alt.Chart(drawable(rows, response.title)).mark_point(filled=True, size=60, opacity=1)
    if second is None:
        return chart.encode(_x(first), _y(response), color=alt.value(BLUE), tooltip=form).properties(**PANEL)
    if second.categorical:
        y = alt.Y("y:N", title=label(second.name), sort=_order(second))
    else:
        y = alt.Y("y:Q", title=_title(second), scale=_scale(second), axis=_ticks(second))
    form.insert(1, alt.Tooltip("y", title=second.name))
    heading = alt.Title(response.title, fontSize=12, fontWeight="normal", frame="group", offset=8)
    return chart.encode(_x(first), y, _color(response, True), tooltip=form).properties(title=heading, **PANEL)


def _in_words(means: pl.DataFrame, response: Response) -> str:
    rows = means.select("place", "series", "value", "low", "high").iter_rows()
    return in_words(((f"{x}, {y}" if y else x, *estimate) for x, y, *estimate in rows), response.form)
