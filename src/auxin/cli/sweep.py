"""The verb sweep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from auxin.cli.options import File, Result, Sessions, table
from auxin.cli.study import outcomes_table, planned
from auxin.lab.sweep_record import TABLE, Axis, Sweep, open_sweep


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Sessions):
    """Train all runs of a sweep file, as far as they are not trained yet, and make one table and its figures.

    Example: auxin sweep sweep.toml --out runs/sweep
    """

    file: File
    """The sweep file: base, settings, axes, seeds (docs/sweeps.md)."""
    out: Path
    """The sweep's directory."""
    only: str = ""
    """i/n: the i-th of n parts, as for one task of an array of n."""

    def run(self) -> Result:
        """Train what is left of the sweep; its summary, whose status says whether runs failed."""
        from auxin.lab.sweep_file import read_sweep

        design = read_sweep(self.file)
        from auxin.lab.session import Session  # what trains loads for seconds
        from auxin.lab.sweep import plan_sweep, train_sweep

        session = Session(self.out, self.workers, self.ray, self.reuse, progress=True)
        if self.dry_run:
            found = planned(plan_sweep(design, session, self.only))
            rows = [(axis.name, _values(axis), str(len(axis.values))) for axis in design.axes]
            axes = [table(("axis", "values", "how many"), rows)] if rows else []
            return replace(found, text="\n".join([*axes, found.text]))
        outcomes = train_sweep(design, session, self.only)
        if not self.json:
            print(outcomes_table(outcomes) if outcomes else f"no run is in part {self.only}\n")
        return swept(open_sweep(self.out), int(any(outcome.status != "finished" for outcome in outcomes)))


def _values(axis: Axis) -> str:
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in axis.values]
    if axis.drawn and not axis.categorical:
        return f"drawn from {shown[0]} to {shown[-1]}"
    return ", ".join(shown if len(shown) <= 8 else [*shown[:4], "…", shown[-1]])


def swept(sweep: Sweep, status: int) -> Result:
    """Where everything of a sweep is, and what lacks."""
    from auxin.report.sweep_figures import save_sweep_figures

    figures = save_sweep_figures(sweep)
    finished = sum(run.status == "finished" for run in sweep.runs)
    runs = [
        {"name": r.name, "status": r.status, "detail": r.detail, "settings": dict(r.settings)}
        for r in sweep.runs
    ]
    values = {"out": str(sweep.path), "finished": finished, "runs": runs, "table": str(sweep.path / TABLE)}
    lines = [f"{finished} of {len(runs)} runs have finished\n", str(sweep.path / TABLE)]
    lines += [str(sweep.path / "figures")] if figures else []
    return Result(values | {"figures": [str(path) for path in figures]}, "\n".join(lines), status=status)
