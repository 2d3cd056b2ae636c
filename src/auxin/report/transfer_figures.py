"""The figure of a transfer: exponents with their intervals beside their targets."""

from __future__ import annotations

import altair as alt
import polars as pl

from auxin.report.marks import panel
from auxin.report.theme import BLUE, GRAY, VERMILION, Panel


def transfer_figure(slopes: pl.DataFrame) -> alt.ConcatChart:
    """A row a quantity, a panel an axis: dot and interval, vermilion where it is off; a tick where it should be.

    ``slopes`` has axis, quantity, exponent, low, high, target (null: not judged, and not drawn) and off.
    """
    judged = slopes.filter(pl.col("target").is_not_null())
    panels = [
        _panel(judged.filter(axis=axis), axis)
        for axis in ("width", "depth")
        if (judged["axis"] == axis).any()
    ]
    subtitle = "dot and line: exponent and 95% interval; tick: what it should be; vermilion: off"
    return alt.concat(*panels, columns=2).properties(
        title=alt.Title("Slopes over width and depth", subtitle=subtitle)
    )


def _panel(rows: pl.DataFrame, axis: str) -> Panel:
    ends = rows.select(
        least=pl.min_horizontal("exponent", "target").min(),
        most=pl.max_horizontal("exponent", "target").max(),
    )
    low, high = min(ends["least"][0], -0.5) - 0.25, max(ends["most"][0], 0.5) + 0.25
    scale = alt.Scale(domain=[low, high])
    chart = alt.Chart(rows)
    y = alt.Y("quantity:N", title=None, sort=None, axis=alt.Axis(labelLimit=240))
    color = alt.Color("off:N", scale=alt.Scale(domain=[False, True], range=[BLUE, VERMILION]), legend=None)
    tick = chart.mark_tick(color=GRAY, thickness=3, size=16).encode(alt.X("target:Q"), y)
    rule = chart.mark_rule(strokeWidth=1.5, clip=True).encode(alt.X("low:Q"), y, color, alt.X2("high:Q"))
    dot = chart.mark_point(filled=True, size=60).encode(
        alt.X("exponent:Q", title=f"exponent over {axis}", scale=scale),
        y,
        color,
        tooltip=[
            "quantity:N",
            *(alt.Tooltip(f"{n}:Q", format=".2f") for n in ("exponent", "low", "high", "target")),
        ],
    )
    return panel([tick, rule, dot], axis, 280, 22 * rows.height)
