"""Whether a run is there already, and is the one that is wanted: here, or where it can be copied from."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from auxin import files
from auxin.config import RunConfig
from auxin.errors import AuxinError, RunError
from auxin.experiment.data import Sentences
from auxin.lab.directory import RUNS
from auxin.lab.named import NamedRun
from auxin.runs import Run, open_run
from auxin.runs.run import Data
from auxin.runs.store import LOCK
from auxin.values import check


def is_finished(run: NamedRun, directory: Path, data: Data | None = None) -> bool:
    """Whether ``directory`` holds this very run, complete."""
    return is_trained(run.config, directory / run.name, data or Sentences())


def is_trained(config: RunConfig, path: Path, data: Data) -> bool:
    """Whether the finished run of a config is at ``path``."""
    run = run_at(path)
    try:
        return run is not None and run.finished and not run.difference(config, data)
    except AuxinError:
        return False  # training it will say what is wrong


def run_at(path: Path) -> Run | None:
    """The run at ``path``, None where nothing is that could be opened."""
    with contextlib.suppress(AuxinError):
        return open_run(path)
    return None


def check_places(runs: Sequence[NamedRun], directory: Path, data: Data) -> None:
    """Raise ``RunError`` where a run's place is taken by another one: of other settings, or other sentences."""
    for wanted in runs:
        run = run_at(directory / wanted.name)
        if run is not None and (why := run.difference(wanted.config, data)):
            raise RunError(f"{run.path}: holds another run ({why}); choose another directory")


def reusable(
    runs: Sequence[NamedRun], directory: Path, sources: Sequence[str | Path], data: Data | None = None
) -> dict[str, Run]:
    """Of the runs that are not finished in ``directory``, by name, the same one finished in another study.

    ``sources`` are directories of studies; ``ConfigError`` for one that has no runs.
    """
    data = data or Sentences()
    there = [run for source in sources for path in runs_in(Path(source)) if (run := run_at(path))]
    there = [run for run in there if run.finished]
    same: dict[str, Run] = {}
    for wanted in runs:
        if there and not is_trained(wanted.config, directory / wanted.name, data):
            found = next((run for run in there if not run.difference(wanted.config, data)), None)
            if found:
                same[wanted.name] = found
    return same


def runs_in(study: Path) -> list[Path]:
    """What may be a run in a study or a sweep; links are not."""
    files.directory(study)
    place = "the directory of a study, with its runs/"
    check(files.kind(study / RUNS) == "directory", "reuse", str(study), place)
    paths = [study / RUNS / name for name in files.names(study / RUNS)]
    return [path for path in paths if files.kind(path) == "directory"]


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
            with contextlib.suppress(files.Busy):
                _take_over(source, directory / name)


def _take_over(source: Run, path: Path) -> None:
    part, old = files.temporary(path.parent), files.temporary(path.parent)
    with contextlib.ExitStack() as held:
        there = files.kind(path) is not None
        if there:
            busy = "another process is writing this run"
            held.enter_context(files.lock(files.subdirectory(path) / LOCK, busy))
        try:
            source.copy_to(files.subdirectory(part, make=True))
            with files.failing_clearly(path):
                if there:
                    path.rename(old)
                part.rename(path)
            files.sync(path.parent)
        finally:
            with contextlib.suppress(RunError):
                files.remove(part)
                files.remove(old)
