"""A sweep: runs over axes, trained in one directory by any number of processes, and one table of what came out."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polars.exceptions import PolarsError

from auxin.arguments import explained
from auxin.config import RunConfig
from auxin.disk.folder import Folder, failing_clearly
from auxin.disk.plain import dump_signed
from auxin.errors import AuxinError, Interrupted
from auxin.report.sweep_record import SWEEP, TABLE, Axis, Setting, Sweep, open_sweep
from auxin.runs.record import flat
from auxin.studies.design import NamedRun, check_names
from auxin.studies.directory import A_SWEEP, LOCK, RUNS, claim, runs_directory
from auxin.studies.finished import finished_config, is_trained, take_over
from auxin.studies.plan import Plan
from auxin.studies.pool import Outcome
from auxin.studies.session import plan_session, train_session
from auxin.studies.sweep_file import Design, geometric, read_sweep
from auxin.studies.sweep_table import RESERVED, Start, summary_table
from auxin.values import check


@explained
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
        reuse: directories of other sweeps or studies, from which finished runs of the same config are copied.
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
    check_names(runs)
    if not any(run.settings for run in runs):
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
    return Design(tuple(axes), list(runs))


def _plain(value: Any) -> Setting:
    return value if isinstance(value, (str, int, float)) else str(value)


def plan_sweep(
    design: Design, out: str | Path, *, workers: int = 0, only: str = "", reuse: Sequence[str | Path] = ()
) -> Plan:
    """What remains to be trained of a sweep, and its cost here."""
    return plan_session(_part(design.runs, only), out, A_SWEEP, workers=workers, reuse=reuse)


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
    """Train what remains of a sweep, or of its part ``only``, and write its table, also when it is stopped."""
    part = _part(design.runs, only)
    settings = {run.name: run.settings for run in design.runs}
    configs = {run.name: run.config for run in design.runs}
    try:
        outcomes = train_session(part, out, A_SWEEP, workers=workers, ray=ray, reuse=reuse, progress=progress)
    except Interrupted:
        tabulate(design.axes, settings, configs, out, theory=False)  # which may take minutes
        raise
    why = {outcome.name: outcome.detail for outcome in outcomes if outcome.status == "failed"}
    tabulate(design.axes, settings, configs, out, why=why)
    return outcomes


def _part(runs: list[NamedRun], only: str) -> list[NamedRun]:
    """Every n-th run from the i-th on, for ``i/n``; all for nothing."""
    if not only:
        return runs
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", only)
    i, n = (int(found[1]), int(found[2])) if found else (0, 0)
    check(1 <= i <= n, "only", only, "i/n with i from 1 to n")
    check(i <= len(runs), "only", only, f"up to {len(runs)} parts, as many as there are runs")
    return runs[i - 1 :: n]


def tabulate(
    axes: Sequence[Axis],
    planned: Mapping[str, Mapping[str, Setting]],
    configs: Mapping[str, RunConfig],
    out: str | Path,
    *,
    why: Mapping[str, str] | None = None,
    known: Mapping[str, Start] | None = None,
    theory: bool = True,
) -> None:
    """Write ``table.csv`` and ``sweep.json`` of what has finished in ``out``: the same bytes, whoever trained it.

    ``planned`` are the settings of all runs by name, ``configs`` those of the runs that may have finished; ``why``
    says of runs that they failed, ``known`` their exponents.
    """
    directory, why = Path(out) / RUNS, why or {}
    with (
        Folder.make(out) as folder,
        failing_clearly(folder.path),
        folder.lock(
            LOCK, "", wait=True
        ),  # what another process finishes meanwhile, it will tabulate after us
    ):
        folder.remove_temporaries()
        done = [n for n in planned if n in configs and is_trained(configs[n], directory / n)]
        content = io.BytesIO()
        summary_table(planned, done, directory, known or _known_starts(Path(out)), theory).write_csv(content)
        folder.replace(TABLE, content.getvalue())
        runs = [
            {
                "name": name,
                "status": "finished" if name in done else "failed" if name in why else "unfinished",
                "detail": "" if name in done else why.get(name, ""),
                "settings": dict(settings),
            }
            for name, settings in planned.items()
        ]
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        plain = [{**asdict(axis), "values": list(axis.values)} for axis in axes]
        folder.replace(SWEEP, dump_signed({"axes": plain, "runs": runs, "table_sha256": digest}))


def _known_starts(path: Path) -> dict[str, Start]:
    """The exponents in a sweep's table, by run: they take long."""
    try:
        rows = open_sweep(path).table.select("run", "angle_total", "gradient_total").iter_rows()
        return {run: (angle, gradient) for run, angle, gradient in rows}
    except (AuxinError, PolarsError):
        return {}


@explained
def merge(paths: Sequence[str | Path], out: str | Path) -> Sweep:
    """Copy the finished runs of sweeps into one directory and write their table; the sweeps stay as they are.

    Parts of one sweep (``only``) give the bytes of the whole. Sweeps of the same axes give one over all their values.
    Raises ``ConfigError`` for axes that differ, and for two runs of one name with different configs.
    """
    check(len(paths) > 0, "directories of sweeps", [], "one or more")
    parts = [open_sweep(path) for path in paths]
    axes = _united([part.axes for part in parts])
    planned: dict[str, Mapping[str, Setting]] = {}
    configs: dict[str, RunConfig] = {}
    sources: dict[str, Path] = {}
    for run in (run for part in parts for run in part.runs):
        known = planned.setdefault(run.name, run.settings)
        check(run.settings == known, f"settings of {run.path}", run.settings, f"{known}, as before")
        config = finished_config(run.path)
        if config is not None:
            there = configs.setdefault(run.name, config)
            check(config == there, f"config of {run.path}", "another", f"that of {sources.get(run.name)}")
            sources.setdefault(run.name, run.path)
    claim(out, A_SWEEP)
    directory = runs_directory(out)
    for name, config in configs.items():
        there = finished_config(directory / name)
        check(there in (None, config), f"config of {directory / name}", "another", f"that of {sources[name]}")
    take_over(sources, directory)
    known = {run: start for path in (*paths, out) for run, start in _known_starts(Path(path)).items()}
    tabulate(axes, planned, configs, out, known=known)
    return open_sweep(out)


def _united(all_axes: Sequence[tuple[Axis, ...]]) -> tuple[Axis, ...]:
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
