"""Runs that need no training: those finished before, here or in another study."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from auxin.config import RunConfig
from auxin.errors import AuxinError
from auxin.runs import open_run
from auxin.runs.files import failing_clearly, sync_directory
from auxin.studies.design import NamedRun
from auxin.values import check


def is_finished(run: NamedRun, directory: Path) -> bool:
    """Whether ``directory`` holds this very run, complete."""
    config = finished_config(directory / run.name)
    return config is not None and serves(config, run.config)


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
        there = Path(source) / "runs"
        check(there.is_dir(), "reuse", str(source), "the directory of a study, with its runs/")
        found = {path: finished_config(path) for path in sorted(there.iterdir())}
        configs |= {path: config for path, config in found.items() if config is not None}
    same: dict[str, Path] = {}
    for run in runs:
        paths = (path for path, config in configs.items() if serves(config, run.config))
        if not (directory / run.name).exists() and (path := next(paths, None)):
            same[run.name] = path
    return same


def take_over(same: Mapping[str, Path], directory: Path) -> None:
    """Copy runs into ``directory`` under their new names; each copy is complete or not there.

    Raises ``RunError`` when one cannot be written.
    """
    for name, source in same.items():
        part = directory / f".{name}.part"
        with failing_clearly(part):
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(source, part, ignore=shutil.ignore_patterns("lock"))
            part.rename(directory / name)
            sync_directory(directory)
