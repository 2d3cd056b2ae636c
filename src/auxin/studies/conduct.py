"""A whole study: its runs, its tables, its answer, in one directory."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import torch

from auxin.lab.directory import RUNS, Owner, claim
from auxin.lab.finished import is_finished
from auxin.lab.named import NamedRun
from auxin.lab.plan import Plan
from auxin.lab.pool import Outcome
from auxin.lab.session import plan_session, read_sessions, train_session
from auxin.lab.training import tables
from auxin.runs.environment import environment
from auxin.runs.record import open_study, write_study
from auxin.studies.answers import Analysis, Study, answer_values, save_study
from auxin.studies.design import Scale, StudyName
from auxin.values import check


def load_study(name: str) -> Study:
    """A study by its name; raises ``ConfigError`` for an unknown one."""
    check(name in get_args(StudyName), "study", name, ", ".join(get_args(StudyName)))
    return import_module(f"auxin.studies.{name}").STUDY


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
    return plan_session(runs_of(name, scale), out, Owner(name, scale), workers=workers, reuse=reuse)


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
    """Train what remains of a study in ``out``; options and errors as for ``train_session``."""
    runs = runs_of(name, scale)
    return train_session(
        runs, out, Owner(name, scale), workers=workers, ray=ray, reuse=reuse, progress=progress
    )


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
    claim(out, Owner(name, scale))
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


def answer_again(record: str | Path) -> Analysis:
    """The answer from a record's metrics by today's analysis, written into the record; its runs stay as they are.

    Raises ``RunError`` for what is damaged.
    """
    study = open_study(record)
    analysis = load_study(study.study).analyse(study.metrics)
    write_study(record, {**study.values, **answer_values(analysis)}, analysis.tables, study.metrics)
    return analysis
