"""A run on the page: its curves, its trees checkpoint by checkpoint, its accuracy, and how it was made."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from auxin.config import preset
from auxin.report.drawings import Drawings
from auxin.report.figures import PANELS, dynamics, learning_curves, tree_strip
from auxin.report.marks import Figure
from auxin.report.markup import Markup, details, element, setting, table
from auxin.report.record import flat
from auxin.runs.reader import Run


@dataclass(frozen=True)
class TreeDrawing:
    """A tree of one sentence, to be seen or read."""

    caption: str
    """Whose tree: a step, or gold."""
    svg: str
    """The drawing, as ``auxin.tasks.trees.to_svg`` makes it."""
    brackets: str
    """The same in brackets."""


@dataclass(frozen=True)
class RunView:
    """A run, with the trees that its checkpoints compute for a sentence."""

    run: Run
    trees: Sequence[TreeDrawing] = ()
    missing: str = ""
    """Why there are none."""
    note: str = ""
    """A line below the title of its learning curves."""

    @property
    def title(self) -> str:
        """What was trained."""
        config = self.run.config
        seeds = f"{len(config.seeds)} seed{'s' if len(config.seeds) > 1 else ''}"
        return f"{self.run.path.name}: {config.task}, {config.model.depth} layers, {seeds}"


def run_section(view: RunView, name: str, drawings: Drawings) -> Markup:
    """The run as the section ``name``; raises ``RunError`` when damaged, ``DataError`` without curves."""
    run = view.run
    settings = ((key, setting(value)) for key, value in flat(run.config).items())
    made = ((key, setting(value)) for key, value in run.environment.items())
    return element(
        "section",
        element("h2", view.title, id=f"{name}-title"),
        _state(run),
        element("h3", "Figures"),
        *map(drawings.place, _figures(run.metrics, view.note)),
        *_slider(view.trees, name),
        element("p", view.missing, class_="missing") if view.missing else "",
        element("h3", "How it was made"),
        element("pre", element("code", command(run))),
        details("Versions and machine", table("Versions and machine", ("", "value"), made)),
        details("Settings", table("Settings", ("setting", "value"), settings)),
        id=name,
        aria_labelledby=f"{name}-title",
    )


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


def _state(run: Run) -> Markup:
    """Accuracy of a finished run on its held-out splits; where another one is."""
    if not run.finished:
        step = run.metrics["step"].max() or 0
        return element("p", f"Not finished: at step {step} of {run.config.steps}.", class_="missing")
    accuracy = run.summary.get("accuracy")
    splits: Mapping[str, Any] = accuracy if isinstance(accuracy, dict) else {}
    rows = [(str(seed), *(_share(splits[split], seed) for split in splits)) for seed in run.config.seeds]
    return table(f"Accuracy on {run.scored} of each split", ("seed", *splits), rows)


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


def _slider(trees: Sequence[TreeDrawing], name: str) -> list[Markup]:
    """One tree at a time; the page's script shows the one that the slider is at."""
    if not trees:
        return []
    drawings = []
    for tree in trees:
        svg = base64.b64encode(tree_strip([(tree.caption, tree.svg)]).encode()).decode()
        source = f"data:image/svg+xml;base64,{svg}"
        image = element("img", src=source, alt=f"{tree.caption}: {tree.brackets}")
        drawings.append(
            element("div", image, class_="wide", tabindex="0", role="group", aria_label=tree.caption)
        )
    last = str(len(trees) - 1)
    control = element("input", id=f"{name}-step", type="range", min="0", max=last, value=last)
    label = element("label", "Checkpoint ", control, " ", element("output"))
    heading = element("h3", "What tree does it compute?")
    return [heading, element("figure", label, *drawings, class_="slider")]
