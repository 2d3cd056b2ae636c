"""Figures of training: learning curves of a run, what changes meanwhile, several runs compared, trees in a row."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import altair as alt
import polars as pl

from auxin.errors import DataError
from auxin.measures.intervals import bands
from auxin.measures.projection import Projection
from auxin.report.marks import (
    Groups,
    band_words,
    grid,
    line_ends,
    marked,
    number,
    panel,
    share,
    steps,
    tips,
)
from auxin.report.pair_figures import pair_figures
from auxin.report.tables import drawable, rounded, stretch_length, thinned
from auxin.report.theme import BLUE, GRAY, VERMILION, Figure, Panel

SPLITS = {"val": "in-domain", "gen": "generalization"}
RULES = {"hierarchical": "hierarchical rule", "linear": "linear rule", "neither": "neither"}
"""Shares of answers: metric and what its line is called."""
Accuracy: TypeAlias = Mapping[str, tuple[str, float]]
"""``Run.accuracy``."""
PANELS = {
    ("gen", "accuracy"): "generalization accuracy",
    ("train", "t_score"): "tree score",
    ("train", "t_parseval"): "tree F1 against gold",
    ("train", "weight_norm"): "weight norm / layers",
    ("train", "attention_sparsity"): "attention sparsity (nats)",
}
"""What ``dynamics`` shows: (split, name) and the axis title."""
WATCHED = {
    ("watch", "norm"): "norm² after the last layer",
    ("watch", "cosine"): "cosine of tokens after it",
    ("watch", "gradient"): "squared gradient, input / output",
    ("watch", "entropy"): "least attention entropy, relative",
    ("watch", "spread"): "largest spread of attention's logits",
    ("watch", "update"): "largest update of a layer, relative",
    ("watch", "experts"): "least share of experts used",
}
"""What is drawn of a run that was watched."""
BASELINE = "t_parseval/"
"""Of the names of F1 of trees that know nothing of the model."""
MOST_MEMBERS, MEMBERS_POINTS = 50, 8000
"""Thin lines of a figure of learning curves, and the points of all of them together."""
MOST_COLORS, MOST_POINTS = 8, 12_000
"""Groups of runs that get a colour each, and the points of all curves together."""


def run_figures(metrics: pl.DataFrame, note: str = "", accuracy: Accuracy | None = None) -> list[Figure]:
    """Learning curves, the shares of both rules, structural measures, signals and minimal pairs, as far as they were
    taken; ``DataError`` without curves."""
    curves = learning_curves(metrics, note=note, accuracy=accuracy)
    words = "In-domain and generalization accuracy against steps."
    found = [Figure("learning-curves", curves.properties(description=words))]
    if metrics["name"].is_in(list(RULES)).any():
        found.append(Figure("rules", rule_shares(metrics)))
    if metrics["name"].is_in([name for split, name in PANELS if split == "train"]).any():
        words = "Generalization and structural measures against steps."
        found.append(Figure("dynamics", dynamics(metrics).properties(description=words)))
    if (metrics["split"] == "watch").any():
        words = "Norms, cosines, gradients, attention and updates against steps."
        chart = dynamics(metrics, panels=WATCHED, title="Signals while the model trains")
        found.append(Figure("watch", chart.properties(description=words)))
    return found + pair_figures(metrics)


def learning_curves(
    metrics: pl.DataFrame, *, saturation: int | None = None, note: str = "", accuracy: Accuracy | None = None
) -> Panel | alt.ConcatChart:
    """In-domain and generalization accuracy against steps: a thin line a member, the mean, its 95% band.

    ``saturation`` marks the step at which in-domain accuracy passed 99%; ``note`` stands below the title. By
    ``accuracy``, words say what is counted, and a dashed line is chance; where the splits differ in that, each has a
    panel. Raises ``DataError`` when the metrics hold no such accuracy.
    """
    rows = metrics.filter(pl.col("split").is_in(list(SPLITS)), name="accuracy")
    rows = drawable(rows, "accuracy of val or gen")
    rows = rows.select("step", "member", "value", series=pl.col("split").replace_strict(SPLITS))
    members = rows["member"].n_unique()
    means = _means(rows, "accuracy")
    stretch = stretch_length(means, "series")
    shown = thinned(means, "series")["step"].unique()
    means = rounded(means.filter(pl.col("step").is_in(shown.implode())))
    known = {SPLITS[split]: meaning for split, meaning in (accuracy or {}).items() if split in SPLITS}
    order = [title for title in SPLITS.values() if title in means["series"]]
    parts = [order] if len({known.get(title) for title in order}) == 1 else [[title] for title in order]
    x = steps().scale(type="linear", nice=True)
    panels: list[Panel] = []
    for part in parts:
        chosen = pl.col("series").is_in(part)
        layers = _curves(means.filter(chosen), rows.filter(chosen), x, known.get(part[0]))
        if saturation is not None and "in-domain" in part:
            layers += marked(alt.X, {"in-domain ≥ 99%": saturation})
        whole = alt.layer(*layers).properties(width=560, height=320)
        panels.append(whole if len(parts) == 1 else panel(layers, _counted(known.get(part[0])), 330, 240))
    subtitle = [_counted(known.get(order[0]))] if len(parts) == 1 and known else []
    subtitle += [f"mean and 95% interval of {members} seeds" if members > 1 else f"seed {rows['member'][0]}"]
    subtitle += [note] if note else []
    subtitle += [f"of every {stretch:,} evaluations the lowest and the highest"] if stretch > 1 else []
    title = alt.Title("Learning curves", subtitle=subtitle if len(subtitle) > 1 else subtitle[0])
    return (panels[0] if len(panels) == 1 else alt.concat(*panels, columns=2)).properties(title=title)


def _counted(meaning: tuple[str, float] | None) -> str:
    """What accuracy is, with its chance level."""
    return f"accuracy: {meaning[0]} (chance {meaning[1]:.0%})" if meaning else ""


def _curves(
    means: pl.DataFrame, rows: pl.DataFrame, x: alt.X, meaning: tuple[str, float] | None
) -> list[alt.Chart]:
    """The lines of one panel, and its chance level."""
    chance, y = meaning[1] if meaning else 0.0, share("accuracy")
    order = means["series"].unique(maintain_order=True).sort(descending=True).to_list()
    scale = alt.Scale(domain=list(SPLITS.values()), range=[BLUE, VERMILION])
    color = alt.Color("series:N", legend=None, scale=scale)
    ends = line_ends(means, 0.07).mark_text(align="left", dx=6)
    layers: list[alt.Chart] = [ends.encode(x, y, color, text="series:N")]
    if chance:
        rule = alt.Chart(pl.DataFrame({"chance": [chance]})).mark_rule(color=GRAY, strokeDash=[4, 3])
        layers += [rule.encode(alt.Y("chance:Q"))]
    if rows["member"].n_unique() > 1:
        band = alt.Chart(means).mark_area(opacity=0.18, clip=True)
        layers += [band.encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), color)]
        layers += [_members(rows).encode(x, y, color, detail="member:N")]
    layers += [alt.Chart(means).mark_line(strokeWidth=2.5).encode(x, y, color)]
    return [*layers, _reader(means.pivot(on="series", index="step", values="value"), x, order)]


def rule_shares(metrics: pl.DataFrame) -> Panel:
    """Shares of generalization answers by either rule and by neither, against steps: means with 95% bands."""
    rows = metrics.filter(pl.col("split") == "gen", pl.col("name").is_in(list(RULES)))
    rows = drawable(rows.with_columns(series=pl.col("name").replace_strict(RULES)), "share of a rule")
    groups = Groups(list(RULES.values()), palette=(VERMILION, BLUE, GRAY))
    layers = groups.bands(
        _means(rows, "linear"), steps(), share("generalization answers"), tips(".1%", "series:N", "step:Q")
    )
    heading = alt.Title("Which rule the answers follow", subtitle=band_words(groups))
    chart = groups.choosing(alt.layer(*layers))
    words = "Shares of answers by the hierarchical rule, by the linear rule and by neither, against steps."
    return chart.properties(title=heading, width=560, height=240, description=words)


def _members(rows: pl.DataFrame) -> alt.Chart:
    """A thin line a member, of the first ones."""
    few = rows["member"].unique().sort()[:MOST_MEMBERS]
    rows = rows.filter(pl.col("member").is_in(few.implode()))
    most = MEMBERS_POINTS // (len(few) * rows["series"].n_unique())
    thin = alt.Chart(rounded(thinned(rows, "series", "member", most=most)))
    return thin.mark_line(strokeWidth=0.8, opacity=0.35)


def _reader(wide: pl.DataFrame, x: alt.X, series: Sequence[str]) -> alt.Chart:
    """A rule that follows the pointer and shows the numbers of the nearest step."""
    name = "nearest_" + "_".join(series).replace("-", "_")
    nearest = alt.selection_point(name, nearest=True, on="pointerover", fields=["step"], empty=False)
    tip = ["step:Q", *(alt.Tooltip(f"{title}:Q", format=".1%") for title in series)]
    opacity = alt.when(nearest).then(alt.value(0.5)).otherwise(alt.value(0))
    return alt.Chart(wide).mark_rule(color=GRAY).encode(x, opacity=opacity, tooltip=tip).add_params(nearest)


def _means(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Means with intervals, of one model a line alone."""
    means = bands(rows, ["series", "step"], name).drop("models")
    return means.with_columns(pl.col("low", "high").fill_null(pl.col("value")))


