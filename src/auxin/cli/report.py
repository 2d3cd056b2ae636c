"""The verb that makes one page of studies and runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from auxin.cli import UsageError
from auxin.cli.options import Writing
from auxin.errors import DataError

if TYPE_CHECKING:
    from auxin.report.run_section import RunView
    from auxin.runs import Run


@dataclass(frozen=True, kw_only=True)
class Report(Writing):
    """Write one HTML page of studies and runs: answers, claims, figures, numbers, and how they were made.

    Example: auxin report runs/studies/depth runs/question --out report.html
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(name="dir", metavar="DIR...")]
    """Directories that auxin study or auxin train wrote."""
    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))] = Path("report.html")
    """The page: one file that needs no network."""

    def run(self) -> None:
        from auxin.report.page import save_page
        from auxin.report.record import open_study
        from auxin.runs import open_run
        from auxin.runs.reader import holds_run

        if not self.paths:
            raise UsageError("the following arguments are required: DIR...")
        runs = {path: open_run(path) for path in self.paths if holds_run(path)}
        parts = [_view(runs[path]) if path in runs else open_study(path) for path in self.paths]
        save_page(parts, self.out, force=self.force)
        print(self.out)


def _view(run: Run) -> RunView:
    """A run with its trees, or with the reason why there are none: its sentences may be gone, its numbers are not."""
    from auxin.cli.structure import tree_drawings
    from auxin.cli.summary import stability
    from auxin.measures.grokking import grokking_summary
    from auxin.report.run_section import RunView

    note = stability(grokking_summary(run.metrics).members)
    try:
        return RunView(run, tree_drawings(run), note=note)
    except DataError as error:
        return RunView(run, note=note, missing=f"No trees: {error}.")
