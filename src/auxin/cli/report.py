"""The verb that makes one page of studies, sweeps and runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from auxin.cli import UsageError
from auxin.cli.options import Writing
from auxin.errors import DataError

if TYPE_CHECKING:
    from auxin.lab.sweep_record import Sweep
    from auxin.report.sections import RunView
    from auxin.runs import Run
    from auxin.runs.record import StudyRecord

MOST_WITH_TREES = 4
"""Runs whose checkpoints are looked into, which takes seconds each."""


@dataclass(frozen=True, kw_only=True)
class Report(Writing):
    """Write one HTML page of studies, sweeps and runs: answers, claims, figures, numbers, and how they were made.

    Example: auxin report runs/studies/depth runs/question --out report.html
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(name="dir", metavar="DIR...")]
    """Directories that auxin study, auxin sweep or auxin train wrote."""
    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))] = Path("report.html")
    """The page: one file that needs no network."""

    def __post_init__(self) -> None:
        if not self.paths:
            raise UsageError("the following arguments are required: DIR...")

    def run(self) -> None:
        """Write the page of the studies, sweeps and runs."""
        from auxin.runs import open_run
        from auxin.runs.run import holds_run

        runs = {path: open_run(path) for path in self.paths if holds_run(path)}
        from auxin.report.page import save_page

        few = len(runs) <= MOST_WITH_TREES
        parts = [_view(runs[path], trees=few) if path in runs else _opened(path) for path in self.paths]
        save_page(parts, self.out, force=self.force)
        print(self.out)


def _opened(path: Path) -> StudyRecord | Sweep:
    """The sweep or the study of a directory."""
    from auxin.lab.sweep_record import holds_sweep, open_sweep
    from auxin.runs.record import open_study

    return open_sweep(path) if holds_sweep(path) else open_study(path)


def _view(run: Run, *, trees: bool) -> RunView:
    """A run with its trees, or with the reason why there are none: its sentences may be gone, its numbers are not."""
    from auxin.cli.structure import tree_drawings
    from auxin.cli.summary import stability
    from auxin.measures.grokking import grokking_summary
    from auxin.report.sections import RunView

    metrics = run.metrics
    summary = grokking_summary(metrics)
    view = RunView(run, metrics, note=stability(summary.members), overall=summary.overall)
    if not trees:
        return view
    try:
        drawings, gold = tree_drawings(run)
    except DataError as error:
        return replace(view, missing=f"No trees: {error}.")
    return replace(view, trees=drawings, gold=gold)