def dynamics(
    metrics: pl.DataFrame,
    *,
    panels: Mapping[tuple[str, str], str] = PANELS,
    title: str = "What changes while the model generalizes",
) -> alt.ConcatChart:
    """Generalization and the structural measures against steps, a panel each, a mean and 95% band a group.

    ``metrics`` may hold a column ``group`` (say, the depth). F1 of trees that know nothing of the model are drawn as
    rules. Raises ``DataError`` when nothing can be drawn.
    """
    group = pl.col("group").cast(pl.String) if "group" in metrics.columns else pl.lit("all seeds")
    rows = metrics.filter(
        pl.any_horizontal((pl.col("split") == split) & (pl.col("name") == name) for split, name in panels)
    )
    rows = drawable(rows.with_columns(series=group), "structural measure on the expected splits")
    groups = Groups.of(rows)
    means = [
        _means(part, str(name)).with_columns(name=pl.lit(name)) for (name,), part in rows.group_by("name")
    ]
    drawn = measured_panels(
        pl.concat(means), groups, width=280, baselines=baselines_of(metrics), panels=panels
    )
    return alt.concat(*drawn, columns=2).properties(title=alt.Title(title, subtitle=band_words(groups)))


def baselines_of(metrics: pl.DataFrame) -> dict[str, float]:
    """F1 against gold of trees that know nothing of the model, by name."""
    known = metrics.filter(pl.col("name").str.starts_with(BASELINE))
    means = known.group_by("name").agg(pl.col("value").mean()).sort("name")
    return {name.removeprefix(BASELINE): f1 for name, f1 in means.iter_rows()}


