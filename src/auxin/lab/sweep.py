"""A sweep: runs over axes, trained in one directory by any number of processes, and one table of what came out."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from polars.exceptions import PolarsError

from auxin import files
from auxin.errors import AuxinError, Interrupted, RunError
from auxin.experiment.data import Sentences
from auxin.lab.directory import LOCK, RUNS, Owner, check_no_links, claim, owner_of, runs_directory
from auxin.lab.finished import is_trained, run_at, take_over
from auxin.lab.named import NamedRun, Setting, check_names
from auxin.lab.plan import Plan
from auxin.lab.pool import Outcome
from auxin.lab.session import plan_session, train_session
from auxin.lab.sweep_file import Design, geometric, read_sweep
from auxin.lab.sweep_point import known_fields, shared
from auxin.lab.sweep_record import SWEEP, TABLE, Axis, Sweep, holds_sweep, open_sweep
from auxin.lab.sweep_table import RESERVED, Start, summary_table
from auxin.runs import Run
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
        only: "i/n": every n-th run from the i-th on, as for one task of an array of n.
        reuse: directories of other sweeps or studies, from which finished runs of the same settings and sentences are
            copied.
        progress: show a bar on stderr.

    A run that fails does not stop the others; ``.runs`` says why. Ctrl-C and SIGTERM let all runs save, then raise
    ``SweepInterrupted``. Raises ``ConfigError`` for a sweep file that cannot be, ``RunError`` for a directory that is
    another's.

    >>> from dataclasses import replace
    >>> tiny = ModelConfig(depth=1, width=8, heads=2)
    >>> base = RunConfig(train_size=40, steps=1, eval_size=2, final_size=2, model=tiny)
    >>> found = sweep([NamedRun(f"batch-{n}", replace(base, batch_size=n)) for n in (2, 4)], "swept", workers=1)
    >>> found.table["batch_size"].to_list()
    [2, 4]
    """
    train_sweep(designed(runs), out, workers=workers, ray=ray, only=only, reuse=reuse, progress=progress)
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
    full = 1
    for each in values.values():
        full *= len(each)
    axes = [
        Axis(n, tuple(v), geometric(v), drawn=len(points) < full) for n, v in values.items() if len(v) > 1
    ]
    owner = Owner() if derived else Owner(axes=tuple(names), settings=_constant(runs, names))
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


def plan_sweep(
    design: Design, out: str | Path, *, workers: int = 0, only: str = "", reuse: Sequence[str | Path] = ()
) -> Plan:
    """What remains to be trained of a sweep, and its cost here."""
    owner = _owner(design, Sentences())
    return plan_session(_part(design.runs, only), out, owner, workers=workers, reuse=reuse)


def train_sweep(
    design: Design,
    out: str | Path,
    *,
    workers: int = 0,
    ray: str = "",
    only: str = "",
    reuse: Sequence[str | Path] = (),
    progress: bool = False,
) -> list[Outcome]:
    """Train what remains of a sweep, or of its part ``only``, and write its table, also when it is stopped.

    A part may be empty. Raises ``RunError``, before anything is written, where ``out`` is another sweep's.
    """
    part, data = _part(design.runs, only), Sentences()
    settings = {run.name: run.settings for run in design.runs}
    configs = {run.name: run.config for run in design.runs}
    done = lambda run: run.path.name not in configs or is_trained(configs[run.path.name], run.path, data)
    owner, options = _owner(design, data), {"data": data, "progress": progress}
    try:
        outcomes = train_session(part, out, owner, workers=workers, ray=ray, reuse=reuse, **options)
    except Interrupted:
        tabulate(design.axes, settings, out, done, theory=False)  # which may take minutes
        raise
    why = {outcome.name: outcome.detail for outcome in outcomes if outcome.status == "failed"}
    tabulate(design.axes, settings, out, done, why=why)
    return outcomes


def _owner(design: Design, data: Data) -> Owner:
    """What tells a sweep from others, with its sentences where no axis has a say in them."""
    axes, config = design.owner.axes, design.runs[0].config
    varied = any(name in DECIDE_DATA or name.startswith("dials.") for name in axes)
    places = {(run.config.data_dir, run.config.grammar) for run in design.runs}
    return design.owner if varied or len(places) > 1 else replace(design.owner, data=data(config))


def _part(runs: list[NamedRun], only: str) -> list[NamedRun]:
    """Every n-th run from the i-th on, for ``i/n``; all for nothing."""
    if not only:
        return runs
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", only)
    i, n = (int(found[1]), int(found[2])) if found else (0, 0)
    check(1 <= i <= n, "only", only, "i/n with i from 1 to n")
    return runs[i - 1 :: n]


