"""A run on the page: its curves, its trees checkpoint by checkpoint, its accuracy, and how it was made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from auxin.config import preset
from auxin.report.drawings import Drawings
from auxin.report.facing import facing
from auxin.report.figures import PANELS, dynamics, learning_curves
from auxin.report.labels import layers
from auxin.report.marks import Figure
from auxin.report.markup import Table, setting
from auxin.runs.reader import Run
from auxin.tasks.trees import Tree
from auxin.values import flat


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
    """A run, with its grokking summary, and the trees that its checkpoints compute for a sentence."""

    run: Run
    metrics: pl.DataFrame
    """Those that are drawn, or more."""
    trees: Sequence[TreeDrawing] = ()
    gold: Tree | None = None
    """The sentence's own tree."""
    missing: str = ""
    """Why there are no trees."""
    note: str = ""
    """A line below the title of its learning curves."""
    overall: pl.DataFrame | None = None
    """``auxin.grokking_summary(run.metrics).overall``."""

    @property
    def at(self) -> int:
        """The last step of its metrics."""
        return self.metrics.select(pl.col("step").max().fill_null(0)).item()

    @property
    def title(self) -> str:
        """What was trained."""
        config = self.run.config
        seeds = f"{len(config.seeds)} seed{'s' if len(config.seeds) > 1 else ''}"
        return f"{self.run.path.name}: {config.task}, {layers(config.model.depth)}, {seeds}"


def run_section(view: RunView, name: str, drawings: Drawings) -> dict[str, Any]:
    """What run.html shows of the run as the section ``name``; raises ``RunError`` when damaged, ``DataError`` without
    curves."""
    run = view.run
    return {
        "template": "run.html",
        "id": name,
        "title": view.title,
        "unfinished": not run.finished,
        "at": view.at,
        "steps": run.config.steps,
        "answer": "" if view.overall is None else answer(view.overall),
        "figures": drawings.place(_figures(view.metrics, view.note)),
        "trees": [(tree, facing(tree.tree, view.gold)) for tree in view.trees],
        "gold": view.gold is not None,
        "missing": view.missing,
        "accuracy": _accuracy(run),
        "scored": run.scored if run.finished else "",
        "command": command(run),
        "environment": [(key, setting(value)) for key, value in run.environment.items()],
        "settings": [(key, setting(value)) for key, value in flat(run.config).items()],
    }


def answer(overall: pl.DataFrame) -> str:
    """What a run came to, in a sentence or two."""
    found = {row["quantity"]: row for row in overall.to_dicts()}
    seeds = found["grokked"]["members"]
    several = seeds > 1
    saturated, grokked, final = (found[name] for name in ("saturation_step", "grokking_step", "final"))
    parts: list[str] = []
    if saturated["value"] is None:
        parts.append("In-domain accuracy never reaches 99%")
    else:
        of = f" in {saturated['members']} of {seeds} seeds" if several else ""
        mean = " on average" if several else ""
        parts.append(f"In-domain accuracy reaches 99%{of} after {saturated['value']:,.0f} steps{mean}")
    if grokked["value"] is None:
        parts.append("generalization never passes 80%")
    elif several:
        share = share_text(found["grokked"])
        parts.append(f"generalization passes 80% in {grokked['members']} of {seeds}, {share}")
    else:
        parts.append(f"generalization passes 80% after {grokked['value']:,.0f}")
    return f"{'; '.join(parts)}, and ends at {share_text(final)}."


def share_text(row: Mapping[str, Any]) -> str:
    """A share of the summary with its interval, where there is one."""
    value, low, high = row["value"], row["low"], row["high"]
    if value is None:
        return "–"
    bounds = "" if low is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    return f"{100 * value:.0f}%{bounds}"


def command(run: Run) -> str:
    """The command that trains this run: what differs from the laptop preset."""
    words = ["auxin", "train", "--task", run.config.task]
    usual = flat(preset("laptop", run.config.task))
    for name, value in flat(run.config).items():
        if (
            value != usual.get(name) and name != "model.vocabulary_size"
        ):  # the task's own, filled in by training
            group, _, option = name.replace("_", "-").rpartition(".")
            option = f"no-{option}" if value is False else option
            words.append(f"--{group and group + '.'}{option}")
            if not isinstance(value, bool):
                words += _typed(value)
    return shlex.join([*words, "--out", str(run.path)])


def _typed(value: Any) -> list[str]:
    """A setting as it is typed: parts of a description in JSON."""
    described = isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(x, dict) for x in value)
    )
    if described:
        return [json.dumps(value, ensure_ascii=False)]
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _accuracy(run: Run) -> Table:
    """Accuracy of a finished run on its held-out splits."""
    found = run.summary.get("accuracy") if run.finished else None
    splits: Mapping[str, Any] = found if isinstance(found, dict) else {}
    rows = [(str(seed), *(_share(splits[split], seed) for split in splits)) for seed in run.config.seeds]
    return Table(["seed", *splits], rows if splits else [])


def _share(scores: object, seed: int) -> str:
    value = scores.get(str(seed)) if isinstance(scores, dict) else None
    return f"{value:.1%}" if isinstance(value, (int, float)) else "–"


def _figures(metrics: pl.DataFrame, note: str) -> list[Figure]:
    curves = learning_curves(metrics, note=note)
    words = "In-domain and generalization accuracy against steps."
    found = [Figure("learning-curves", curves.properties(description=words))]
    if metrics["name"].is_in([name for split, name in PANELS if split == "train"]).any():
        measures = dynamics(metrics)
        words = "Generalization and structural measures against steps."
        found.append(Figure("dynamics", measures.properties(description=words)))
    return found
