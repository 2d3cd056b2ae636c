"""A sweep: runs over axes, trained in one directory by any number of processes, and one table of what came out."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polars.exceptions import PolarsError

from auxin import files
from auxin.errors import AuxinError, Interrupted, RunError
from auxin.experiment.data import Sentences
from auxin.lab import places
from auxin.lab.named import NamedRun, Outcome, Setting, check_names
from auxin.lab.plan import Plan
from auxin.lab.session import Session
from auxin.lab.sweep_file import Design, geometric, known_fields, read_sweep, shared
from auxin.lab.sweep_record import Axis, Sweep, SweepRun, holds_sweep, open_sweep, write_sweep
from auxin.lab.table import RESERVED, Start, summary_table
from auxin.runs import Run
from auxin.runs.run import Data
from auxin.values import check, common, flat

OPEN = ("unfinished", "")
"""Status and detail of a run that has neither finished nor failed."""
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
    axes = [Axis(n, tuple(v), geometric(v), drawn) for n, v in values.items() if len(v) > 1]
    owner = places.Owner() if derived else places.Owner(axes=tuple(names), settings=_constant(runs, names))
    return Design(tuple(axes), list(runs), owner)


def _constant(runs: Sequence[NamedRun], names: Sequence[str]) -> dict[str, Any]:
    """The settings that a list of runs has in common, as far as its axes have no say in them.

    An axis that is no field may decide about any, and about which ones a single point cannot tell.
    """
    fields = set(names) <= {*known_fields(), "preset", "config"}
    if not fields and len({tuple(run.settings.values()) for run in runs}) == 1:
        return {}
    first, *others = (shared(run.config, names if fields else (), ()) for run in runs)
    return {n: v for n, v in first.items() if all(other.get(n, v) == v for other in others)}


def _plain(value: Any) -> Setting:
    return value if isinstance(value, (str, int, float)) else str(value)


def plan_sweep(design: Design, session: Session, only: str = "") -> Plan:
    """What remains to be trained of a sweep, or of its part ``only``, and its cost here."""
    return session.plan(part_of(design.runs, only), _owner(design, Sentences()))


def train_sweep(design: Design, session: Session, only: str = "") -> list[Outcome]:
    """Train what remains of a sweep, or of its part ``only``, and write its table, also when it is stopped.

    A part may be empty. Raises ``RunError``, before anything is written, where ``session.out`` is another sweep's.
    """
    part, data, out = part_of(design.runs, only), Sentences(), Path(session.out)
    configs = {run.name: run.config for run in design.runs}

    def done(run: Run) -> bool:
        config = configs.get(run.path.name)
        return config is None or places.has_finished(config, run.path, data)

    def planned(outcomes: Sequence[Outcome]) -> list[SweepRun]:
        why = {outcome.name: outcome.detail for outcome in outcomes if outcome.status == "failed"}
        ends = {run.name: ("failed", why[run.name]) if run.name in why else OPEN for run in design.runs}
        return [SweepRun(r.name, *ends[r.name], r.settings, out / places.RUNS / r.name) for r in design.runs]

    try:
        outcomes = session.train(part, _owner(design, data), data)
    except Interrupted:
        tabulate(out, design.axes, planned([]), done, theory=False)  # which may take minutes
        raise
    tabulate(out, design.axes, planned(outcomes), done)
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


def tabulate(
    out: Path,
    axes: Sequence[Axis],
    runs: Sequence[SweepRun],
    done: Callable[[Run], bool],
    *,
    parts: Sequence[Sweep] = (),
    theory: bool = True,
) -> None:
    """Write the table and record of what has finished in ``out``: the same bytes, whoever trained it.

    ``runs`` are the planned ones; what else the sweep in ``out`` has finished comes after them: nothing gets lost.
    ``done`` says whether a finished run is the planned one. Exponents that ``parts`` have are not computed again.
    """
    # what another process finishes meanwhile, it will tabulate after us
    with files.lock(files.directory(out, make=True) / places.LOCK, wait=True):
        files.remove_temporaries(out)
        with contextlib.suppress(AuxinError):  # none yet, or damaged: what is planned is written anew
            there, names = open_sweep(out), {run.name for run in runs}
            more = [run for run in there.runs if run.status == "finished" and run.name not in names]
            if more and [axis.name for axis in axes] == [axis.name for axis in there.axes]:
                axes = _united([axes, there.axes])
            runs = [*runs, *(replace(run, status=OPEN[0], identity="") for run in more)]
            parts = [*parts, there]
        known = {i: start for part in parts for i, start in _starts(part).items()}
        for i, planned in enumerate(runs := list(runs)):
            run = places.run_at(planned.path)
            if run is not None and run.finished and done(run):
                runs[i] = replace(planned, status="finished", detail="", identity=run.identity)
        write_sweep(out, axes, runs, summary_table(runs, known, theory))


def _starts(sweep: Sweep) -> dict[str, Start]:
    """The exponents in a sweep's table by the identity of the run that they were computed for: they take long."""
    with contextlib.suppress(AuxinError, PolarsError):
        rows = sweep.table.select("run", "angle_total", "gradient_total").iter_rows()
        starts = {name: (angle, gradient) for name, angle, gradient in rows}
        return {run.identity: starts[run.name] for run in sweep.runs if run.identity and run.name in starts}
    return {}