def tabulate(
    axes: Sequence[Axis],
    planned: Mapping[str, Mapping[str, Setting]],
    out: str | Path,
    done: Callable[[Run], bool],
    *,
    why: Mapping[str, str] | None = None,
    known: Mapping[str, Start] | None = None,
    theory: bool = True,
) -> None:
    """Write ``table.csv`` and ``sweep.json`` of what has finished in ``out``: the same bytes, whoever trained it.

    ``planned`` are the settings of runs by name; what else the sweep in ``out`` has finished comes after them.
    ``done`` says whether a finished run is the planned one, ``why`` of runs that they failed; ``known`` are exponents
    by the identity of a run.
    """
    directory, why = Path(out) / RUNS, why or {}
    # what another process finishes meanwhile, it will tabulate after us
    out = files.directory(out, make=True)
    with files.lock(out / LOCK, wait=True):
        files.remove_temporaries(out)
        axes, planned = _with_finished(axes, planned, out)
        runs = {name: run for name in planned if (run := run_at(directory / name)) and run.finished}
        identities = {name: run.identity for name, run in runs.items() if done(run)}
        known = {**_known_starts(out), **(known or {})}
        starts = {name: known[i] for name, i in identities.items() if i in known}
        content = io.BytesIO()
        summary_table(planned, list(identities), directory, starts, theory).write_csv(content)
        files.replace(out / TABLE, content.getvalue())
        records = [
            {
                "name": name,
                "status": "finished" if name in identities else "failed" if name in why else "unfinished",
                "detail": "" if name in identities else why.get(name, ""),
                "settings": dict(settings),
                "identity": identities.get(name, ""),
            }
            for name, settings in planned.items()
        ]
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        plain = [{**asdict(axis), "values": list(axis.values)} for axis in axes]
        values = {"axes": plain, "runs": records, "table_sha256": digest}
        files.replace(out / SWEEP, files.dump_signed(values))


def _with_finished(
    axes: Sequence[Axis], planned: Mapping[str, Mapping[str, Setting]], out: Path
) -> tuple[Sequence[Axis], Mapping[str, Mapping[str, Setting]]]:
    """With the runs that the sweep in a directory has finished beside the planned ones: nothing gets lost."""
    try:
        there = open_sweep(out)
    except AuxinError:  # none yet, or damaged: what is planned is written anew
        return axes, planned
    more = {
        run.name: run.settings for run in there.runs if run.status == "finished" and run.name not in planned
    }
    if more and [axis.name for axis in axes] == [axis.name for axis in there.axes]:
        axes = _united([axes, there.axes])
    return axes, {**planned, **more}


def _known_starts(path: Path) -> dict[str, Start]:
    """The exponents in a sweep's table by the identity of the run that they were computed for: they take long."""
    with contextlib.suppress(AuxinError, PolarsError):
        sweep = open_sweep(path)
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
    parts = [open_sweep(path) for path in paths]
    there = [open_sweep(out)] if Path(out).is_dir() and holds_sweep(out) else []
    everything = [*parts, *there]
    axes = _united([part.axes for part in everything])
    planned: dict[str, Mapping[str, Setting]] = {}
    for run in (run for part in everything for run in part.runs):
        known = planned.setdefault(run.name, run.settings)
        check(run.settings == known, f"settings of {run.path}", run.settings, f"{known}, as before")
    owner = _common_owner([part.path for part in everything])
    sources = _intact_runs([part.path for part in everything], list(planned), Path(out) / RUNS)
    claim(out, owner)
    take_over(sources, runs_directory(out))
    starts = {i: start for part in everything for i, start in _known_starts(part.path).items()}
    tabulate(axes, planned, out, lambda _: True, known=starts)
    return open_sweep(out)


def _common_owner(paths: Sequence[Path]) -> Owner:
    """What several sweeps have in common; ``RunError`` for one that is another sweep than the first."""
    owners: list[Owner] = []
    for path in paths:
        owner = owner_of(files.directory(path)) or Owner()
        if owners and (why := owners[0].difference(owner)):
            raise RunError(f"{path}: another sweep than the one in {paths[0]} ({why})")
        owners.append(owner)
    same = {n: v for n, v in owners[0].settings.items() if all(n in owner.settings for owner in owners)}
    return replace(owners[0], settings=same)


def _intact_runs(sweeps: Sequence[Path], names: Sequence[str], target: Path) -> dict[str, Run]:
    """Of each run that is to be copied to ``target``, by name, the first intact one that a sweep has finished."""
    for path in sweeps:
        check_no_links(path)
    places = dict.fromkeys((target, *(path / RUNS for path in sweeps)))
    found: dict[str, Run] = {}
    for name in names:
        runs = [run for place in places if (run := run_at(place / name))]
        for run in runs[1:]:
            if why := run.difference(runs[0].config, lambda _, first=runs[0]: first.data):
                raise RunError(f"{run.path}: another run than {runs[0].path} ({why})")
        finished = [run for run in runs if run.finished]
        if finished and (run := _first_intact(finished)).path != target / name:
            found[name] = run
    return found


def _first_intact(runs: Sequence[Run]) -> Run:
    """The first run whose files are what was written; raises the error of the first where there is none."""
    errors: list[AuxinError] = []
    for run in runs:
        try:
            run.verify()
        except AuxinError as error:
            errors.append(error)
        else:
            return run
    raise errors[0]


def _united(all_axes: Sequence[Sequence[Axis]]) -> tuple[Axis, ...]:
    """The same axes with the values of all."""
    first = all_axes[0]
    names = [axis.name for axis in first]
    for axes in all_axes:
        own = [axis.name for axis in axes]
        check(
            own == names, "axes of a sweep to merge", own, f"those of the first, {', '.join(names) or 'none'}"
        )
    united: list[Axis] = []
    for same in zip(*all_axes, strict=True):
        values = list(dict.fromkeys(value for axis in same for value in axis.values))
        if len(values) > len(same[0].values):
            values = values if same[0].categorical else sorted(values)
        united.append(Axis(same[0].name, tuple(values), all(a.log for a in same), any(a.drawn for a in same)))
    return tuple(united)
