"""What the studies' figures are made of: tables held to their columns, bands, intervals, clickable legends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import polars as pl
from polars.exceptions import PolarsError

from auxin.errors import DataError
from auxin.report.figures import drawable, thinned
from auxin.report.theme import PALETTE, Panel

Tables = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Figure:
    """A chart with its title; its ``description`` says in words what it shows."""

    name: str
    """Stem of its files."""
    chart: alt.TopLevelMixin


def columns(tables: Tables, name: str, numbers: str, words: str = "") -> pl.DataFrame:
    """The named columns of a table, numbers as floats and words as text; raises ``DataError`` when one lacks."""
    if name not in tables:
        raise DataError(f"the study has no table {name!r}")
    table = tables[name]
    for column in (*numbers.split(), *words.split()):
        if column not in table.columns:
            raise DataError(f"table {name!r} has no column {column!r}")
    if table.is_empty():
        raise DataError(f"table {name!r} is empty")
    kinds = dict.fromkeys(numbers.split(), pl.Float64) | dict.fromkeys(words.split(), pl.String)
    try:
        chosen = table.select(pl.col(column).cast(kind) for column, kind in kinds.items())
    except PolarsError:
        raise DataError(f"table {name!r} holds text where there should be a number") from None
    return chosen.with_columns(pl.col(pl.String).fill_null(""))


@dataclass(frozen=True)
class Groups:
    """Groups of rows by their column ``series``, a colour each; a click on the legend highlights one."""

    names: Sequence[str]
    title: str | None = None
    palette: Sequence[str] = PALETTE

    @cached_property
    def chosen(self) -> alt.Parameter | None:
        """What is highlighted; nothing chosen is everything."""
        several = len(self.names) > 1
        return alt.selection_point(fields=["series"], bind="legend", name="chosen") if several else None

    @property
    def color(self) -> alt.Color:
        """Names beyond the palette begin it again."""
        span = [self.palette[i % len(self.palette)] for i in range(len(self.names))]
        legend = alt.Legend(
            orient="top", labelLimit=400, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1
        )
        scale = alt.Scale(domain=list(self.names), range=span)
        return alt.Color("series:N", title=self.title, scale=scale, legend=legend if self.chosen else None)

    def opacity(self, shown: float) -> alt.OpacityValue:
        """``shown``, and a fifth of it for what is not chosen."""
        if self.chosen is None:
            return alt.OpacityValue(shown)
        condition = alt.ConditionalParameterValueDefnumberExprRef(param=self.chosen.name, value=shown)
        return alt.OpacityValue(shown / 5, condition=condition)

    def choosing(self, chart: alt.FacetChart) -> alt.FacetChart:
        """The chart with its legend listening."""
        return chart if self.chosen is None else chart.add_params(self.chosen)

    def bands(self, frame: pl.DataFrame, x: alt.X, y: alt.Y, tip: Sequence[Any]) -> list[alt.Chart]:
        """A line a group over the steps through ``value`` with its band from ``low`` to ``high``."""
        chart = alt.Chart(thinned(drawable(frame, "value")))
        band = chart.mark_area(clip=True).encode(
            x, alt.Y("low:Q"), alt.Y2("high:Q"), self.color, opacity=self.opacity(0.18)
        )
        line = chart.mark_line(strokeWidth=2, point={"size": 18})
        return [band, line.encode(x, y, self.color, opacity=self.opacity(1), tooltip=list(tip))]

    def intervals(self, frame: pl.DataFrame, x: alt.X, y: alt.Y, tip: Sequence[Any]) -> list[alt.Chart]:
        """A point a row at ``value`` with a rule from ``low`` to ``high``, joined by a thin line a group."""
        chart = alt.Chart(drawable(frame, "value"))
        rule = chart.mark_rule(strokeWidth=1.5, clip=True).encode(
            x, alt.Y("low:Q"), alt.Y2("high:Q"), self.color, opacity=self.opacity(1)
        )
        line = chart.mark_line(strokeWidth=1.2).encode(x, y, self.color, opacity=self.opacity(0.8))
        dot = chart.mark_point(filled=True, size=60)
        return [line, rule, dot.encode(x, y, self.color, opacity=self.opacity(1), tooltip=list(tip))]


def steps() -> alt.X:
    """The horizontal axis of a curve."""
    return alt.X("step:Q", title="optimizer steps", axis=alt.Axis(tickCount=5))


def share(title: str, column: str = "value") -> alt.Y:
    """A vertical axis from 0 to 100%."""
    return alt.Y(f"{column}:Q", title=title, axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1]))


def number(title: str, column: str = "value") -> alt.Y:
    """A vertical axis that need not begin at 0."""
    return alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=False))


def tips(form: str, *fields: str) -> list[alt.Tooltip]:
    """What the pointer shows: ``fields`` as they are, then value, low and high in a format."""
    plain = [alt.Tooltip(field) for field in fields]
    return [*plain, *(alt.Tooltip(f"{name}:Q", format=form) for name in ("value", "low", "high"))]


def panel(layers: Iterable[alt.Chart], title: str, width: int, height: int) -> Panel:
    """Layers as one part of a figure, under a small heading."""
    heading = alt.Title(title, fontSize=12, fontWeight="normal", frame="group", offset=8)
    return alt.layer(*layers).properties(title=heading, width=width, height=height)


def facets(
    layers: Sequence[alt.Chart], by: str, order: Sequence[str], *, width: int, height: int, wrap: int = 3
) -> alt.FacetChart:
    """Layers of the same data drawn again and again, a panel a value of ``by``, in rows of ``wrap``."""
    header = alt.Header(labelAnchor="start", labelFontSize=12, labelPadding=4)
    heading = alt.Facet(f"{by}:N", title=None, sort=list(order), header=header)
    return alt.layer(*layers).properties(width=width, height=height).facet(heading, columns=wrap)


def grid(panels: Sequence[Panel], chosen: alt.Parameter | None, wrap: int) -> alt.ConcatChart:
    """Panels in rows of ``wrap``; what can be ``chosen`` is the same in all of them."""
    first, *others = panels
    return alt.concat(first if chosen is None else first.add_params(chosen), *others, columns=wrap)


def figure(
    name: str,
    chart: alt.FacetChart | alt.ConcatChart | alt.LayerChart,
    title: tuple[str, str],
    description: str,
) -> Figure:
    """The chart under a title and subtitle, with its description."""
    heading = alt.Title(title[0], subtitle=title[1])
    return Figure(name, chart.properties(title=heading, description=description))


def in_words(rows: Iterable[tuple[str, float | None, float | None, float | None]], form: str) -> str:
    """``2: 10% (4% to 20%); 4: …`` for those who do not see the figure."""
    return "; ".join(f"{label}: {_interval(form, *estimate)}" for label, *estimate in rows)


def _interval(form: str, value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "unknown"
    form = f"z{form}"  # no "-0"
    return f"{value:{form}}" + ("" if low is None or high is None else f" ({low:{form}} to {high:{form}})")