def merge(paths: Sequence[str | Path], out: str | Path) -> Sweep:
    """Copy the finished runs of sweeps into one directory and write their table; the sweeps stay as they are.

    Parts of one sweep (``only``) give the bytes of the whole, merged at once or one after the other; sweeps of the same
    axes give one over all their values. Before anything is written, every run is compared with its digests. Raises
    ``ConfigError`` for axes that differ, and ``RunError`` for another sweep (other settings, other sentences), two runs
    of one name that differ, a damaged run, and a link.
    """
    check(len(paths) > 0, "directories of sweeps", [], "one or more")
    out = Path(out)
    parts = [open_sweep(path) for path in paths]
    if out.is_dir() and holds_sweep(out):
        parts.append(open_sweep(out))
    axes = _united([part.axes for part in parts])
    planned: dict[str, SweepRun] = {}
    for run in (run for part in parts for run in part.runs):
        known = planned.setdefault(
            run.name, SweepRun(run.name, *OPEN, run.settings, out / places.RUNS / run.name)
        )
        same, allowed = run.settings == known.settings, f"{known.settings}, as before"
        check(same, f"settings of {run.path}", run.settings, allowed)
    owner = _common_owner([part.path for part in parts])
    sources = _intact_runs(
        [places.runs_directory(part.path, make=False) for part in parts], list(planned), out / places.RUNS
    )
    places.claim(out, owner)
    places.take_over(sources, places.runs_directory(out))
    tabulate(out, axes, list(planned.values()), lambda _: True, parts=parts)
    return open_sweep(out)


def _common_owner(paths: Sequence[Path]) -> places.Owner:
    """What several sweeps have in common; ``RunError`` for one that is another sweep than the first."""
    owners = [places.owner_of(path) or places.Owner() for path in paths]
    for path, owner in zip(paths, owners, strict=True):
        if why := owners[0].difference(owner):
            raise RunError(f"{path}: another sweep than the one in {paths[0]} ({why})")
    return replace(owners[0], settings=common([owner.settings for owner in owners]))


def _intact_runs(directories: Sequence[Path], names: Sequence[str], target: Path) -> dict[str, Run]:
    """Of each run that is to be copied to ``target``, by name, the first finished one whose files are intact."""
    found: dict[str, Run] = {}
    for name in names:
        runs = [
            run for there in dict.fromkeys((target, *directories)) if (run := places.run_at(there / name))
        ]
        for run in runs[1:]:
            if why := run.difference(runs[0].config, lambda _, first=runs[0]: first.data):
                raise RunError(f"{run.path}: another run than {runs[0].path} ({why})")
        finished = [run for run in runs if run.finished]
        for i, run in enumerate(finished, 1):
            try:
                run.verify()
            except AuxinError:
                if i == len(finished):
                    raise
                continue
            if run.path != target / name:
                found[name] = run
            break
    return found


def _united(all_axes: Sequence[Sequence[Axis]]) -> tuple[Axis, ...]:
    """The same axes with the values of all."""
    first = [axis.name for axis in all_axes[0]]
    for axes in all_axes:
        names = [axis.name for axis in axes]
        allowed = f"those of the first, {', '.join(first) or 'none'}"
        check(names == first, "axes of a sweep to merge", names, allowed)
    united: list[Axis] = []
    for same in zip(*all_axes, strict=True):
        values = list(dict.fromkeys(value for axis in same for value in axis.values))
        if len(values) > len(same[0].values):
            values = values if same[0].categorical else sorted(values)
        united.append(Axis(same[0].name, tuple(values), all(a.log for a in same), any(a.drawn for a in same)))
    return tuple(united)
