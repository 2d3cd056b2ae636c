"""What figures are made of: groups with a colour each, bands, intervals, zero lines, axes, panels, and their place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from auxin.report.tables import drawable, rounded, thinned
from auxin.report.theme import GRAY, PALETTE, Figure, Panel

STEPS = "optimizer steps"
MOST_BANDS = 3
"""Groups whose bands can be told apart where they overlap."""


def figure(name: str, chart: Any, title: tuple[str, str], description: str) -> Figure:
    """The chart under a title and subtitle, with its description."""
    heading = alt.Title(title[0], subtitle=title[1])
    return Figure(name, chart.properties(title=heading, description=description))


@dataclass(frozen=True)
class Groups:
    """Groups of rows by their column ``series``, a colour each; a click on the legend highlights one."""

    names: Sequence[str]
    title: str | None = None
    palette: Sequence[str] = PALETTE
    ordered: bool = False
    """Whether the names are those of an ordered quantity, whose colours then are a scale."""

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Groups:
        """The groups of a table in its order."""
        return cls(frame["series"].unique(maintain_order=True).to_list())

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
        scale = alt.Scale(domain=list(self.names), range=alt.Undefined if self.ordered else colors)
        kind = "series:O" if self.ordered else "series:N"
        return alt.Color(kind, title=self.title, scale=scale, legend=legend if self.chosen else None)

    def opacity(self, shown: float) -> alt.OpacityValue:
        """``shown``, and a fifth of it for what is not chosen."""
        return self._chosen(shown, shown / 5) if self.chosen else alt.OpacityValue(shown)

    def _chosen(self, shown: float, other: float, *, empty: bool = True) -> alt.OpacityValue:
        """``shown`` for what is chosen, which is everything (or, without ``empty``, nothing) where nothing is."""
        when = alt.ConditionalParameterValueDefnumberExprRef(param="chosen", empty=empty, value=shown)
        return alt.OpacityValue(other, condition=when)

    def choosing(self, chart: Any) -> Any:
        """The chart with its legend listening."""
        return chart if self.chosen is None else chart.add_params(self.chosen)

    def bands(self, frame: pl.DataFrame, x: alt.X, y: alt.Y, tip: Sequence[Any]) -> list[alt.Chart]:
        """A line a group over the steps through ``value`` with its band from ``low`` to ``high``.

        Where there are more bands than can be told apart, a click shows one, and each line ends in its interval.
        """
        many = len(self.names) > MOST_BANDS
        frame = drawable(frame, "value")
        keys = frame.select(cs.string()).columns
        frame = rounded(thinned(frame, *keys))
        chart = alt.Chart(self._ends(frame, keys) if many else frame)
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
    layers: Sequence[alt.Chart], by: str, order: Sequence[str], size: tuple[int, int], wrap: int = 3
) -> alt.FacetChart:
    """Layers of the same data, a panel a value of ``by`` of this width and height, in rows of ``wrap``."""
    header = alt.Header(labelAnchor="start", labelFontSize=12, labelPadding=4)
    heading = alt.Facet(f"{by}:N", title=None, sort=list(order), header=header)
    chart = alt.layer(*layers).properties(width=size[0], height=size[1])
    return chart.facet(heading, columns=wrap, spacing=36)


def grid(panels: Sequence[Panel], chosen: alt.Parameter | None, wrap: int) -> alt.ConcatChart:
    """Panels in rows of ``wrap``; what can be ``chosen`` is the same in all of them."""
    first, *others = panels
    return alt.concat(first if chosen is None else first.add_params(chosen), *others, columns=wrap)


def line_ends(means: pl.DataFrame, gap: float) -> alt.Chart:
    """The last point of every ``series``, moved apart by at least ``gap``, so that labels don't collide."""
    last = means.sort("step").group_by("series", maintain_order=True).last().sort("value")
    heights = last["value"].to_list()
    top = max(1.0, heights[-1])
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    heights[-1] = min(heights[-1], top)
    for i in reversed(range(len(heights) - 1)):
        heights[i] = min(heights[i], heights[i + 1] - gap)
    return alt.Chart(last.with_columns(value=pl.Series(heights)))


def marked(axis: type[alt.X] | type[alt.Y], places: dict[str, float]) -> list[alt.Chart]:
    """Dashed rules across a figure at places on an axis, each with its name at the end."""
    frame = pl.DataFrame({"name": list(places), "place": list(places.values())})
    across = axis("place:Q")
    rule = alt.Chart(frame).mark_rule(color=GRAY, strokeDash=[4, 3]).encode(across)
    if axis is alt.X:
        text = alt.Chart(frame).mark_text(color=GRAY, baseline="bottom", dy=-3)
        return [rule, text.encode(across, y=alt.value(0), text="name:N")]
    text = alt.Chart(frame).mark_text(color=GRAY, align="left", dx=4)
    return [rule, text.encode(across, x=alt.value("width"), text="name:N")]


def zero_contour(xs: NDArray[Any], ys: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Segments [k, 4] (x, y, x', y') of the line on which a function linear on triangles is zero.

    ``values`` [len(ys), len(xs)]; each cell of the grid is two triangles, so the line has no ambiguous case.
    Triangles with a value that is not finite are left out.
    """
    grid = np.stack([*np.meshgrid(xs, ys), values], axis=-1)  # [Y, X, (x, y, value)]
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    triangles = np.concatenate([np.stack(corners, 2).reshape(-1, 3, 3) for corners in ([a, b, c], [a, c, d])])
    positive = triangles[..., 2] >= 0
    mixed = positive.any(1) & ~positive.all(1) & np.isfinite(triangles[..., 2]).all(1)
    triangles, positive = triangles[mixed], positive[mixed]
    alone = (positive == (positive.sum(1) == 1)[:, None]).argmax(1)  # the corner whose sign the others lack
    corners = np.take_along_axis(triangles, ((alone[:, None] + np.arange(3)) % 3)[..., None], axis=1)
    apex, others = corners[:, :1], corners[:, 1:]
    part = apex[..., 2:] / (apex[..., 2:] - others[..., 2:])
    return (apex + part * (others - apex))[..., :2].reshape(-1, 4)


def cell_sides(name: str, centers: NDArray[Any], *, log: bool = False, outer: bool = True) -> pl.DataFrame:
    """Columns ``name``, ``name_0`` and ``name_1``: where the cell around each value begins and ends.

    The outermost cells end at their value unless ``outer``.
    """
    at = np.log(centers) if log else centers
    middle = (at[1:] + at[:-1]) / 2
    ends = (2 * at[0] - middle[0], 2 * at[-1] - middle[-1]) if outer else (at[0], at[-1])
    sides = np.concatenate([ends[:1], middle, ends[1:]])
    sides = np.exp(sides) if log else sides
    return pl.DataFrame({name: centers, f"{name}_0": sides[:-1], f"{name}_1": sides[1:]})
