"""The verb that makes one page of studies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from auxin.cli import UsageError
from auxin.cli.options import Verb


@dataclass(frozen=True, kw_only=True)
class Report(Verb):
    """Write one HTML page of studies: questions, answers, claims, figures, numbers, and how they were made.

    Example: auxin report runs/studies/depth runs/studies/joint --out report.html
    """

    studies: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="STUDY_DIR...")]
    """Directories that auxin study wrote."""
    out: Path = Path("report.html")
    """The page: one file that needs no network."""

    def run(self) -> None:
        from auxin.report.page import save_page
        from auxin.report.record import open_study

        if not self.studies:
            raise UsageError("the following arguments are required: STUDY_DIR...")
        save_page([open_study(path) for path in self.studies], self.out)
        print(self.out)
