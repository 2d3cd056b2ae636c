"""The directory of a study or a sweep: whose it is, which of its runs have finished, and what is copied there.

What auxin writes there is auxin's own. Nothing is read or written through a link.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from auxin import files
from auxin.config import RunConfig
from auxin.errors import AuxinError, RunError
from auxin.lab.named import NamedRun
from auxin.lab.sweep_record import SWEEP, TABLE
from auxin.runs import Run, open_run
from auxin.runs.run import Data
from auxin.runs.store import LOCK as RUN_LOCK
from auxin.values import check

CLAIM, STUDY, SESSIONS, LOG, LOCK = "claim.json", "study.json", "sessions.jsonl", "workers.log", "lock"
RUNS, TABLES, FIGURES, METRICS = "runs", "tables", "figures", "metrics.parquet"
OWN = (CLAIM, STUDY, SWEEP, TABLE, SESSIONS, LOG, LOCK, RUNS, TABLES, FIGURES, METRICS)


@dataclass(frozen=True)
class Owner:
    """Whose a directory is: a study at a scale, or a sweep, which is known by what all its runs share."""

    study: str = ""
    scale: str = ""
    axes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of a sweep: by dotted name what is the same in all its runs, whatever the values of its axes."""
    data: str = ""
    """SHA-256 of its sentences, where they are the same in all its runs."""

    def difference(self, other: Owner) -> str:
        """What tells one from the other, in words; empty where both may have runs in one directory."""
        mine, others = (
            {"study": owner.study, "scale": owner.scale, "axes": ", ".join(owner.axes), **owner.settings,
             "SHA-256 of the sentences": owner.data}
            for owner in (self, other)
        )  # fmt: skip
        differing = (name for name in mine if name in others and mine[name] != others[name])
        return next((f"{name} is {mine[name]!r} there, {others[name]!r} here" for name in differing), "")


def claim(out: str | Path, owner: Owner) -> None:
    """Take a directory, made if need be, for its owner.

    Raises ``RunError`` when it is another's, or holds what neither study nor sweep left there.
    """
    out = files.directory(out, make=True)
    with files.lock(out / LOCK, wait=True):
        check_owner(out, owner)
        if not files.is_file(out / CLAIM):
            files.replace(out / CLAIM, files.dump_signed(asdict(owner)))


def check_owner(out: Path, owner: Owner) -> None:
    """Raise ``RunError`` when a directory is another's, or holds what neither study nor sweep left there."""
    if files.is_file(files.directory(out) / CLAIM):
        there: dict[str, Any] = files.read_signed(out / CLAIM)
        there["axes"] = tuple(there.get("axes", ()))
        if why := Owner(**there).difference(owner):
            raise RunError(f"{out}: holds another study or sweep ({why}); choose another directory")
    else:
        files.check_foreign(out, OWN)


def runs_directory(out: str | Path) -> Path:
    """Where the runs are, made if need be; ``RunError`` where it, or a run in it, is a link."""
    runs = files.subdirectory(files.directory(out, make=True) / RUNS, make=True)
    for name in files.names(runs):
        if files.kind(runs / name) == "link":
            files.subdirectory(runs / name)  # says so
    return runs


def run_at(path: Path) -> Run | None:
    """The run at ``path``, None where nothing is that could be opened."""
    with contextlib.suppress(AuxinError):
        return open_run(path)
    return None


def has_finished(config: RunConfig, path: Path, data: Data) -> bool:
    """Whether the finished run of a config, and no other one, is at ``path``."""
    run = run_at(path)
    try:
        return run is not None and run.finished and not run.difference(config, data)
    except AuxinError:
        return False  # training it will say what is wrong


def check_places(runs: Sequence[NamedRun], directory: Path, data: Data) -> None:
    """Raise ``RunError`` where a run's place is taken by another one: of other settings, or other sentences."""
    for wanted in runs:
        run = run_at(directory / wanted.name)
        if run is not None and (why := run.difference(wanted.config, data)):
            raise RunError(f"{run.path}: holds another run ({why}); choose another directory")


def reusable(
    runs: Sequence[NamedRun], directory: Path, sources: Sequence[str | Path], data: Data
) -> dict[str, Run]:
    """Of the runs that are not finished in ``directory``, by name, the same one finished in another study or sweep.

    ``sources`` are directories of these; ``ConfigError`` for one that has no runs.
    """
    there: list[Run] = []
    for source in map(Path, sources):
        place = files.directory(source) / RUNS
        is_one = files.kind(place) == "directory"
        check(is_one, "reuse", str(source), "the directory of a study, with its runs/")
        paths = [path for name in files.names(place) if files.kind(path := place / name) == "directory"]
        there += [run for path in paths if (run := run_at(path)) and run.finished]
    left = [run for run in runs if there and not has_finished(run.config, directory / run.name, data)]
    same = {run.name: [r for r in there if not r.difference(run.config, data)] for run in left}
    return {name: found[0] for name, found in same.items() if found}


def take_over(same: Mapping[str, Run], directory: Path) -> None:
    """Copy finished runs into ``directory`` under their new names; each copy is complete or not there.

    Only what a run consists of is copied, and nothing through a link. An unfinished run in that place is replaced,
    unless a process is at it. Raises ``RunError`` when a copy cannot be written.
    """
    if not same:
        return
    with files.lock(files.directory(directory, make=True) / ".lock", wait=True):
        files.remove_temporaries(directory)
        for name, source in same.items():
            path, part, old = directory / name, files.temporary(directory), files.temporary(directory)
            with contextlib.suppress(files.Busy), contextlib.ExitStack() as held:
                there = files.kind(path) is not None
                if there:
                    busy = "another process is writing this run"
                    held.enter_context(files.lock(files.subdirectory(path) / RUN_LOCK, busy))
                try:
                    source.copy_to(files.subdirectory(part, make=True))
                    with files.failing_clearly(path):
                        if there:
                            path.rename(old)
                        part.rename(path)
                    files.sync(directory)
                finally:
                    with contextlib.suppress(RunError):
                        files.remove(part)
                        files.remove(old)
