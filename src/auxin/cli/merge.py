"""The verb merge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from auxin.cli import UsageError
from auxin.cli.options import Result, Verb
from auxin.cli.sweep import swept
from auxin.lab.sweep_record import open_sweep
from auxin.values import check


@dataclass(frozen=True, kw_only=True)
class MergeOptions(Verb):
    """Put the parts of a sweep, trained in directories of their own, or sweeps of the same axes, into one.

    Example: auxin merge runs/part-1 runs/part-2 --out runs/sweep
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(name="dir", metavar="DIR...")]
    """Directories that auxin sweep wrote; they stay as they are."""
    out: Path
    """The directory of the whole."""

    def __post_init__(self) -> None:
        if not self.paths:
            raise UsageError("the following arguments are required: DIR...")

    def run(self) -> Result:
        """Copy the finished runs into one sweep; the status says whether any are missing."""
        for path in self.paths:
            check(path.resolve() != self.out.resolve(), "out", self.out, "a directory other than its parts")
            open_sweep(path)
        from auxin.lab.sweep import merge

        sweep = merge(self.paths, self.out)
        return swept(sweep, int(any(run.status != "finished" for run in sweep.runs)))
