"""A whole study: its runs, its tables, its answer, in one directory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast, get_args

import polars as pl
import torch

from auxin.disk.folder import Folder, failing_clearly
from auxin.disk.plain import Number, conform, parse_json
from auxin.runs.environment import environment
from auxin.studies.answers import Analysis, save_study
from auxin.studies.design import NamedRun, Scale, StudyName
from auxin.studies.directory import RUNS, SESSIONS, check_unclaimed, claim, runs_directory
from auxin.studies.finished import is_finished, reusable, take_over
from auxin.studies.plan import Plan, check_fits, existing, plan
from auxin.studies.pool import Outcome
from auxin.studies.sweep import check_workers, default_workers, sweep, tables
from auxin.values import check

_SESSION = {"seconds": Number(0, 1e12), "workers": Number(0, 10**6, whole=True)}


class Study(Protocol):
    """What each study's module offers."""

    QUESTION: str

    def configs(self, scale: Scale) -> list[NamedRun]:
        """The runs at a scale."""
        ...

    def analyse(self, metrics: pl.DataFrame) -> Analysis:
        """The answer from the table of all finished runs."""
        ...


def load_study(name: str) -> Study:
    """The module of a study; raises ``ConfigError`` for an unknown name."""
    check(name in get_args(StudyName), "study", name, ", ".join(get_args(StudyName)))
    return cast(Study, import_module(f"auxin.studies.{name}"))


def runs_of(name: str, scale: Scale) -> list[NamedRun]:
    """A study's runs on this machine: at ``paper`` scale on a GPU, in tf32, where there is one."""
    check(scale in get_args(Scale), "scale", scale, ", ".join(get_args(Scale)))
    runs = load_study(name).configs(scale)
    if scale == "paper" and torch.cuda.is_available():
        on_gpu = {"device": "cuda", "precision": "tf32"}
        return [dataclasses.replace(run, config=dataclasses.replace(run.config, **on_gpu)) for run in runs]
    return runs


def plan_study(
    name: str, scale: Scale, out: str | Path, *, workers: int = 0, reuse: Sequence[str | Path] = ()
) -> Plan:
    """What remains to be trained of a study, and its cost here; raises ``ConfigError`` for what cannot fit."""
    check_workers(workers)
    directory = Path(out) / RUNS
    if (present := existing(Path(out))) == Path(out).absolute():
        with Folder.open(present) as folder:
            check_unclaimed(folder, name, scale)
    runs = [run for run in runs_of(name, scale) if not is_finished(run, directory)]
    same = reusable(runs, directory, reuse)
    runs = [run for run in runs if run.name not in same]
    return plan(runs, out, workers=workers or default_workers([run.config for run in runs]))


def train_study(
    name: str,
    scale: Scale,
    out: str | Path,
    *,
    workers: int = 0,
    ray: str = "",
    reuse: Sequence[str | Path] = (),
    progress: bool = False,
) -> list[Outcome]:
    """Train what remains of a study in ``out``; options and errors as for ``sweep``, and what cannot fit.

    What finished with the same config in one of the studies ``reuse`` is copied from there.
    """
    check_workers(workers)
    runs = runs_of(name, scale)
    claim(out, name, scale)
    directory = runs_directory(out)
    take_over(reusable(runs, directory, reuse), directory)
    remaining = [run for run in runs if not is_finished(run, directory)]
    workers = workers or default_workers([run.config for run in remaining])
    if not ray:
        check_fits(remaining, out, workers)
    since = time.monotonic()
    try:
        return sweep(runs, out, workers=workers, ray=ray, progress=progress)
    finally:
        _note_session(Path(out), time.monotonic() - since, workers)


def answer_study(name: str, scale: Scale, out: str | Path, outcomes: Sequence[Outcome] = ()) -> Analysis:
    """The answer from the finished runs in ``out``, written there for reports; see ``answers`` for the files.

    Raises ``ConfigError`` when no run has finished, and whatever the study's analysis lacks.
    """
    runs = runs_of(name, scale)
    if not outcomes:
        there = [is_finished(run, Path(out) / RUNS) for run in runs]
        outcomes = [
            Outcome(r.name, "finished" if done else "stopped") for r, done in zip(runs, there, strict=True)
        ]
    metrics = tables(runs, out)
    claim(out, name, scale)
    analysis = load_study(name).analyse(metrics)
    about: dict[str, Any] = {
        "study": name,
        "scale": scale,
        "command": shlex.join(["auxin", "study", name, "--scale", scale, "--out", str(out)]),
        "sessions": read_sessions(Path(out)),
        "environment": environment(runs[0].config),
    }
    save_study(out, analysis, metrics, runs, outcomes, about)
    return analysis


def _note_session(out: Path, seconds: float, workers: int) -> None:
    """Append this session's wall time: a study may take several."""
    line = json.dumps({"seconds": round(seconds, 1), "workers": workers}) + "\n"
    with (
        Folder.open(out) as folder,
        failing_clearly(out / SESSIONS),
        os.fdopen(folder.descriptor(SESSIONS, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as file,
    ):
        file.write(line)


def read_sessions(out: Path) -> list[dict[str, Any]]:
    """Seconds and workers of every sitting; a line that a kill cut short, or that is none, is left out."""
    sessions: list[dict[str, Any]] = []
    with Folder.open(out) as folder:
        lines = folder.read_text(SESSIONS).splitlines() if folder.has(SESSIONS) else []
    for line in lines:
        with contextlib.suppress(ValueError):
            session = parse_json(line)
            conform(session, _SESSION, "")
            sessions.append(session)
    return sessions
