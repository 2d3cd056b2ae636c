"""The sections of a page: what its templates show of a study, a sweep, a run, and of several runs."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import polars as pl

from auxin.config import preset
from auxin.errors import DataError, RunError
from auxin.lab.sweep_record import Sweep
from auxin.measures.grokking import grokking_summary
from auxin.measures.intervals import bands
from auxin.report.facing import facing
from auxin.report.marks import Groups
from auxin.report.markup import Table, duration, label, layers, minus, number, percent, setting, texts
from auxin.report.study_figures import study_figures
from auxin.report.sweep_figures import sweep_figures
from auxin.report.theme import Figure
from auxin.report.training_figures import MOST_COLORS, compared_runs, run_figures
from auxin.runs import Run
from auxin.runs.record import StudyRecord
from auxin.tasks.trees import Tree
from auxin.values import common, flat

OF_THE_RUN = ("seeds", "data_seed", "threads", "device", "accuracy")
"""What ``environment.json`` repeats of a run's settings, and what the figures say."""
OF_A_PLACE = ("seeds", "threads", "device")
"""Settings by which no curves are coloured."""
MOST_CURVES = 60
"""Runs of a sweep whose learning curves are drawn, a line a seed."""
SHOWN: dict[str, tuple[str, str, Callable[..., str]]] = {
    "loss": ("training loss", "loss", number),
    "accuracy_val": ("in-domain accuracy", "accuracy", percent),
    "accuracy_gen": ("generalization", "accuracy", percent),
    "linear": ("linear rule", "accuracy", percent),
    "grokked": ("passes 80%", "accuracy", percent),
    "angle_total": ("angle total at initialization", "", number),
    "gradient_total": ("gradient total at initialization", "", number),
}
"""Columns of a sweep's table: heading, the metric whose limits it keeps within, and how a value is written."""


@dataclass(frozen=True)
class Section:
    """A part of a page: its template with what that shows, and its figures, the headline first."""

    template: str
    title: str
    figures: Sequence[Figure]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TreeDrawing:
    """The tree that a checkpoint computes for one sentence."""

    caption: str
    """Which: a step."""
    tree: Tree
    text: str
    """The same in brackets."""
    f1: float | None = None
    """Against gold, where there is a gold tree."""


@dataclass(frozen=True)
class RunView:
    """A run, and the trees that its checkpoints compute for a sentence."""

    run: Run
    trees: Sequence[TreeDrawing] = ()
    gold: Tree | None = None
    """The sentence's own tree."""
    missing: str = ""
    """Why there are no trees."""
    note: str = ""
    """A line below the title of its learning curves."""

    @property
    def at(self) -> int:
        """The last step of its metrics."""
        return self.run.metrics.select(pl.col("step").max().fill_null(0)).item()

    @cached_property
    def quantities(self) -> dict[str, dict[str, Any]]:
        """The rows of the grokking summary by quantity; none without both accuracies."""
        with contextlib.suppress(DataError):
            return {row["quantity"]: row for row in grokking_summary(self.run.metrics).overall.to_dicts()}
        return {}


def run_section(view: RunView) -> Section:
    """A run; raises ``RunError`` when damaged, ``DataError`` without curves."""
    run, config = view.run, view.run.config
    seeds = f"{len(config.seeds)} seed{'s' if len(config.seeds) > 1 else ''}"
    title = f"{run.path.name}: {config.task}, {layers(config.model.depth)}, {seeds}"
    values = {
        "view": view,
        "run": run,
        "trees": [(tree, facing(tree.tree, view.gold)) for tree in view.trees],
        "accuracy": _accuracy(run),
        "command": command(run),
        "settings": flat(config),
    }
    return Section("run.html", title, run_figures(run.metrics, view.note, run.accuracy), values)


def command(run: Run) -> str:
    """The command that trains this run: what differs from the laptop preset."""
    words = ["auxin", "train", "--task", run.config.task]
    usual = flat(preset("laptop", run.config.task))
    for name, value in flat(run.config).items():
        if value == usual.get(name) or name == "model.vocabulary_size":  # the task's, filled in by training
            continue
        group, _, option = name.replace("_", "-").rpartition(".")
        words.append(f"--{group and group + '.'}{'no-' * (value is False)}{option}")
        items = value if isinstance(value, list) else [value]
        if isinstance(value, dict) or any(isinstance(item, dict) for item in items):
            words.append(json.dumps(value, ensure_ascii=False))
        elif not isinstance(value, bool):
            words += map(str, items)
    return shlex.join([*words, "--out", str(run.path)])


