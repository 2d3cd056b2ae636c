"""Figures of the studies of structural grokking: early stopping, depth, repair, dynamics."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from auxin.report.figures import PANELS
from auxin.report.marks import (
    Figure,
    Groups,
    Tables,
    columns,
    facets,
    figure,
    grid,
    in_words,
    number,
    panel,
    share,
    steps,
    tips,
)
from auxin.report.theme import BLUE, GRAY, VERMILION, Panel

ACCURACY = PANELS["gen", "accuracy"]


def accuracy_curves(tables: Tables) -> Figure:
    """In-domain and generalization accuracy against steps, a panel a task."""
    curves = columns(tables, "curves", "step value low high models", "task split")
    names = {"val": "in-domain", "gen": "generalization"}
    curves = curves.with_columns(series=pl.col("split").replace(names))
    groups = Groups(list(names.values()), palette=(BLUE, VERMILION))
    tasks = curves["task"].unique(maintain_order=True).to_list()
    layers = groups.bands(curves, steps(), share("accuracy"), tips(".1%", "series:N", "step:Q"))
    chart = facets(layers, "task", tasks, width=330, height=230, wrap=2).resolve_scale(x="independent")
    last = curves.filter(split="gen").group_by("task", maintain_order=True).last()
    words = in_words(last.select("task", "value", "low", "high").iter_rows(), ".0%")
    return figure(
        "learning-curves",
        groups.choosing(chart),
        ("In-domain and generalization accuracy", "mean over seeds, 95% interval"),
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
    names = ("ever", "late", "loss")
    numbers = " ".join(f"{name} {name}_low {name}_high" for name in names)
    depths = columns(tables, "depths", f"depth models grokked {numbers}")
    titles = (
        "seeds ever above 80%, Wilson interval",
        "accuracy late in the run, mean",
        "training loss late in the run, mean",
    )
    x = _depth_axis(depths["depth"].to_list())
    axes = (share("share of seeds"), share(ACCURACY), number("loss (nats a token)"))
    single = Groups(["all seeds of a depth"])
    panels: list[Panel] = []
    for name, title, y in zip(names, titles, axes, strict=True):
        own = depths.select(
            "depth",
            "models",
            value=name,
            low=f"{name}_low",
            high=f"{name}_high",
            series=pl.lit(single.names[0]),
        )
        tip = tips(".3f" if name == "loss" else ".0%", "depth:Q", "models:Q")
        panels.append(panel(single.intervals(own, x, y, tip), title, 220, 220))
    rows = depths.with_columns(label=pl.format("{} layers", pl.col("depth").cast(pl.Int64)))
    words = in_words(rows.select("label", "ever", "ever_low", "ever_high").iter_rows(), ".0%")
    return figure(
        "by-depth",
        grid(panels, None, 3),
        ("Generalization and training loss by depth", "95% intervals over seeds"),
        f"Share of seeds ever above 80% generalization, {words}.",
    )


def _depth_axis(depths: Sequence[float]) -> alt.X:
    axis = alt.Axis(values=list(depths), format="d", grid=False)
    return alt.X("depth:Q", title="depth (layers)", axis=axis, scale=alt.Scale(zero=False, padding=14))


def curves_by_depth(tables: Tables) -> Figure:
    """Generalization and training loss against steps, a colour a depth."""
    frames = {
        name: columns(tables, name, "depth step value low high") for name in ("curves", "training_loss")
    }
    names = [f"{depth:.0f}" for depth in frames["curves"]["depth"].unique().sort()]
    groups = Groups(names, "depth (layers)")
    axes = {
        "curves": (share(ACCURACY), ".1%"),
        "training_loss": (number("training loss (nats a token)"), ".3f"),
    }
    panels: list[Panel] = []
    for name, (y, form) in axes.items():
        frame = frames[name].with_columns(series=pl.col("depth").cast(pl.Int64).cast(pl.String))
        panels.append(panel(groups.bands(frame, steps(), y, tips(form, "series:N", "step:Q")), "", 330, 240))
    return figure(
        "curves-by-depth",
        grid(panels, groups.chosen, 2),
        ("Generalization and training loss over steps", "mean over seeds, 95% interval"),
        f"Generalization accuracy and training loss against steps for depths {', '.join(names)}.",
    )


LINES = {"published": "branches of strength 1", "held": "L·λ_a held at its best"}


def repair(tables: Tables) -> Figure:
    """In-domain and generalization accuracy and training loss against depth, as published and held."""
    names = ("in_domain", "late", "loss")
    numbers = " ".join(f"{name} {name}_low {name}_high" for name in names)
    points = columns(tables, "points", f"depth models {numbers}", "line")
    meeting = points.filter(depth=points["depth"].min()).with_columns(line=pl.lit("held"))
    points = pl.concat([points, meeting]).unique(
        maintain_order=True
    )  # both lines begin at the depth they share
    points = points.with_columns(series=pl.col("line").replace(LINES))
    titles = (
        "in-domain accuracy late in the run",
        "generalization late in the run",
        "training loss late in the run",
    )
    axes = (share("accuracy"), share(ACCURACY), number("loss (nats a token)"))
    x = _depth_axis(points["depth"].unique().sort().to_list())
    groups = Groups(list(LINES.values()), palette=(VERMILION, BLUE))
    panels: list[Panel] = []
    for name, title, y in zip(names, titles, axes, strict=True):
        own = points.select("depth", "models", "series", value=name, low=f"{name}_low", high=f"{name}_high")
        tip = tips(".3f" if name == "loss" else ".0%", "series:N", "depth:Q", "models:Q")
        panels.append(panel(groups.intervals(own, x, y, tip), title, 220, 220))
    rows = points.with_columns(label=pl.format("{} layers, {}", pl.col("depth").cast(pl.Int64), "series"))
    words = in_words(rows.select("label", "in_domain", "in_domain_low", "in_domain_high").iter_rows(), ".0%")
    return figure(
        "repair",
        grid(panels, groups.chosen, 3),
        ("Depth, as published and with its start held", "means over seeds, 95% intervals"),
        f"In-domain accuracy late in the run, {words}.",
    )


def repair_curves(tables: Tables) -> Figure:
    """Training loss and generalization against steps, a panel a line, a colour a depth."""
    axes = {
        "curves": (share(ACCURACY), ".1%"),
        "training_loss": (number("training loss (nats a token)"), ".3f"),
    }
    frames = {name: columns(tables, name, "depth step value low high", "line") for name in axes}
    names = [f"{depth:.0f}" for depth in frames["curves"]["depth"].unique().sort()]
    groups = Groups(names, "depth (layers)")
    panels: list[Panel] = []
    for name, (y, form) in axes.items():
        frame = frames[name].with_columns(series=pl.col("depth").cast(pl.Int64).cast(pl.String))
        for line, title in LINES.items():
            own = frame.filter(line=line)
            panels.append(
                panel(groups.bands(own, steps(), y, tips(form, "series:N", "step:Q")), title, 330, 200)
            )
    return figure(
        "repair-curves",
        grid(panels, groups.chosen, 2),
        ("Generalization and training loss over steps", "mean over seeds, 95% interval"),
        f"Generalization and training loss against steps for depths {', '.join(names)}, as published and held.",
    )


def structure(tables: Tables) -> Figure:
    """Generalization and the structural measures against steps, a colour a depth."""
    curves = columns(tables, "curves", "depth step value low high", "kind name")
    label = pl.format("{} layers, {}", pl.col("depth").cast(pl.Int64), "kind")
    curves = curves.sort("depth", maintain_order=True).with_columns(series=label)
    names = curves["series"].unique(maintain_order=True).to_list()
    groups = Groups(names)
    panels: list[Panel] = []
    for (_, name), title in PANELS.items():
        own = curves.filter(name=name)
        if len(own):
            y = share(title) if name == "accuracy" else number(title)
            tip = tips(".1%" if name == "accuracy" else ".3f", "series:N", "step:Q")
            panels.append(panel(groups.bands(own, steps(), y, tip), "", 330, 190))
    scores = curves.filter(name="t_score").group_by("series", maintain_order=True).last()
    words = in_words(scores.select("series", "value", "low", "high").iter_rows(), ".3f")
    return figure(
        "dynamics",
        grid(panels, groups.chosen, 2),
        ("What changes while the model generalizes", "mean over seeds, 95% interval"),
        f"Generalization and structural measures against steps. Tree score at the end, {words}.",
    )
