"""One HTML page of studies, sweeps and runs that opens from disk, in light and in dark, and never asks the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from auxin.disk.output import marked_text, write_output
from auxin.lab.sweep_record import Sweep
from auxin.report.comparison import runs_section
from auxin.report.drawings import Drawings
from auxin.report.markup import fill
from auxin.report.run_section import RunView, run_section
from auxin.report.study_section import study_section
from auxin.report.sweep_section import sweep_section
from auxin.report.theme import DARK, LIGHT, bundle
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
    """The page as HTML: a section for every study, sweep and run, and one that compares runs; of many it alone.

    About 0.9 MB of JavaScript besides the data. Raises ``RunError`` for a damaged study or run, ``ConfigError``
    for a study of unknown name, ``DataError`` for a run without curves.
    """
    drawings = Drawings()
    runs = [part for part in parts if isinstance(part, RunView)]
    sections = [
        study_section(part, f"part-{i}", drawings)
        if isinstance(part, StudyRecord)
        else sweep_section(part, f"part-{i}", drawings)
        for i, part in enumerate(parts, 1)
        if not isinstance(part, RunView)
    ]
    studies = any(isinstance(part, StudyRecord) for part in parts)
    if len(runs) > 1:
        sections.append(runs_section(runs, "runs", drawings, alone=len(runs) <= MOST_RUNS))
    if len(runs) <= MOST_RUNS:
        sections += [run_section(run, f"run-{i}", drawings) for i, run in enumerate(runs, 1)]
    return fill(
        "page.html",
        title=f"auxin: {', '.join(section['title'] for section in sections[:6])}",
        heading="What was found" if studies else "What was trained",
        example=studies or any(view.run.config.task in OF_ENGLISH for view in runs),
        sections=sections,
        drawings=drawings,
        light=LIGHT,
        dark=DARK,
        bundle=bundle,
    )