def _accuracy(run: Run) -> Table:
    """Accuracy of a finished run on its held-out splits."""
    splits: Mapping[str, Any] = run.summary.get("accuracy", {}) if run.finished else {}
    rows: list[list[str]] = []
    for seed in run.config.seeds if splits else ():
        scores = [splits[split].get(str(seed)) for split in splits]
        rows.append([str(seed), *("–" if score is None else f"{score:.1%}" for score in scores)])
    return Table(["seed", *splits], rows)


def runs_section(views: Sequence[RunView], *, alone: bool) -> Section:
    """Several runs compared; ``alone`` says that each has its own section, too."""
    configs = [flat(view.run.config) for view in views]
    names = sorted(
        dict.fromkeys(n for c in configs for n in c), key=lambda name: not name.startswith("model.")
    )
    found = {name: [config.get(name) for config in configs] for name in names}
    varied = {name: values for name, values in found.items() if any(v != values[0] for v in values)}
    rows: list[list[str]] = []
    for i, view in enumerate(views):
        passed, count, final = view.quantities.get("grokked"), "–", "–"
        if passed is not None:
            count = f"{passed['value'] * passed['members']:.0f} of {passed['members']}"
            end = view.quantities["final"]
            final = percent(end["value"], end["low"], end["high"])
        state = "finished" if view.run.finished else f"at step {view.at:,}"
        differs = [setting(values[i]) for values in varied.values()]
        rows.append([view.run.path.name, *differs, count, final, state])
    heads = ["run", *map(label, varied), "passes 80%", "generalization at the end", "state"]
    values = {"alone": alone, "varied": varied, "runs": Table(heads, rows)}
    figure = _compared([(view.run.path.name, view.run.metrics) for view in views], varied)
    return Section("runs.html", f"{len(views)} runs compared", [figure], values)


def _compared(curves: Sequence[tuple[str, pl.DataFrame]], varied: Mapping[str, Sequence[Any]]) -> Figure:
    """The metrics of runs, by name, coloured by the first setting of few values, else each its own."""
    names = [name for name, _ in curves]
    series = names if len(names) <= MOST_COLORS else ["all runs"] * len(names)
    groups = Groups(list(dict.fromkeys(series)))
    for name, values in varied.items():
        found = [minus(setting(value)) for value in values]
        if name not in OF_A_PLACE and len(set(found)) <= MOST_COLORS:
            ordered = all(isinstance(value, (int, float)) for value in values)
            pairs = list(zip(values, found, strict=True))
            order = dict.fromkeys(text for _, text in (sorted(pairs) if ordered else pairs))
            series, groups = found, Groups(list(order), label(name), ordered=ordered)
            break
    rows = [(name, shown, metrics) for (name, metrics), shown in zip(curves, series, strict=True)]
    return compared_runs(rows, groups)


def sweep_section(sweep: Sweep) -> Section:
    """A sweep: a figure for each pair of its axes, and its table; raises ``RunError`` for a damaged one."""
    axes, figures, undrawn = [axis.name for axis in sweep.axes], list[Figure](), list[str]()
    runs: list[Run] = []
    try:
        figures = sweep_figures(sweep)
        runs = sweep.finished
        figures += [_seed_curves(sweep, runs)] if 0 < len(runs) <= MOST_CURVES else []
    except (DataError, RunError) as error:
        undrawn = [str(error)]
    values = {
        "axes": [(axis.name, ", ".join(map(setting, axis.values))) for axis in sweep.axes],
        "settings": common([flat(run.config) for run in runs]),
        "environment": runs[0].environment if runs else {},
        "path": sweep.path,
        "undrawn": undrawn,
        "unfinished": [run for run in sweep.runs if run.status != "finished"],
        "runs": len(sweep.runs),
        "points": _points(sweep.table, [axis for axis in axes if axis in sweep.table.columns]),
    }
    title = f"{sweep.path.name}: a sweep over {' and '.join(map(label, axes)) or 'seeds'}"
    return Section("sweep.html", title, figures, values)


