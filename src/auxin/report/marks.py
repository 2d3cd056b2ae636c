"""What figures are made of: groups with a colour each, bands, intervals, clickable legends, panels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import polars as pl
import polars.selectors as cs

from auxin.report.tables import drawable, rounded, thinned
from auxin.report.theme import PALETTE, Panel

STEPS = "optimizer steps"
MOST_BANDS = 3
"""Groups whose bands can be told apart where they overlap."""


@dataclass(frozen=True)
class Figure:
    """A chart with its title; its ``description`` says in words what it shows."""

    name: str
    """Stem of its files."""
    chart: alt.TopLevelMixin


@dataclass(frozen=True)
class Groups:
    """Groups of rows by their column ``series``, a colour each; a click on the legend highlights one."""

    names: Sequence[str]
    title: str | None = None
    palette: Sequence[str] = PALETTE
    ordered: bool = False
    """Whether the names are those of an ordered quantity, whose colours then are a scale."""

    @cached_property
    def chosen(self) -> alt.Parameter | None:
        """What is highlighted; nothing chosen is everything."""
        several = len(self.names) > 1
        return alt.selection_point(fields=["series"], bind="legend", name="chosen") if several else None

    @property
    def color(self) -> alt.Color:
        """A colour each, with the legend above when there are several."""
        legend = alt.Legend(
            orient="top", labelLimit=400, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1
        )
        colors = [self.palette[i % len(self.palette)] for i in range(len(self.names))]
        given = alt.Undefined if self.ordered else colors
        scale = alt.Scale(domain=list(self.names), range=given)
        shown = legend if len(self.names) > 1 else None
        return alt.Color(
            "series:O" if self.ordered else "series:N", title=self.title, scale=scale, legend=shown
        )

    def opacity(self, shown: float) -> alt.OpacityValue:
        """``shown``, and a fifth of it for what is not chosen."""
        return self._chosen(shown, shown / 5) if self.chosen else alt.OpacityValue(shown)

    def _chosen(self, shown: float, other: float, *, empty: bool = True) -> alt.OpacityValue:
        """``shown`` for what is chosen, which is everything (or, without ``empty``, nothing) where nothing is."""
        when = alt.ConditionalParameterValueDefnumberExprRef(param="chosen", empty=empty, value=shown)
        return alt.OpacityValue(other, condition=when)

    def choosing(self, chart: alt.FacetChart) -> alt.FacetChart:
        """The chart with its legend listening."""
        return chart if self.chosen is None else chart.add_params(self.chosen)

    def bands(self, frame: pl.DataFrame, x: alt.X, y: alt.Y, tip: Sequence[Any]) -> list[alt.Chart]:
        """A line a group over the steps through ``value`` with its band from ``low`` to ``high``.

        Where there are more bands than can be told apart, a click shows one, and each line ends in its interval.
        """
        many = len(self.names) > MOST_BANDS
        frame = drawable(frame, "value")
        keys = frame.select(cs.string()).columns
        frame = self._ends(rounded(thinned(frame, *keys)), keys) if many else rounded(thinned(frame, *keys))
        chart = alt.Chart(frame)
        low, high = alt.Y("low:Q"), alt.Y2("high:Q")
        band = chart.mark_area(clip=True).encode(x, low, high, self.color)
        line = chart.mark_line(strokeWidth=2, point={"size": 18})
        line = line.encode(x, y, self.color, opacity=self.opacity(1), tooltip=list(tip))
        if not many:
            return [band.encode(opacity=self.opacity(0.18)), line]
        ends = chart.mark_rule(strokeWidth=2).transform_filter("isValid(datum.end)")
        ends = ends.encode(alt.X("end:Q", title=STEPS), low, high, self.color, opacity=self.opacity(1))
        return [band.encode(opacity=self._chosen(0.25, 0, empty=False)), line, ends]

    def _ends(self, frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """With ``end``, of the last row of every line: where its interval stands, beside those of the others."""
        last = pl.col("step") == pl.col("step").max().over(keys)
        gap = 0.015 * pl.col("step").max()
        places = {name: i + 1 for i, name in enumerate(self.names)}
        place = pl.col("series").replace_strict(places, default=1, return_dtype=pl.Float64)
        return frame.with_columns(end=pl.when(last).then(pl.col("step") + gap * place))

    def intervals(self, frame: pl.DataFrame, x: alt.X, y: alt.Y, tip: Sequence[Any]) -> list[alt.Chart]:
        """A point a row at ``value`` with a rule from ``low`` to ``high``, joined by a thin line a group."""
        chart = alt.Chart(drawable(frame, "value"))
        rule = chart.mark_rule(strokeWidth=1.5, clip=True).encode(
            x, alt.Y("low:Q"), alt.Y2("high:Q"), self.color, opacity=self.opacity(1)
        )
        line = chart.mark_line(strokeWidth=1.2).encode(x, y, self.color, opacity=self.opacity(0.8))
        dot = chart.mark_point(filled=True, size=60)
        return [line, rule, dot.encode(x, y, self.color, opacity=self.opacity(1), tooltip=list(tip))]


def band_words(groups: Groups) -> str:
    """What the bands of these groups are, for a subtitle."""
    if len(groups.names) <= MOST_BANDS:
        return "mean over seeds, 95% interval"
    return "mean over seeds; bars at the end: 95% interval; click a colour for its band"


def steps() -> alt.X:
    """The horizontal axis of a curve."""
    return alt.X("step:Q", title=STEPS, axis=alt.Axis(tickCount=5, labelSeparation=8))


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
    chart = alt.layer(*layers).properties(width=width, height=height)
    return chart.facet(heading, columns=wrap, spacing=36)


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
