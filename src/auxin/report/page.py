"""HTML pages that open from disk, in light and in dark, and ask no network: of studies, sweeps and runs, of a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import altair as alt
import polars as pl

from auxin.lab.sweep_record import Sweep
from auxin.outputs import marked_text, write_output
from auxin.report.marks import Drawings, Figure
from auxin.report.markup import Table, fill, number
from auxin.report.sections import RunView, Section, run_section, runs_section, study_section, sweep_section
from auxin.runs.record import StudyRecord

Part: TypeAlias = StudyRecord | Sweep | RunView
MOST_RUNS = 12
"""Runs that get a section each; more of them are only compared."""
OF_ENGLISH = ("question", "tense", "passivization", "agreement")
"""Tasks that the introduction's two rules are about."""


def save_page(parts: Sequence[Part], path: str | Path, *, force: bool = False) -> None:
    """Write the page of studies, sweeps and runs by the rule of ``write_output``; ``RunError`` also when that fails."""
    write_output(path, marked_text(page(parts)), force=force)


def page(parts: Sequence[Part]) -> str:
    """The page as HTML, with about 0.9 MB of JavaScript besides the data; raises as ``sections`` does."""
    drawings = Drawings()
    shown = sections(parts)
    studies = any(isinstance(part, StudyRecord) for part in parts)
    tasks = {part.run.config.task for part in parts if isinstance(part, RunView)}
    return fill(
        "page.html",
        title=f"auxin: {', '.join(section.title for section in list(shown.values())[:6])}",
        heading="What was found" if studies else "What was trained",
        example=studies or not tasks.isdisjoint(OF_ENGLISH),
        sections=[(name, section, drawings.place(section.figures)) for name, section in shown.items()],
        drawings=drawings,
    )


def sections(parts: Sequence[Part]) -> dict[str, Section]:
    """A section for every study, sweep and run, and one that compares runs, which stands alone where they are many.

    Raises ``RunError`` for a damaged study or run, ``ConfigError`` for a study of unknown name, ``DataError`` for a run
    without curves.
    """
    found: dict[str, Section] = {}
    runs = [part for part in parts if isinstance(part, RunView)]
    for i, part in enumerate(parts, 1):
        if isinstance(part, StudyRecord):
            found[f"part-{i}"] = study_section(part)
        elif isinstance(part, Sweep):
            found[f"part-{i}"] = sweep_section(part)
    few = len(runs) <= MOST_RUNS
    if len(runs) > 1:
        found["runs"] = runs_section(runs, alone=few)
    return found | {f"run-{i}": run_section(run) for i, run in enumerate(runs, 1) if few}


HEADS = {
    "layer": "layer",
    "norm": "norm²",
    "predicted_norm": "predicted",
    "cosine": "cosine",
    "predicted_cosine": "predicted",
    "gradient": "gradient",
    "predicted_gradient": "predicted",
    "attention_share": "attention's share",
    "mlp_share": "MLP's share",
    "entropy": "attention entropy",
    "spread": "logit spread",
}


@dataclass(frozen=True)
class Checked:
    """What a page says of a model."""

    name: str
    findings: Sequence[tuple[str, str]]
    """Kind and sentence."""
    notes: Sequence[str]
    layers: pl.DataFrame
    encoder: pl.DataFrame | None = None
    """Of a decoder's encoder."""

    @property
    def tables(self) -> list[tuple[str, Table]]:
        """The tables by their captions."""
        found = [] if self.encoder is None else [("The encoder, layer by layer", _table(self.encoder))]
        return [*found, ("Layer by layer", _table(self.layers))]


def save_check(checked: Checked, chart: alt.TopLevelMixin, path: str | Path, *, force: bool = False) -> Path:
    """Write the page, which loads nothing from elsewhere, by the rule of ``write_output``."""
    drawings = Drawings()
    placed = drawings.place([Figure("check", chart)])
    text = fill("check.html", checked=checked, drawings=drawings, placed=placed)
    write_output(path, marked_text(text), force=force)
    return Path(path)


def _table(layers: pl.DataFrame) -> Table:
    shown = [name for name in HEADS if name == "layer" or layers[name].is_not_null().any()]
    rows = [
        ["input" if row[0] == 0 else str(row[0]), *map(number, row[1:])]
        for row in layers.select(shown).iter_rows()
    ]
    return Table([HEADS[name] for name in shown], rows)
