"""The verb that makes one page of studies, sweeps and runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from auxin.cli.options import Directories, Out, Result, Writing
from auxin.errors import DataError

if TYPE_CHECKING:
    from auxin.lab.sweep_record import Sweep
    from auxin.report.sections import RunView
    from auxin.runs import Run
    from auxin.runs.record import StudyRecord

MOST_WITH_TREES = 4
"""Runs whose checkpoints are looked into, which takes seconds each."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Writing):
    """Write one HTML page of studies, sweeps and runs: answers, claims, figures, numbers, and how they were made.

    Example: auxin report runs/studies/depth runs/question --out report.html
    """

    paths: Directories
    """Directories that auxin study, auxin sweep or auxin train wrote."""
    out: Out = Path("report.html")
    """The page: one file that needs no network."""

    def run(self) -> Result:
        """Write the page of the studies, sweeps and runs."""
        parts = opened(self.paths, trees=True)
        from auxin.report.page import save_page

        save_page(parts, self.out, force=self.force)
        return Result({"page": str(self.out)}, str(self.out))


def opened(paths: Sequence[Path], *, trees: bool) -> list[StudyRecord | Sweep | RunView]:
    """The studies, sweeps and runs of directories; of few runs with their ``trees``."""
    found = [_opened(path) for path in paths]
    from auxin.runs import Run

    few = trees and sum(isinstance(part, Run) for part in found) <= MOST_WITH_TREES
    return [_view(part, trees=few) if isinstance(part, Run) else part for part in found]


def _opened(path: Path) -> StudyRecord | Sweep | Run:
    from auxin.lab.sweep_record import holds_sweep, open
    from auxin.runs.run import holds_run

    if holds_run(path) or holds_sweep(path):
        return open(path)
    from auxin.runs.record import open_study  # which reads tables

    return open_study(path)


def _view(run: Run, *, trees: bool) -> RunView:
    """A run with its trees, or with the reason why there are none: its sentences may be gone, its numbers are not."""
    from auxin.cli.trees import tree_drawings
    from auxin.measures.grokking import grokking_summary
    from auxin.report.sections import RunView
    from auxin.report.tables import stability

    view = RunView(run, note=stability(grokking_summary(run.metrics).members))
    if not trees:
        return view
    try:
        drawings, gold = tree_drawings(run)
    except DataError as error:
        return replace(view, missing=f"No trees: {error}.")
    return replace(view, trees=drawings, gold=gold)