def measured_panels(
    means: pl.DataFrame,
    groups: Groups,
    *,
    width: int,
    baselines: dict[str, float] | None = None,
    panels: Mapping[tuple[str, str], str] = PANELS,
) -> list[Panel]:
    """A panel for each of ``panels`` that a table with columns name, series, step, value, low and high has."""
    drawn: list[Panel] = []
    for (_, name), title in panels.items():
        rows = means.filter(name=name).select("series", "step", "value", "low", "high")
        if len(rows):
            y, form = (share(title), ".1%") if name == "accuracy" else (number(title), ".3f")
            layers = groups.bands(rows, steps(), y, tips(form, "series:N", "step:Q"))
            if baselines and name == "t_parseval":
                layers += marked(alt.Y, baselines)
            drawn.append(panel(layers, "", width, 190))
    if not drawn:
        raise DataError("there is no structural measure to draw")
    return drawn


def compared_runs(curves: Sequence[tuple[str, str, pl.DataFrame]], groups: Groups) -> Figure:
    """A line a run, its mean over seeds, for each of both accuracies, of each run's name, series and metrics."""
    few = len(curves) <= MOST_COLORS
    frames: list[pl.DataFrame] = []
    for i, (run, series, metrics) in enumerate(curves):
        rows = metrics.filter(pl.col("name") == "accuracy", pl.col("split").is_in(list(SPLITS)))
        rows = rows.filter(pl.col("value").is_finite()).select("step", "member", "value", "split")
        most = max(20, MOST_POINTS // (len(curves) * len(SPLITS)))
        means = thinned(bands(rows, ["split", "step"], "accuracy"), "split", most=most)
        marks = {"run": pl.lit(run), "number": pl.lit(i), "series": pl.lit(series)}
        frames.append(means.select("step", "value", "split", **marks))
    shown = rounded(drawable(pl.concat(frames), "accuracy of these runs"))
    panels: list[Panel] = []
    for split, heading in SPLITS.items():
        rows = shown.filter(split=split).drop("split")
        if len(rows):
            tip = ["run:N", "step:Q", alt.Tooltip("value:Q", format=".1%")]
            line = alt.Chart(rows).mark_line(strokeWidth=2 if few else 1).encode(
                steps(), share("accuracy"), groups.color, detail="number:N",
                opacity=groups.opacity(1 if few else 0.6), tooltip=tip,
            )  # fmt: skip
            panels.append(panel([line], heading, 330, 240))
    chart = grid(panels, groups.chosen, 2)
    words = (
        f"In-domain and generalization accuracy of {len(curves)} runs against steps; "
        "the table has the last values."
    )
    heading = alt.Title("Accuracy of all runs", subtitle="a line a run, its mean over seeds")
    return Figure("runs", chart.properties(title=heading, description=words))


def span_chart(projection: Projection) -> Panel:
    """The chart of a sentence as a heat map, a cell a span, with the spans of its tree outlined."""
    words = [f"{i + 1} {word}" for i, word in enumerate(projection.words)]
    cells = pl.DataFrame(
        [
            {
                "first": words[i],
                "last": words[j],
                "span": " ".join(projection.words[i : j + 1]),
                "score": float(projection.chart[i, j]),
                "tree": (i, j) in projection.spans,
            }
            for i in range(len(words))
            for j in range(i, len(words))
        ]
    )
    x = alt.X("last:N", title="last word of the span", sort=words, axis=alt.Axis(labelAngle=-45))
    y = alt.Y("first:N", title="first word of the span", sort=words)
    color = alt.Color("score:Q", title="score", scale=alt.Scale(scheme="viridis"))
    tip = ["span:N", alt.Tooltip("score:Q", format=".3f")]
    heat = alt.Chart(cells).mark_rect(aria=False).encode(x, y, color, tooltip=tip)
    outline = alt.Chart(cells.filter("tree")).mark_rect(aria=False, fill=None, stroke="black", strokeWidth=2)
    size = 28 * len(words)
    heading = alt.Title(
        "How little the words outside change each span", subtitle="outlined: the spans of the tree"
    )
    return alt.layer(heat, outline.encode(x, y)).properties(
        width=size,
        height=size,
        title=heading,
        description=f"Score of every span of {len(words)} words; the spans of the greedy tree are outlined.",
    )


def tree_strip(drawings: Sequence[tuple[str, str]], wrap: float = 1000) -> str:
    """Drawings of trees in rows of at most ``wrap`` pixels, each under its caption, as one SVG text.

    A drawing is an SVG element with width and height, as ``auxin.tasks.trees.to_svg`` makes it.
    """
    parts: list[str] = []
    gap, head = 28.0, 32.0
    left = top = right = bottom = 0.0
    for caption, svg in drawings:
        found = [re.search(rf'^<svg[^>]*\b{side}="([\d.]+)(?:px)?"', svg) for side in ("width", "height")]
        if not (found[0] and found[1]):
            raise DataError(f"the drawing of {caption!r} is not an SVG element with width and height")
        width, height = float(found[0][1]), float(found[1][1])
        if left > 0 and left + width > wrap:
            left, top = 0.0, bottom + gap
        where = f'x="{left + width / 2}" y="{top + 18}" text-anchor="middle" font-weight="bold"'
        parts += [f"<text {where}>{html.escape(caption)}</text>"]
        place = f'transform="translate({left}, {top + head})"'
        parts += [f"<g {place}>{svg.replace('black', 'currentColor')}</g>"]
        right, bottom = max(right, left + width), max(bottom, top + head + height)
        left += width + gap
    style = "text{fill:currentColor;font-family:Helvetica,Arial,sans-serif}svg{color:#222}"
    dark = "@media (prefers-color-scheme:dark){svg{color:#e6e6e6}}"
    size = f'width="{right}" height="{bottom}" viewBox="0 0 {right} {bottom}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}{dark}</style>{"".join(parts)}</svg>'
    )