def _seed_curves(sweep: Sweep, runs: Sequence[Run]) -> Figure:
    """Both accuracies over the steps, a line a seed, coloured as ``_compared`` colours runs."""
    members = [
        (run.path, str(seed), rows)
        for run in runs
        for (seed,), rows in run.metrics.group_by("member", maintain_order=True)
    ]
    settings = {run.path: run.settings for run in sweep.runs}
    varied = {axis.name: [settings[path][axis.name] for path, *_ in members] for axis in sweep.axes}
    figure = _compared([(seed, rows) for _, seed, rows in members], varied)
    heading = alt.Title("Learning curves", subtitle="a line a seed")
    return Figure("learning-curves", figure.chart.properties(title=heading))


def _points(table: pl.DataFrame, axes: list[str]) -> Table:
    """A row a point: its settings, how many models, and their means with 95% intervals."""
    keys = axes or ["all"]
    table = table if axes else table.with_columns(all=0)
    shown = [column for column in SHOWN if column in table.columns and table[column].is_not_null().any()]
    counts = table.group_by(keys, maintain_order=True).len()
    points = {point[:-1]: [setting(value) for value in point[not axes :]] for point in counts.iter_rows()}
    for column in shown:
        _, metric, write = SHOWN[column]
        values = table.select(*keys, value=pl.col(column).cast(pl.Float64)).filter(
            pl.col("value").is_finite()
        )
        found = bands(values, keys, metric).select(*keys, "value", "models", "low", "high")
        means = {row[: len(keys)]: row[len(keys) :] for row in found.iter_rows()}
        for point, row in points.items():
            value, models, low, high = means.get(point, (None, 1, None, None))
            text = write(value)
            if models > 1 and low != high:
                text += f" ({write(low).rstrip('%')} to {write(high).rstrip('%')})"
            row.append(text)
    return Table(
        [*map(label, axes), "models", *(SHOWN[column][0] for column in shown)], list(points.values())
    )


def study_section(study: StudyRecord) -> Section:
    """A study: question, answer, claims, figures, numbers, and how it was made.

    Raises ``RunError`` for a damaged study, ``ConfigError`` for an unknown one.
    """
    figures, undrawn = study_figures(study.study, study.tables)
    configs = [run.config for run in study.runs if run.config is not None]
    shared = common(configs)
    story, values = texts("studies")[study.study], study.values
    seconds = [run.seconds for run in study.runs if run.seconds is not None]
    shown = {
        "story": story,
        "study": values,
        "sentences": {finding["name"]: finding["sentence"] for finding in values["findings"]},
        "claimed": {*values["answered"], *(claim["finding"] for claim in values["claims"])},
        "scale": texts("studies")["scales"].get(values["scale"], f"Scale: {values['scale']}."),
        "undrawn": undrawn,
        "runs": study.runs,
        "unfinished": [run for run in study.runs if run.status != "finished"],
        "seconds": seconds,
        "configs": len(configs),
        "environment": _environments(study),
        "settings": shared,
        "varied": _runs(study, shared),
    }
    return Section("study.html", story["question"], figures, shown)


def _environments(study: StudyRecord) -> Table:
    """Versions, commits and machines, a column for each that runs were made with, and one for the answer."""
    made: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name, environment in [
        *((run.name, run.environment) for run in study.runs if run.environment is not None),
        ("the answer", study.values["environment"]),
    ]:
        kept = {key: value for key, value in environment.items() if key not in OF_THE_RUN}
        made.setdefault(str(kept), (kept, []))[1].append(name)
    heads: list[str] = [""]
    for _, names in made.values():
        count = len(names) - ("the answer" in names)
        parts = [f"{'all' if count == len(study.runs) else count} runs"] if count else []
        heads.append(" and ".join([*parts, *(["the answer"] if count < len(names) else [])]))
    keys = dict.fromkeys(key for kept, _ in made.values() for key in kept)
    return Table(heads, [(key, *(setting(kept.get(key)) for kept, _ in made.values())) for key in keys])


def _runs(study: StudyRecord, shared: Mapping[str, Any]) -> Table:
    """A row a run with what sets it apart from the others."""
    varied = list(
        dict.fromkeys(name for run in study.runs for name in run.config or () if name not in shared)
    )
    rows = [
        [
            run.name,
            run.status,
            *(setting((run.config or {}).get(name)) for name in varied),
            duration(run.seconds),
        ]
        for run in study.runs
    ]
    return Table(["run", "status", *varied, "wall time"], rows)
