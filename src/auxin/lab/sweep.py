"""A sweep: runs over axes, trained in one directory by any number of processes, and one table of what came out."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polars.exceptions import PolarsError

from auxin import files
from auxin.errors import AuxinError, Interrupted
from auxin.experiment.data import Sentences
from auxin.lab import places
from auxin.lab.named import NamedRun, Outcome, Setting, check_names
from auxin.lab.plan import Plan
from auxin.lab.session import Session
from auxin.lab.sweep_file import Design, logarithmic, read_sweep, shared
from auxin.lab.sweep_record import Axis, Sweep, SweepRun, open_sweep, write_sweep
from auxin.lab.table import RESERVED, Start, summary_table
from auxin.runs.run import Data
from auxin.values import check, flat

DECIDE_DATA = ("preset", "config", "task", "data_dir", "grammar", "data_seed", "train_size", "scoring")
"""Axes on which the sentences of a run depend."""


def sweep(
    runs: Sequence[NamedRun] | str | Path,
    out: str | Path,
    *,
    workers: int = 0,
    ray: str = "",
    only: str = "",
    reuse: Sequence[str | Path] = (),
    progress: bool = False,
) -> Sweep:
    """Train every run of a sweep in ``out`` and return its axes, runs and table.

    Args:
        runs: a list of ``auxin.NamedRun``, or the path of a sweep file (docs/sweeps.md).
        out: the sweep's directory. Finished runs are kept, unfinished ones resume bit for bit; several processes may be
            at one sweep and share its runs.
        workers: runs at a time on this machine; 0: as many as its cores, or GPUs, allow.
        ray: address of a Ray cluster that trains them instead, or "auto"; it must see ``out`` under the same path.
        only: "i/n": the i-th of n parts, as for one task of an array of n; they differ by one run at most.
        reuse: directories of other sweeps or studies, from which finished runs of the same settings and sentences are
            copied.
        progress: show a bar on stderr.

    A run that fails does not stop the others; ``.runs`` says why. Ctrl-C and SIGTERM let all runs save, then raise
    ``Interrupted``. Raises ``ConfigError`` for a sweep file that cannot be, ``RunError`` for a directory that is
    another's.

    >>> from dataclasses import replace
    >>> tiny = ModelConfig(depth=1, width=8, heads=2)
    >>> base = RunConfig(train_size=40, steps=1, eval_size=2, final_size=2, model=tiny)
    >>> found = sweep([NamedRun(f"batch-{n}", replace(base, batch_size=n)) for n in (2, 4)], "swept", workers=1)
    >>> found.table["batch_size"].to_list()
    [2, 4]
    """
    train_sweep(designed(runs), Session(out, workers, ray, reuse, progress), only)
    return open_sweep(out)


def designed(runs: Sequence[NamedRun] | str | Path) -> Design:
    """The design of a sweep file, or of a list of runs: its axes are the settings that differ.

    Those of runs without settings are the fields of their configs that differ.
    """
    if isinstance(runs, (str, Path)):
        return read_sweep(runs)
    check(len(runs) > 0, "runs", [], "at least one")
    check_names(runs)
    if derived := not any(run.settings for run in runs):
        fields = [{n: v for n, v in flat(r.config).items() if n != "seeds"} for r in runs]
        names = [
            n for n in dict.fromkeys(n for f in fields for n in f) if len({str(f.get(n)) for f in fields}) > 1
        ]
        runs = [
            NamedRun(r.name, r.config, {n: _plain(f[n]) for n in names if n in f})
            for r, f in zip(runs, fields, strict=True)
        ]
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    for name in names:
        check(name not in RESERVED, "name of a setting", name, f"none of {', '.join(RESERVED)}")
    values = {n: list(dict.fromkeys(r.settings[n] for r in runs if n in r.settings)) for n in names}
    points = {tuple(run.settings.get(name) for name in names) for run in runs}
    drawn = len(points) < math.prod(map(len, values.values()))
    axes = [Axis(n, tuple(v), logarithmic(v), drawn) for n, v in values.items() if len(v) > 1]
    owner = places.Owner() if derived else places.Owner(axes=tuple(names), settings=shared(runs, names))
    return Design(tuple(axes), list(runs), owner)


def _plain(value: Any) -> Setting:
    return value if isinstance(value, (str, int, float)) else str(value)


def plan_sweep(design: Design, session: Session, only: str = "") -> Plan:
    """What remains to be trained of a sweep, or of its part ``only``, and its cost here."""
    return session.plan(part_of(design.runs, only), _owner(design, Sentences()))


def train_sweep(design: Design, session: Session, only: str = "") -> list[Outcome]:
    """Train what remains of a sweep, or of its part ``only``, and write its table, also when it is stopped.

    A part may be empty. Raises ``RunError``, before anything is written, where ``session.out`` is another sweep's.
    """
    part, data = part_of(design.runs, only), Sentences()
    try:
        outcomes = session.train(part, _owner(design, data), data)
    except Interrupted:
        _tabulate(design, session, data, theory=False)  # which may take minutes
        raise
    _tabulate(design, session, data, {o.name: o.detail for o in outcomes if o.status == "failed"})
    return outcomes


def _owner(design: Design, data: Data) -> places.Owner:
    """What tells a sweep from others, with its sentences where no axis has a say in them."""
    axes, config = design.owner.axes, design.runs[0].config
    varied = any(name in DECIDE_DATA or name.startswith("dials.") for name in axes)
    sources = {(run.config.data_dir, run.config.grammar) for run in design.runs}
    return design.owner if varied or len(sources) > 1 else replace(design.owner, data=data(config))


def part_of(runs: list[NamedRun], only: str) -> list[NamedRun]:
    """The i-th of n parts, for ``i/n``; all for nothing. Runs are dealt out in an order that mixes the axes."""
    if not only:
        return runs
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", only)
    i, n = (int(found[1]), int(found[2])) if found else (0, 0)
    check(1 <= i <= n, "only", only, "i/n with i from 1 to n")
    mixed = sorted(runs, key=lambda run: files.sha256(run.name.encode()))
    part = {run.name for run in mixed[i - 1 :: n]}
    return [run for run in runs if run.name in part]


def _tabulate(
    design: Design, session: Session, data: Data, failed: Mapping[str, str] = {}, *, theory: bool = True
) -> None:
    """Write the table and record of what has finished: the same bytes, whoever trained it.

    What else the sweep in that directory has finished comes after the planned runs: nothing gets lost. Exponents that
    it or the sweeps to reuse have are not computed again. ``failed`` says why by name.
    """
    out, axes = Path(session.out), design.axes
    configs = {run.name: run.config for run in design.runs}
    # what another process finishes meanwhile, it will tabulate after us
    with files.lock(files.directory(out, make=True) / places.LOCK, wait=True):
        files.remove_temporaries(out)
        runs = [
            SweepRun(r.name, "failed" if r.name in failed else "unfinished", failed.get(r.name, ""), r.settings,
                     out / places.RUNS / r.name)
            for r in design.runs
        ]  # fmt: skip
        with contextlib.suppress(AuxinError):  # none yet, or damaged: what is planned is written anew
            there = open_sweep(out)
            more = [run for run in there.runs if run.status == "finished" and run.name not in configs]
            if more and [axis.name for axis in axes] == [axis.name for axis in there.axes]:
                axes = _united(axes, there.axes)
            runs += [replace(run, status="unfinished", identity="") for run in more]
        for i, planned in enumerate(runs):
            run, config = places.run_at(planned.path), configs.get(planned.name)
            if run and run.finished and (not config or places.has_finished(config, run.path, data)):
                runs[i] = replace(planned, status="finished", detail="", identity=run.identity)
        known = {i: start for path in (*session.reuse, out) for i, start in _starts(path).items()}
        write_sweep(out, axes, runs, summary_table(runs, known, theory))


def _starts(path: str | Path) -> dict[str, Start]:
    """The exponents in a sweep's table by the identity of the run that they were computed for: they take long."""
    with contextlib.suppress(AuxinError, PolarsError):
        sweep = open_sweep(path)
        rows = sweep.table.select("run", "angle_total", "gradient_total").iter_rows()
        starts = {name: (angle, gradient) for name, angle, gradient in rows}
        return {run.identity: starts[run.name] for run in sweep.runs if run.identity and run.name in starts}
    return {}


def _united(axes: Sequence[Axis], others: Sequence[Axis]) -> tuple[Axis, ...]:
    """The same axes with the values of both."""
    united: list[Axis] = []
    for axis, other in zip(axes, others, strict=True):
        values = list(dict.fromkeys((*axis.values, *other.values)))
        if len(values) > len(axis.values) and not axis.categorical:
            values.sort()
        united.append(Axis(axis.name, tuple(values), axis.log and other.log, axis.drawn or other.drawn))
    return tuple(united)
