"""Figures of the studies of structural grokking: early stopping, depth, repair, dynamics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from auxin.report.figures import PANELS, SPLITS, measured_panels
from auxin.report.labels import layers_of
from auxin.report.marks import (
    Figure,
    Groups,
    band_words,
    facets,
    figure,
    grid,
    number,
    panel,
    share,
    steps,
    tips,
)
from auxin.report.tables import Tables, columns, in_words
from auxin.report.theme import BLUE, GRAY, VERMILION, Panel

ACCURACY = PANELS["gen", "accuracy"]
LOSS = "training loss (nats a token)"


def accuracy_curves(tables: Tables) -> Figure:
    """In-domain and generalization accuracy against steps, a panel a task."""
    curves = columns(tables, "curves", "step value low high models", "task split")
    curves = curves.with_columns(series=pl.col("split").replace(SPLITS))
    groups = Groups(list(SPLITS.values()), palette=(BLUE, VERMILION))
    tasks = curves["task"].unique(maintain_order=True).to_list()
    layers = groups.bands(curves, steps(), share("accuracy"), tips(".1%", "series:N", "step:Q"))
    chart = facets(layers, "task", tasks, width=330, height=230, wrap=2).resolve_scale(x="independent")
    last = curves.filter(split="gen").group_by("task", maintain_order=True).last()
    words = in_words(last.select("task", "value", "low", "high").iter_rows(), ".0%")
    return figure(
        "learning-curves",
        groups.choosing(chart),
        ("In-domain and generalization accuracy", band_words(groups)),
        f"In-domain and generalization accuracy against steps. Generalization at the last step, {words}.",
    )


def early_stopping(tables: Tables) -> Figure:
    """Early stopping against the end of training: seeds as lines, means with intervals, published numbers."""
    means = columns(tables, "stopping", "value low high models published", "task when")
    seeds = columns(tables, "seeds", "member early_stopping final", "task").unpivot(
        ["early_stopping", "final"], index=["task", "member"], variable_name="when"
    )
    order = ["early stopping", "end of training"]
    seeds = seeds.with_columns(pl.col("when").replace(["early_stopping", "final"], order))
    names = ("here: mean over seeds, 95% interval", "published")
    groups = Groups(names, palette=(BLUE, VERMILION))
    x = alt.X("when:N", title=None, sort=order, axis=alt.Axis(labelAngle=0), scale=alt.Scale(type="point"))
    y = share(ACCURACY)
    panels: list[Panel] = []
    for (task,), own in means.group_by("task", maintain_order=True):
        thin = alt.Chart(seeds.filter(task=task)).mark_line(color=GRAY, strokeWidth=1, opacity=0.5)
        published = own.select("when", value="published", series=pl.lit(names[1]))
        diamonds = alt.Chart(published).mark_point(shape="diamond", size=90, strokeWidth=2, filled=False)
        diamonds = diamonds.encode(
            x, y, groups.color, opacity=groups.opacity(1), tooltip=["series:N", "value:Q"]
        )
        here = own.with_columns(series=pl.lit(names[0]))
        layers = [thin.encode(x, y, detail="member:N"), diamonds]
        layers += groups.intervals(here, x, y, tips(".1%", "when:N", "models:Q"))
        panels.append(panel(layers, str(task), 270, 230))
    labelled = means.with_columns(label=pl.col("task") + ", " + pl.col("when"))
    words = in_words(labelled.select("label", "value", "low", "high").iter_rows(), ".0%")
    return figure(
        "early-stopping",
        grid(panels, groups.chosen, 3),
        ("What early stopping would have reported", "gray lines: seeds"),
        f"Generalization accuracy where early stopping selects and at the end: {words}.",
    )


def by_depth(tables: Tables) -> Figure:
    """Share of seeds ever above 80%, late accuracy and training loss against depth, with intervals."""
    names = {
        "ever": ("seeds ever above 80%, Wilson's interval", share("share of seeds")),
        "late": ("accuracy late in the run, mean", share(ACCURACY)),
        "loss": ("training loss late in the run, mean", number(LOSS)),
    }
    depths = columns(tables, "depths", f"depth models {_estimates(names)}")
    groups = Groups(["all seeds of a depth"])
    panels = _against_depth(depths.with_columns(series=pl.lit(groups.names[0])), groups, names)
    rows = depths.with_columns(label=layers_of("depth"))
    words = in_words(rows.select("label", "ever", "ever_low", "ever_high").iter_rows(), ".0%")
    return figure(
        "by-depth",
        grid(panels, None, 3),
        ("Generalization and training loss by depth", "95% intervals over seeds"),
        f"Share of seeds ever above 80% generalization, {words}.",
    )


def _estimates(names: Mapping[str, object]) -> str:
    """The columns of quantities that have intervals."""
    return " ".join(f"{name} {name}_low {name}_high" for name in names)


def _against_depth(
    points: pl.DataFrame, groups: Groups, names: Mapping[str, tuple[str, alt.Y]]
) -> list[Panel]:
    """A panel a quantity, its title and axis given by name, against depth."""
    depths = points["depth"].unique().sort().to_list()
    axis = alt.Axis(values=depths, format="d", grid=False)
    x = alt.X("depth:Q", title="depth (layers)", axis=axis, scale=alt.Scale(zero=False, padding=14))
    panels: list[Panel] = []
    for name, (title, y) in names.items():
        estimate = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
        own = points.select("depth", "models", "series", **estimate)
        tip = tips(".3f" if name == "loss" else ".0%", "series:N", "depth:Q", "models:Q")
        panels.append(panel(groups.intervals(own, x, y, tip), title, 220, 220))
    return panels


def curves_by_depth(tables: Tables) -> Figure:
    """Generalization and training loss against steps, a colour a depth."""
    return _curves(tables, "curves-by-depth", {})


LINES = {"published": "branches of strength 1", "held": "L·λ_a held at its best"}


def repair(tables: Tables) -> Figure:
    """In-domain and generalization accuracy and training loss against depth, as published and held."""
    names = {
        "in_domain": ("in-domain accuracy late in the run", share("accuracy")),
        "late": ("generalization late in the run", share(ACCURACY)),
        "loss": ("training loss late in the run", number(LOSS)),
    }
    points = columns(tables, "points", f"depth models {_estimates(names)}", "line")
    meeting = points.filter(depth=points["depth"].min()).with_columns(line=pl.lit("held"))
    points = pl.concat([points, meeting]).unique(
        maintain_order=True
    )  # both lines begin at the depth they share
    points = points.with_columns(series=pl.col("line").replace(LINES))
    groups = Groups(list(LINES.values()), palette=(VERMILION, BLUE))
    rows = points.with_columns(label=pl.format("{}, {}", layers_of("depth"), "series"))
    words = in_words(rows.select("label", "in_domain", "in_domain_low", "in_domain_high").iter_rows(), ".0%")
    return figure(
        "repair",
        grid(_against_depth(points, groups, names), groups.chosen, 3),
        ("Depth, as published and with L·λ_a held", "means over seeds, 95% intervals"),
        f"In-domain accuracy late in the run, {words}.",
    )


def repair_curves(tables: Tables) -> Figure:
    """Training loss and generalization against steps, a panel a line, a colour a depth."""
    return _curves(tables, "repair-curves", LINES)


def _curves(tables: Tables, figure_name: str, lines: Mapping[str, str]) -> Figure:
    """Generalization and training loss against steps, a colour a depth, a panel for each of the ``lines``."""
    axes = {"curves": (share(ACCURACY), ".1%"), "training_loss": (number(LOSS), ".3f")}
    which = "line" if lines else ""
    frames = {name: columns(tables, name, "depth step value low high", which) for name in axes}
    depths = [f"{depth:.0f}" for depth in frames["curves"]["depth"].unique().sort()]
    groups = Groups(depths, "depth (layers)", ordered=True)
    panels: list[Panel] = []
    for name, (y, form) in axes.items():
        frame = frames[name].with_columns(series=pl.col("depth").cast(pl.Int64).cast(pl.String))
        for line, title in lines.items() or [("", "")]:
            own = frame.filter(line=line) if line else frame
            layers = groups.bands(own, steps(), y, tips(form, "series:N", "step:Q"))
            panels.append(panel(layers, title, 330, 220))
    return figure(
        figure_name,
        grid(panels, groups.chosen, 2),
        ("Generalization and training loss over steps", band_words(groups)),
        f"Generalization and training loss against steps for depths {', '.join(depths)}"
        f"{', as published and held' if lines else ''}.",
    )


def structure(tables: Tables) -> Figure:
    """Generalization and the structural measures against steps, a colour a depth."""
    return _structure(tables, "dynamics", list(PANELS.values()))


def tree_scores(tables: Tables) -> Figure:
    """Generalization and the tree score alone, the two that the study's question is about."""
    return _structure(tables, "tree-scores", [ACCURACY, PANELS["train", "t_score"]])


def _structure(tables: Tables, figure_name: str, titles: Sequence[str]) -> Figure:
    shown = [name for (_, name), title in PANELS.items() if title in titles]
    curves = columns(tables, "curves", "depth step value low high", "kind name")
    curves = curves.filter(pl.col("name").is_in(shown)).sort("depth", maintain_order=True)
    curves = curves.with_columns(series=pl.format("{}, {}", layers_of("depth"), "kind"))
    groups = Groups(curves["series"].unique(maintain_order=True).to_list(), ordered=True)
    panels = measured_panels(curves, groups, width=330)
    scores = curves.filter(name="t_score").group_by("series", maintain_order=True).last()
    words = in_words(scores.select("series", "value", "low", "high").iter_rows(), ".3f")
    return figure(
        figure_name,
        grid(panels, groups.chosen, 2),
        ("What changes while the model generalizes", band_words(groups)),
        f"Generalization and structural measures against steps. Tree score at the end, {words}.",
    )
