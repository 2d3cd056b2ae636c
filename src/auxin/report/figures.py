"""One Altair chart a figure, drawn from tidy tables; ``theme.save`` writes them."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from auxin.errors import DataError
from auxin.measures.intervals import bands
from auxin.report.marks import Groups, band_words, number, panel, share, steps, tips
from auxin.report.tables import drawable, rounded, stretch_length, thinned
from auxin.report.theme import BLUE, GRAY, VERMILION, Panel

SPLITS = {"val": "in-domain", "gen": "generalization"}
PANELS = {
    ("gen", "accuracy"): "generalization accuracy",
    ("train", "t_score"): "tree score",
    ("train", "t_parseval"): "tree F1 against gold",
    ("train", "weight_norm"): "weight norm / layers",
    ("train", "attention_sparsity"): "attention sparsity (nats)",
}
"""What ``dynamics`` shows: (split, name) and the axis title."""
MOST_MEMBERS, MEMBERS_POINTS = 50, 8000
"""Thin lines of a figure of learning curves, and the points of all of them together."""


def learning_curves(
    metrics: pl.DataFrame,
    *,
    name: str = "accuracy",
    log: bool = False,
    saturation: int | None = None,
    note: str = "",
) -> Panel:
    """In-domain and generalization accuracy against steps: a thin line a member, the mean, its 95% band.

    ``saturation`` marks the step at which in-domain accuracy passed 99%; ``log`` spaces the steps
    logarithmically; ``note`` stands below the title. Raises ``DataError`` when the metrics hold no such accuracy.
    """
    rows = metrics.filter(
        pl.col("name") == name, pl.col("split").is_in(list(SPLITS)), pl.col("step") >= int(log)
    )
    rows = drawable(rows, f"metric {name!r} on {' or '.join(SPLITS)}")
    rows = rows.select("step", "member", "value", series=pl.col("split").replace_strict(SPLITS))
    members = rows["member"].n_unique()
    means = _drawn(rows, name)
    stretch = stretch_length(means, "series")
    shown = thinned(means, "series")["step"].unique()
    means = rounded(means.filter(pl.col("step").is_in(shown.implode())))
    order = [title for title in SPLITS.values() if title in means["series"]]
    color = alt.Color(
        "series:N", legend=None, scale=alt.Scale(domain=order, range=[BLUE, VERMILION][: len(order)])
    )
    x = alt.X(
        "step:Q", title="optimizer steps", scale=alt.Scale(type="log" if log else "linear", nice=not log)
    )
    y = share("accuracy")
    mean = alt.Chart(means).mark_line(strokeWidth=2.5).encode(x, y, color)
    layers: list[alt.Chart] = [
        line_ends(means, 0.07).mark_text(align="left", dx=6).encode(x, y, color, text="series:N")
    ]
    if members > 1:
        band = alt.Chart(means).mark_area(opacity=0.18, clip=True)
        layers += [band.encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), color), _members(rows, x, y, color)]
    if saturation is not None:
        layers += _marked_step(saturation, "in-domain ≥ 99%")
    wide = means.pivot(on="series", index="step", values="value")
    subtitle = [f"mean and 95% interval of {members} seeds" if members > 1 else f"seed {rows['member'][0]}"]
    subtitle += [note] if note else []
    subtitle += [f"of every {stretch:,} evaluations the lowest and the highest"] if stretch > 1 else []
    title = alt.Title("Learning curves", subtitle=subtitle if len(subtitle) > 1 else subtitle[0])
    return alt.layer(*layers, mean, _reader(wide, x, order)).properties(title=title, width=560, height=320)


def _members(rows: pl.DataFrame, x: alt.X, y: alt.Y, color: alt.Color) -> alt.Chart:
    """A thin line a member, of the first ones."""
    few = rows["member"].unique().sort()[:MOST_MEMBERS]
    rows = rows.filter(pl.col("member").is_in(few.implode()))
    lines = len(few) * rows["series"].n_unique()
    thin = alt.Chart(rounded(thinned(rows, "series", "member", most=MEMBERS_POINTS // lines)))
    return thin.mark_line(strokeWidth=0.8, opacity=0.35).encode(x, y, color, detail="member:N")


def dynamics(metrics: pl.DataFrame, baselines: Mapping[str, float] | None = None) -> alt.ConcatChart:
    """Generalization and the structural measures against steps, a panel each, a mean and 95% band a group.

    ``metrics`` may hold a column ``group`` (say, the depth); ``baselines`` maps the names of trees that know
    nothing of the model to their F1, drawn as rules. Raises ``DataError`` when nothing can be drawn.
    """
    group = pl.col("group").cast(pl.String) if "group" in metrics.columns else pl.lit("all seeds")
    rows = metrics.filter(
        pl.any_horizontal((pl.col("split") == split) & (pl.col("name") == name) for split, name in PANELS)
    )
    rows = drawable(rows.with_columns(series=group), "structural measure on the expected splits")
    groups = Groups(rows["series"].unique(maintain_order=True).to_list())
    means = [_drawn(own, str(name)).with_columns(name=pl.lit(name)) for (name,), own in rows.group_by("name")]
    panels = measured_panels(pl.concat(means), groups, width=280, baselines=baselines)
    title = alt.Title("What changes while the model generalizes", subtitle=band_words(groups))
    return alt.concat(*panels, columns=2).properties(title=title)


def _drawn(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Means with intervals, of one model a line alone."""
    means = bands(rows, ["series", "step"], name).drop("models")
    return means.with_columns(pl.col("low", "high").fill_null(pl.col("value")))


