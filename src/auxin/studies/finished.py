"""Runs that need no training: those finished before, here or in another study."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from auxin.config import RunConfig
from auxin.disk.folder import Folder, failing_clearly, unforeseen
from auxin.errors import AuxinError, RunError
from auxin.experiment.data import anchored
from auxin.runs import open_run
from auxin.runs.copying import copy_run
from auxin.studies.design import NamedRun
from auxin.studies.directory import RUNS
from auxin.values import check


def is_finished(run: NamedRun, directory: Path) -> bool:
    """Whether ``directory`` holds this very run, complete."""
    return is_trained(run.config, directory / run.name)


def is_trained(config: RunConfig, path: Path) -> bool:
    """Whether the finished run of a config is at ``path``."""
    there = finished_config(path)
    return there is not None and serves(there, config)


def finished_config(path: Path) -> RunConfig | None:
    """The config of the finished run at ``path``; None for anything else."""
    try:
        run = open_run(path)
        return run.config if run.finished else None
    except AuxinError:
        return None  # training it will say what is wrong


def serves(there: RunConfig, wanted: RunConfig) -> bool:
    """Whether a run of the config ``there`` has every number that one of ``wanted`` would have, to the bit.

    A run that began has filled in the vocabulary size. Structural measures are taken at checkpoints, so without
    any it does not matter when those were written.
    """
    there, wanted = anchored(there), anchored(wanted)
    there = replace(there, model=replace(there.model, vocabulary_size=wanted.model.vocabulary_size))
    if not wanted.measures:
        there = replace(there, measures=(), checkpoint_every=wanted.checkpoint_every)
    return there == wanted


def reusable(runs: Sequence[NamedRun], directory: Path, sources: Sequence[str | Path]) -> dict[str, Path]:
    """Of the runs that ``directory`` has nothing of, by name, a finished run of the same config in another study.

    ``sources`` are directories of studies; ``ConfigError`` for one that has no runs.
    """
    configs: dict[Path, RunConfig] = {}
    for source in sources:
        found = {path: finished_config(path) for path in _runs_in(Path(source))}
        configs |= {path: config for path, config in found.items() if config is not None}
    same: dict[str, Path] = {}
    taken = {path.name for path in directory.iterdir()} if directory.is_dir() else set[str]()
    for run in runs:
        paths = (path for path, config in configs.items() if serves(config, run.config))
        if run.name not in taken and (path := next(paths, None)):
            same[run.name] = path
    return same


def _runs_in(study: Path) -> list[Path]:
    """What may be a run in another study; links are not."""
    with Folder.open(study) as folder:
        check(
            folder.kind(RUNS) == "directory", "reuse", str(study), "the directory of a study, with its runs/"
        )
        with failing_clearly(study / RUNS), folder.sub(RUNS) as runs:
            return [study / RUNS / name for name in runs.names() if runs.kind(name) == "directory"]


def take_over(same: Mapping[str, Path], directory: Path) -> None:
    """Copy runs into ``directory`` under their new names; each copy is complete or not there.

    Only what a run consists of is copied, and never through a link. Raises ``RunError`` for a source that is damaged,
    and when a copy cannot be written.
    """
    if not same:
        return
    with Folder.make(directory) as runs, failing_clearly(directory), runs.lock(".lock", "", wait=True):
        runs.remove_temporaries()
        for name, source in same.items():
            if runs.kind(name) is None:
                _take_over(source, runs, name)


def _take_over(source: Path, runs: Folder, name: str) -> None:
    part = unforeseen()
    try:
        with Folder.open(source) as there, runs.make_sub(part) as copy:
            copy_run(there, copy)
        runs.rename(part, name)
        runs.sync()
    except BaseException:
        with contextlib.suppress(OSError, RunError):
            runs.remove(part)
        raise
