"""Verbs that train a sweep and put its parts together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from auxin.cli import UsageError
from auxin.cli.options import Flag, Verb
from auxin.cli.output import print_json, print_table
from auxin.cli.study import report_outcomes, report_plan
from auxin.lab.named import Setting
from auxin.lab.sweep_record import TABLE, Axis, open_sweep
from auxin.lab.sweep_record import Sweep as Record


@dataclass(frozen=True, kw_only=True)
class Sweep(Verb):
    """Train all runs of a sweep file, as far as they are not trained yet, and make one table and its figures.

    Example: auxin sweep sweep.toml --out runs/sweep
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The sweep file: base, settings, axes, seeds (docs/sweeps.md)."""
    out: Path
    """The sweep's directory."""
    workers: int = 0
    """Runs at a time; 0: as many as the cores, or GPUs, allow."""
    ray: str = ""
    """Address of a Ray cluster that trains the runs instead; auto: the one running here."""
    only: str = ""
    """i/n: every n-th run from the i-th on, as for one task of an array of n."""
    reuse: tuple[Path, ...] = ()
    """Directories of other sweeps or studies: runs of the same config that finished there are copied."""
    dry_run: Flag = False
    """Print what it would cost, measured here, and train nothing."""
    json: Flag = False
    """Print the summary, or the plan, as one JSON object."""

    def run(self) -> int:
        """Train what is left of the sweep and print its summary; the status says whether runs failed."""
        from auxin.lab.sweep_file import read_sweep

        design = read_sweep(self.file)
        from auxin.lab.session import Session  # what trains loads for seconds
        from auxin.lab.sweep import plan_sweep, train_sweep

        session = Session(self.out, self.workers, self.ray, self.reuse, progress=True)
        if self.dry_run:
            plan = plan_sweep(design, session, self.only)
            if not self.json:
                _report_axes(design.axes)
            report_plan(plan, self.json)
            return 0
        outcomes = train_sweep(design, session, self.only)
        if not outcomes and not self.json:
            print(f"no run is in part {self.only}\n")
        elif not self.json:
            report_outcomes(outcomes)
        _report(open_sweep(self.out), self.json)
        return int(any(outcome.status != "finished" for outcome in outcomes))


@dataclass(frozen=True, kw_only=True)
class Merge(Verb):
    """Put the parts of a sweep, trained in directories of their own, or sweeps of the same axes, into one.

    Example: auxin merge runs/part-1 runs/part-2 --out runs/sweep
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(name="dir", metavar="DIR...")]
    """Directories that auxin sweep wrote; they stay as they are."""
    out: Path
    """The directory of the whole."""
    json: Flag = False
    """Print the summary as one JSON object."""

    def __post_init__(self) -> None:
        if not self.paths:
            raise UsageError("the following arguments are required: DIR...")

    def run(self) -> int:
        """Copy the finished runs into one sweep and print its summary; the status says whether any are missing."""
        for path in self.paths:
            open_sweep(path)
        from auxin.lab.sweep import merge

        sweep = merge(self.paths, self.out)
        _report(sweep, self.json)
        return int(any(run.status != "finished" for run in sweep.runs))


def _report_axes(axes: tuple[Axis, ...]) -> None:
    rows = [(axis.name, _values(axis), str(len(axis.values))) for axis in axes]
    if rows:
        print_table(("axis", "values", "how many"), rows)


def _values(axis: Axis) -> str:
    shown = [_shown(value) for value in axis.values]
    if axis.drawn and not axis.categorical:
        return f"drawn from {shown[0]} to {shown[-1]}"
    return ", ".join(shown if len(shown) <= 8 else [*shown[:4], "…", shown[-1]])


def _shown(value: Setting) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _report(sweep: Record, as_json: bool) -> None:
    """Where everything is, and what lacks."""
    from auxin.report.sweep_figures import save_sweep_figures

    figures = save_sweep_figures(sweep)
    finished = sum(run.status == "finished" for run in sweep.runs)
    if as_json:
        runs = [
            {"name": r.name, "status": r.status, "detail": r.detail, "settings": dict(r.settings)}
            for r in sweep.runs
        ]
        paths = {"table": str(sweep.path / TABLE), "figures": [str(path) for path in figures]}
        print_json({"out": str(sweep.path), "finished": finished, "runs": runs, **paths})
        return
    print(f"{finished} of {len(sweep.runs)} runs have finished\n")
    print(sweep.path / TABLE)
    if figures:
        print(sweep.path / "figures")