def measured_panels(
    means: pl.DataFrame, groups: Groups, *, width: int, baselines: Mapping[str, float] | None = None
) -> list[Panel]:
    """A panel for each of ``PANELS`` that a table with columns name, series, step, value, low and high has."""
    panels: list[Panel] = []
    for (_, name), title in PANELS.items():
        own = means.filter(name=name).select("series", "step", "value", "low", "high")
        if len(own):
            y, form = (share(title), ".1%") if name == "accuracy" else (number(title), ".3f")
            layers = groups.bands(own, steps(), y, tips(form, "series:N", "step:Q"))
            layers += _baseline_rules(baselines or {}) if name == "t_parseval" else []
            panels.append(panel(layers, "", width, 190))
    if not panels:
        raise DataError("there is no structural measure to draw")
    return panels


def tree_strip(drawings: Sequence[tuple[str, str]], wrap: float = 1000) -> str:
    """Drawings of trees in rows of at most ``wrap`` pixels, each under its caption, as one SVG text.

    A drawing is an SVG element with width and height, as ``auxin.tasks.trees.to_svg`` makes it.
    """
    if not drawings:
        raise DataError("no tree to draw")
    parts: list[str] = []
    gap, head = 28.0, 32.0
    left = top = right = bottom = 0.0
    for caption, svg in drawings:
        width, height = _size(caption, svg)
        if left > 0 and left + width > wrap:
            left, top = 0.0, bottom + gap
        where = f'x="{left + width / 2}" y="{top + 18}" text-anchor="middle" font-weight="bold"'
        place = f'transform="translate({left}, {top + head})"'
        parts += [f"<text {where}>{html.escape(caption)}</text>"]
        parts += [f"<g {place}>{svg.replace('black', 'currentColor')}</g>"]
        right, bottom = max(right, left + width), max(bottom, top + head + height)
        left += width + gap
    style = "text{fill:currentColor;font-family:Helvetica,Arial,sans-serif}svg{color:#222}"
    dark = "@media (prefers-color-scheme:dark){svg{color:#e6e6e6}}"
    size = f'width="{right}" height="{bottom}" viewBox="0 0 {right} {bottom}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}{dark}</style>{"".join(parts)}</svg>'
    )


def _size(caption: str, svg: str) -> tuple[float, float]:
    found = [re.search(rf'^<svg[^>]*\b{side}="([\d.]+)(?:px)?"', svg) for side in ("width", "height")]
    if not (found[0] and found[1]):
        raise DataError(f"the drawing of {caption!r} is not an SVG element with width and height")
    return float(found[0][1]), float(found[1][1])


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


def _marked_step(step: int, text: str) -> list[alt.Chart]:
    """A vertical rule with a caption."""
    frame = pl.DataFrame({"step": [step], "text": [text]})
    rule = alt.Chart(frame).mark_rule(color=GRAY, strokeDash=[4, 3]).encode(alt.X("step:Q"))
    caption = alt.Chart(frame).mark_text(color=GRAY, baseline="bottom", dy=-3)
    return [rule, caption.encode(alt.X("step:Q"), y=alt.value(0), text="text:N")]


def _reader(wide: pl.DataFrame, x: alt.X, series: Sequence[str]) -> alt.Chart:
    """A rule that follows the pointer and shows the numbers of the nearest step."""
    nearest = alt.selection_point(nearest=True, on="pointerover", fields=["step"], empty=False)
    tip = ["step:Q", *(alt.Tooltip(f"{title}:Q", format=".1%") for title in series)]
    opacity = alt.when(nearest).then(alt.value(0.5)).otherwise(alt.value(0))
    return alt.Chart(wide).mark_rule(color=GRAY).encode(x, opacity=opacity, tooltip=tip).add_params(nearest)


def _baseline_rules(baselines: Mapping[str, float]) -> list[alt.Chart]:
    """Horizontal rules with their names at the right."""
    if not baselines:
        return []
    frame = pl.DataFrame({"name": list(baselines), "value": list(baselines.values())})
    rule = alt.Chart(frame).mark_rule(color=GRAY, strokeDash=[4, 3]).encode(alt.Y("value:Q"))
    text = alt.Chart(frame).mark_text(color=GRAY, align="left", dx=4)
    return [rule, text.encode(alt.Y("value:Q"), x=alt.value("width"), text="name:N")]
