"""The verb that keeps what a study or a run found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from auxin.cli.options import Out, Result, Verb


@dataclass(frozen=True, kw_only=True)
class RecordOptions(Verb):
    """Copy what a study or a run found, without its checkpoints: a few hundred kB that make the same page.

    Example: auxin record runs/studies/depth --out records/depth
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="dir", metavar="DIR")]
    """The directory of an answered study, or of a run."""
    out: Out
    """The record's directory; a record that is there is replaced."""

    def run(self) -> Result:
        """Copy the record."""
        from auxin.runs.record import keep

        keep(self.path, self.out)
        return Result({"record": str(self.out)}, str(self.out))
