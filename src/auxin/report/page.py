"""An HTML page of studies, sweeps and runs that opens from disk, in light and in dark, and asks no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from auxin.lab.sweep_record import Sweep
from auxin.outputs import marked_text, write_output
from auxin.report.markup import fill
from auxin.report.sections import RunView, Section, run_section, runs_section, study_section, sweep_section
from auxin.report.theme import Drawings
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
