"""The figures of the studies, from the tables that the studies write; those of exponents have a module of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import altair as alt
import polars as pl
from polars.exceptions import PolarsError

from auxin.errors import DataError
from auxin.report import exponent_figures as exponent
from auxin.report.marks import (
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
)  # fmt: skip
from auxin.report.tables import Tables, columns, drawable, estimates, in_words, layers_of
from auxin.report.theme import BLUE, GRAY, VERMILION, Figure, Panel, save_inside
from auxin.report.training_figures import PANELS, SPLITS, measured_panels
from auxin.runs.record import StudyRecord
from auxin.values import check

ACCURACY = PANELS["gen", "accuracy"]
LOSS = "training loss (nats a token)"
LINES = {"published": "branches of strength 1", "held": "angle total held at its best"}


def accuracy_curves(tables: Tables) -> Figure:
    """In-domain and generalization accuracy against steps, a panel a task."""
    curves = columns(tables, "curves", "step value low high models", "task split")
    curves = curves.with_columns(series=pl.col("split").replace(SPLITS))
    groups = Groups(list(SPLITS.values()), palette=(BLUE, VERMILION))
    tasks = curves["task"].unique(maintain_order=True).to_list()
    layers = groups.bands(curves, steps(), share("accuracy"), tips(".1%", "series:N", "step:Q"))
    chart = facets(layers, "task", tasks, (330, 230), wrap=2).resolve_scale(x="independent")
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
    groups = Groups(("here: mean over seeds, 95% interval", "published"), palette=(BLUE, VERMILION))
    here, there = (pl.lit(name) for name in groups.names)
    x = alt.X("when:N", title=None, sort=order, axis=alt.Axis(labelAngle=0), scale=alt.Scale(type="point"))
    y = share(ACCURACY)
    panels: list[Panel] = []
    for (task,), rows in means.group_by("task", maintain_order=True):
        thin = alt.Chart(seeds.filter(task=task)).mark_line(color=GRAY, strokeWidth=1, opacity=0.5)
        published = alt.Chart(rows.select("when", value="published", series=there))
        diamonds = published.mark_point(shape="diamond", size=90, strokeWidth=2, filled=False)
        tip = ["series:N", "value:Q"]
        diamonds = diamonds.encode(x, y, groups.color, opacity=groups.opacity(1), tooltip=tip)
        points = groups.intervals(rows.with_columns(series=here), x, y, tips(".1%", "when:N", "models:Q"))
        panels.append(panel([thin.encode(x, y, detail="member:N"), diamonds, *points], str(task), 270, 230))
    label = pl.format("{}, {}", "task", "when")
    words = in_words(means.select(label, "value", "low", "high").iter_rows(), ".0%")
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
    depths = _of_depths(tables, "depths", names).with_columns(series=pl.lit("all seeds of a depth"))
    title = "Generalization and training loss by depth", "95% intervals over seeds"
    words = in_words(depths.select(layers_of("depth"), "ever", "ever_low", "ever_high").iter_rows(), ".0%")
    description = f"Share of seeds ever above 80% generalization, {words}."
    return figure("by-depth", _against_depth(depths, Groups.of(depths), names), title, description)


def repair(tables: Tables) -> Figure:
    """In-domain and generalization accuracy and training loss against depth, as published and held."""
    names = {
        "in_domain": ("in-domain accuracy late in the run", share("accuracy")),
        "late": ("generalization late in the run", share(ACCURACY)),
        "loss": ("training loss late in the run", number(LOSS)),
    }
    points = _of_depths(tables, "points", names, "line")
    meeting = points.filter(depth=points["depth"].min()).with_columns(line=pl.lit("held"))
    points = pl.concat([points, meeting]).unique(maintain_order=True)  # both begin at the depth they share
    points = points.with_columns(series=pl.col("line").replace(LINES))
    label = pl.format("{}, {}", layers_of("depth"), "series")
    rows = points.select(label, "in_domain", "in_domain_low", "in_domain_high").iter_rows()
    title = "Depth, as published and with the angle total held", "means over seeds, 95% intervals"
    chart = _against_depth(points, Groups(list(LINES.values()), palette=(VERMILION, BLUE)), names)
    return figure("repair", chart, title, f"In-domain accuracy late in the run, {in_words(rows, '.0%')}.")


def _of_depths(tables: Tables, name: str, names: Iterable[str], words: str = "") -> pl.DataFrame:
    """Depths with their quantities, which have intervals."""
    quantities = " ".join(f"{name} {name}_low {name}_high" for name in names)
    return columns(tables, name, f"depth models {quantities}", words)


def _against_depth(
    points: pl.DataFrame, groups: Groups, names: Mapping[str, tuple[str, alt.Y]]
) -> alt.ConcatChart:
    """A panel a quantity, its title and axis given by name, against depth."""
    axis = alt.Axis(values=points["depth"].unique().sort().to_list(), format="d", grid=False)
    x = alt.X("depth:Q", title="depth (layers)", axis=axis, scale=alt.Scale(zero=False, padding=14))
    panels: list[Panel] = []
    for name, (title, y) in names.items():
        estimate = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
        rows = points.select("depth", "models", "series", **estimate)
        tip = tips(".3f" if name == "loss" else ".0%", "series:N", "depth:Q", "models:Q")
        panels.append(panel(groups.intervals(rows, x, y, tip), title, 220, 220))
    return grid(panels, groups.chosen, 3)


def curves_by_depth(tables: Tables, name: str, lines: Mapping[str, str]) -> Figure:
    """Generalization and training loss against steps, a colour a depth, a panel for each of the ``lines``."""
    axes = {"curves": (share(ACCURACY), ".1%"), "training_loss": (number(LOSS), ".3f")}
    which = "line" if lines else ""
    frames = {table: columns(tables, table, "depth step value low high", which) for table in axes}
    depths = [f"{depth:.0f}" for depth in frames["curves"]["depth"].unique().sort()]
    groups = Groups(depths, "depth (layers)", ordered=True)
    panels: list[Panel] = []
    for table, (y, form) in axes.items():
        frame = frames[table].with_columns(series=pl.col("depth").cast(pl.Int64).cast(pl.String))
        for line, title in lines.items() or [("", "")]:
            rows = frame.filter(line=line) if line else frame
            layers = groups.bands(rows, steps(), y, tips(form, "series:N", "step:Q"))
            panels.append(panel(layers, title, 330, 220))
    return figure(
        name,
        grid(panels, groups.chosen, 2),
        ("Generalization and training loss over steps", band_words(groups)),
        f"Generalization and training loss against steps for depths {', '.join(depths)}"
        f"{', as published and held' if lines else ''}.",
    )


def structure(tables: Tables, name: str, measures: tuple[str, ...]) -> Figure:
    """Generalization and structural measures against steps, a colour a depth."""
    curves = columns(tables, "curves", "depth step value low high", "kind name")
    curves = curves.filter(pl.col("name").is_in(measures)).sort("depth", maintain_order=True)
    curves = curves.with_columns(series=pl.format("{}, {}", layers_of("depth"), "kind"))
    groups = Groups(curves["series"].unique(maintain_order=True).to_list(), ordered=True)
    scores = curves.filter(name="t_score").group_by("series", maintain_order=True).last()
    words = in_words(scores.select("series", "value", "low", "high").iter_rows(), ".3f")
    return figure(
        name,
        grid(measured_panels(curves, groups, width=330), groups.chosen, 2),
        ("What changes while the model generalizes", band_words(groups)),
        f"Generalization and structural measures against steps. Tree score at the end, {words}.",
    )


def calibration(tables: Tables) -> Figure:
    """Share that failed against the probability that was said, in bins of equally many models, a colour a predictor."""
    bins = estimates(tables, "calibration", "failed", "probability models", "predictor")
    bins = bins.rename({"predictor": "series"})
    groups, unit = Groups.of(bins), alt.Scale(domain=[0, 1])
    percent = alt.Axis(format="%")
    x = alt.X("probability:Q", title="probability of failure, as predicted", scale=unit, axis=percent)
    ends = alt.Chart(pl.DataFrame({"probability": [0.0, 1.0], "value": [0.0, 1.0]}))
    diagonal = ends.mark_line(color=GRAY, strokeDash=[4, 3]).encode(x, alt.Y("value:Q", scale=unit))
    tip = tips(".0%", "series:N", "probability:Q", "models:Q")
    points = groups.intervals(bins, x, share("share that failed"), tip)
    errors = estimates(tables, "scores", "error", "", "predictor")
    return figure(
        "calibration",
        grid([panel([diagonal, *points], "", 420, 320)], groups.chosen, 1),
        ("Failures, predicted and seen", "stacks left out; ten bins of equally many models, 95% intervals"),
        "Share of models that failed against the probability that was predicted. Mean deviation, "
        f"{in_words(errors.select('predictor', 'value', 'low', 'high').iter_rows(), '.2f')}.",
    )


def areas(tables: Tables) -> Figure:
    """Area under the ROC curve of every predictor on stacks left out."""
    scores = drawable(estimates(tables, "scores", "area", "", "predictor"), "area")
    scores = scores.select("predictor", "value", "low", "high")
    unit = alt.Scale(domain=[0.0, 1.0])
    x = alt.X("value:Q", title="area under the ROC curve", scale=unit)
    y = alt.Y("predictor:N", title=None, sort=scores["predictor"].to_list())
    chart = alt.Chart(scores)
    rule = chart.mark_rule(strokeWidth=1.5, color=BLUE).encode(alt.X("low:Q", scale=unit), y, x2="high")
    dots = chart.mark_point(filled=True, size=60, opacity=1, color=BLUE)
    dots = dots.encode(x, y, tooltip=tips(".2f", "predictor:N"))
    chance = alt.Chart(pl.DataFrame({"value": [0.5]})).mark_rule(color=GRAY, strokeDash=[4, 3]).encode(x)
    return figure(
        "areas",
        alt.layer(chance, rule, dots).properties(width=360, height=150),
        ("What ranks the failures of a stack that it has not seen", "95% intervals; 0.5 is chance"),
        f"Area under the ROC curve, {in_words(scores.iter_rows(), '.2f')}.",
    )


def changes(tables: Tables) -> Figure:
    """What every rule changes in the loss: a dot a model, and the mean with its interval."""
    models = columns(tables, "models", "depth change", "stack arm")
    effects = drawable(estimates(tables, "effects", "change", "", "arm stack").filter(stack="all"), "change")
    effects = effects.select("arm", "value", "low", "high")
    order, title = effects["arm"].to_list(), "change of the training loss (nats a token)"
    y = alt.Y("arm:N", title=None, sort=order, axis=alt.Axis(labelLimit=200))
    x = alt.X("change:Q", title=title)
    tip = ["stack:N", "depth:Q", alt.Tooltip("change:Q", format=".2f")]
    dots = alt.Chart(models.filter(pl.col("arm").is_in(order))).mark_tick(color=GRAY, opacity=0.6, size=16)
    chart = alt.Chart(effects)
    rule = chart.mark_rule(strokeWidth=2.5, color=BLUE).encode(alt.X("low:Q"), y, x2="high")
    means = chart.mark_point(filled=True, size=70, opacity=1, color=BLUE)
    means = means.encode(alt.X("value:Q", title=title), y, tooltip=tips(".2f", "arm:N"))
    none = alt.Chart(pl.DataFrame({"change": [0.0]})).mark_rule(color=GRAY, strokeDash=[4, 3]).encode(x)
    return figure(
        "changes",
        alt.layer(none, dots.encode(x, y, tooltip=tip), rule, means).properties(width=400, height=180),
        ("What mending a flagged model changes", "lines: models; dots: means, 95% intervals; left is better"),
        f"Change of the training loss, {in_words(effects.iter_rows(), '.2f')}.",
    )


STUDIES: Mapping[str, tuple[Callable[[Tables], Figure], ...]] = {
    "grokking": (accuracy_curves, early_stopping),
    "depth": (by_depth, partial(curves_by_depth, name="curves-by-depth", lines={})),
    "dynamics": (
        partial(structure, name="tree-scores", measures=("accuracy", "t_score")),
        partial(structure, name="dynamics", measures=tuple(name for _, name in PANELS)),
    ),
    "trainability": (exponent.loss_map, exponent.predictions, exponent.scores_by_predictor),
    "joint": (
        *(partial(exponent.rule_by_exponent, rule=rule) for rule in exponent.RULES),
        exponent.rule_over_steps,
    ),
    "repair": (repair, partial(curves_by_depth, name="repair-curves", lines=LINES)),
    "totals": (exponent.predictions, exponent.scores_by_predictor),
    "architectures": (exponent.loss_by_totals, exponent.loss_by_scale),
    "failure": (calibration, areas),
    "remedies": (changes,),
}
"""Each study's figures, its headline first."""


def study_figures(study: str, tables: Tables) -> tuple[list[Figure], list[str]]:
    """A study's figures, and why those that are missing cannot be drawn: an unfinished study lacks numbers.

    Raises ``ConfigError`` for an unknown study.
    """
    check(study in STUDIES, "study", study, ", ".join(STUDIES))
    figures: list[Figure] = []
    missing: list[str] = []
    for draw in STUDIES[study]:
        try:
            figures.append(draw(tables))
        except DataError as error:
            missing.append(str(error))
        except (PolarsError, TypeError, ValueError) as error:  # a table of numbers that make no figure
            missing.append(f"its tables cannot be drawn ({type(error).__name__})")
    return figures, missing


def save_study_figures(record: StudyRecord) -> list[Path]:
    """Write what can be drawn of a study into its directory ``figures``: PNG, SVG and interactive page.

    Raises ``RunError`` when a table is damaged or a file cannot be written.
    """
    figures, _ = study_figures(record.study, record.tables)
    return save_inside(record.path, {figure.name: figure.chart for figure in figures}, "figures")
