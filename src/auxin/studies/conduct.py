"""A whole study: its runs, its tables, its answer, in one directory."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import polars as pl
import torch

from auxin.experiment.data import Sentences
from auxin.lab.named import NamedRun, Outcome
from auxin.lab.places import RUNS, Owner, claim, has_finished
from auxin.lab.session import read_sessions
from auxin.lab.table import logged
from auxin.runs.record import open_study, runs_as_recorded, write_study
from auxin.runs.store import environment
from auxin.studies.analysis import Analysis, Study
from auxin.studies.design import Scale, StudyName
from auxin.values import changed, check


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
        return [NamedRun(run.name, changed(run.config, on_gpu), run.settings) for run in runs]
    return runs


def answer_study(name: str, scale: Scale, out: str | Path, outcomes: Sequence[Outcome] = ()) -> Analysis:
    """The answer from the finished runs in ``out``, written there for reports (``auxin.runs.record``).

    Raises ``ConfigError`` when no run has finished, and whatever the study's analysis lacks.
    """
    runs, data, directory = runs_of(name, scale), Sentences(), Path(out) / RUNS
    if not outcomes:
        done = [run.name for run in runs if has_finished(run.config, directory / run.name, data)]
        outcomes = [Outcome(run.name, "finished" if run.name in done else "stopped") for run in runs]
    metrics = logged(runs, out, data)
    claim(out, Owner(name, scale))
    analysis = load_study(name).analyse(metrics)
    place = Path(out).name if Path(out).is_absolute() else str(out)  # a record names no place of a machine
    about: dict[str, Any] = {
        "study": name,
        "scale": scale,
        "command": shlex.join(["auxin", "study", name, "--scale", scale, "--out", place]),
        "sessions": read_sessions(out),
        "environment": environment(runs[0].config),
    }
    save_study(
        out, analysis, metrics, about, [(o, run.settings) for o, run in zip(outcomes, runs, strict=True)]
    )
    return analysis


def answer_again(record: str | Path) -> Analysis:
    """The answer from a record's metrics by today's analysis, written into the record; its runs stay as they are.

    Raises ``RunError`` for what is damaged.
    """
    study = open_study(record)
    analysis = load_study(study.study).analyse(study.metrics)
    write_study(record, {**study.values, **_values(analysis)}, analysis.tables, study.metrics)
    return analysis


def save_study(
    out: str | Path,
    analysis: Analysis,
    metrics: pl.DataFrame,
    about: Mapping[str, Any],
    ends: Sequence[tuple[Outcome, Mapping[str, Any]]],
) -> None:
    """Write a study's record into its directory; raises ``RunError`` when it cannot be written.

    ``about`` joins ``study.json``: study, scale, command, sessions, environment; ``ends`` are the outcome and the
    settings of each run.
    """
    runs = [
        {"name": o.name, "status": o.status, "detail": o.detail, "settings": dict(settings)}
        for o, settings in ends
    ]
    shared, rows = runs_as_recorded(runs, Path(out) / RUNS)
    values = {**about, **_values(analysis), "shared": shared, "runs": rows}
    write_study(out, values, analysis.tables, metrics)


def _values(analysis: Analysis) -> dict[str, Any]:
    """What ``study.json`` has of an answer."""
    return {
        "question": analysis.question,
        "answer": analysis.answer,
        "more": analysis.more,
        "answered": list(analysis.answered),
        "claims": [asdict(claim) for claim in analysis.claims],
        "findings": [asdict(finding) for finding in analysis.findings],
    }
