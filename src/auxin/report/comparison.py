"""Several runs side by side: their generalization in one chart, and a table of what differs among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from auxin.measures.intervals import bands
from auxin.report.drawings import Drawings
from auxin.report.figures import SPLITS
from auxin.report.labels import label
from auxin.report.marks import Figure, Groups, figure, grid, panel, share, steps
from auxin.report.markup import Table, minus, setting
from auxin.report.run_section import RunView, share_text
from auxin.report.tables import drawable, rounded, thinned
from auxin.report.theme import Panel
from auxin.values import flat

MOST_COLORS, MOST_POINTS = 8, 12_000
"""Groups of runs that get a colour each, and the points of all curves together."""
OF_A_PLACE = ("seeds", "threads", "device")
"""Settings by which no curves are coloured."""


def runs_section(views: Sequence[RunView], name: str, drawings: Drawings, *, alone: bool) -> dict[str, Any]:
    """What runs.html shows of the runs as the section ``name``; ``alone`` says that each has its own section, too."""
    varied = _varied([flat(view.run.config) for view in views])
    return {
        "template": "runs.html",
        "id": name,
        "title": f"{len(views)} runs compared",
        "figures": drawings.place([_compared(views, varied)]),
        "alone": alone,
        "varied": varied,
        "runs": _table(views, varied),
    }


def _varied(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings that are not the same in all of them, the model's first, and their values run by run."""
    names = dict.fromkeys(name for config in configs for name in config)
    names = sorted(names, key=lambda name: not name.startswith("model."))
    found = {name: [config.get(name) for config in configs] for name in names}
    return {name: values for name, values in found.items() if any(value != values[0] for value in values)}


def _table(views: Sequence[RunView], varied: Mapping[str, Sequence[Any]]) -> Table:
    """A row a run: what is its own, and what came out."""
    heads = ["run", *varied, "passes 80%", "generalization at the end", "state"]
    rows: list[list[str]] = []
    for i, view in enumerate(views):
        found = {} if view.overall is None else {row["quantity"]: row for row in view.overall.to_dicts()}
        passed = found.get("grokked")
        count = "–" if passed is None else f"{passed['value'] * passed['members']:.0f} of {passed['members']}"
        final = share_text(found["final"]) if found else "–"
        state = "finished" if view.run.finished else f"at step {view.at:,}"
        own = [setting(values[i]) for values in varied.values()]
        rows.append([view.run.path.name, *own, count, final, state])
    return Table(heads, rows)


def _compared(views: Sequence[RunView], varied: Mapping[str, Sequence[Any]]) -> Figure:
    """A line a run, its mean over seeds, for each of both accuracies."""
    groups, labels = _groups(views, varied)
    frames: list[pl.DataFrame] = []
    for i, view in enumerate(views):
        rows = view.metrics.filter(pl.col("name") == "accuracy", pl.col("split").is_in(list(SPLITS)))
        rows = rows.filter(pl.col("value").is_finite()).select("step", "member", "value", "split")
        most = max(20, MOST_POINTS // (len(views) * len(SPLITS)))
        means = thinned(bands(rows, ["split", "step"], "accuracy"), "split", most=most)
        own = {"run": pl.lit(view.run.path.name), "number": pl.lit(i), "series": pl.lit(labels[i])}
        frames.append(means.select("step", "value", "split", **own))
    curves = rounded(drawable(pl.concat(frames), "accuracy of these runs"))
    few = len(views) <= MOST_COLORS
    panels: list[Panel] = []
    for split, title in SPLITS.items():
        own = curves.filter(split=split).drop("split")
        if len(own):
            tip = ["run:N", "step:Q", alt.Tooltip("value:Q", format=".1%")]
            line = alt.Chart(own).mark_line(strokeWidth=2 if few else 1).encode(
                steps(), share("accuracy"), groups.color, detail="number:N",
                opacity=groups.opacity(1 if few else 0.6), tooltip=tip,
            )  # fmt: skip
            panels.append(panel([line], title, 330, 240))
    return figure(
        "runs",
        grid(panels, groups.chosen, 2),
        ("Accuracy of all runs", "a line a run, its mean over seeds"),
        f"In-domain and generalization accuracy of {len(views)} runs against steps; the table has the last values.",
    )


def _groups(views: Sequence[RunView], varied: Mapping[str, Sequence[Any]]) -> tuple[Groups, list[str]]:
    """What has a colour of its own, and which each run has: the first setting of few values, else the run itself."""
    for name, values in varied.items():
        labels = [minus(setting(value)) for value in values]
        if name not in OF_A_PLACE and len(set(labels)) <= MOST_COLORS:
            ordered = all(isinstance(value, (int, float)) for value in values)
            by_value = (
                sorted(zip(values, labels, strict=True)) if ordered else zip(values, labels, strict=True)
            )
            names = dict.fromkeys(text for _, text in by_value)
            return Groups(list(names), label(name), ordered=ordered), labels
    names = [view.run.path.name for view in views]
    labels = names if len(views) <= MOST_COLORS else ["all runs"] * len(views)
    return Groups(list(dict.fromkeys(labels))), labels
