"""The record of a study: what is kept when its checkpoints are not, and all that a page of it is made from.

In the study's directory, and wherever ``keep`` copies it:

- ``study.json``: study, scale, question, answer (its first sentence, ``more``, and the findings that ``answered``),
  claims, findings, command, sessions, environment of the answer; the settings and the environment that all runs
  ``shared``, and of each of the ``runs`` its name, status, varied settings and what was its own; SHA-256 of the other
  files, and its own.
- ``tables/NAME.csv``: each table.
- ``metrics.parquet``: what the finished runs logged: run, varied settings, step, member, split, name, value.

A run's ``environment`` has its versions, its commit, its machine, and the SHA-256 of the sentences it was trained on.
Files are not trusted: what is damaged raises ``RunError`` naming it.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from auxin import files
from auxin.errors import RunError
from auxin.runs.run import EVENTS, FILES, holds_run, open_run
from auxin.values import common, flat

STUDY, TABLES, METRICS, LOCK = "study.json", "tables", "metrics.parquet", "lock"
_FILE = re.compile(rf"{METRICS}|{TABLES}/[a-z][a-z0-9_]*\.csv")


@dataclass(frozen=True)
class RunRecord:
    """A run of a study."""

    name: str
    status: str
    """finished, failed or stopped."""
    detail: str
    """Why it failed."""
    settings: Mapping[str, Any]
    """What the study varies."""
    seconds: float | None
    """Wall time of the sessions whose end was noted; None when unknown."""
    config: Mapping[str, Any] | None = None
    """Its settings by dotted name; None for a run that never began."""
    environment: Mapping[str, Any] | None = None
    """Versions, commit, machine and SHA-256 of its sentences; None for a run that never began."""


@dataclass(frozen=True)
class StudyRecord:
    """A study's ``study.json``, its tables and its metrics."""

    path: Path
    values: Mapping[str, Any]
    """The content of ``study.json``."""

    @property
    def study(self) -> str:
        """Its name."""
        return self.values["study"]

    @cached_property
    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables by name; raises ``RunError`` naming a damaged one."""
        tables = [name for name in self.values["files_sha256"] if name != METRICS]
        return {Path(name).stem: self._table(name, infer_schema_length=None) for name in tables}

    @cached_property
    def metrics(self) -> pl.DataFrame:
        """What the finished runs logged; raises ``RunError`` when the file is damaged."""
        return self._table(METRICS)

    def _table(self, name: str, **options: Any) -> pl.DataFrame:
        content = self.file(name)
        try:
            reader = pl.read_parquet if name == METRICS else pl.read_csv
            return reader(io.BytesIO(content), **options)
        except (PolarsError, OverflowError, ValueError):
            raise RunError(f"{self.path / name}: not a table") from None

    def file(self, name: str) -> bytes:
        """The content of a file of ``files_sha256``; raises ``RunError`` when it is damaged."""
        path = self.path / name
        if path.parent != self.path:
            files.subdirectory(path.parent)
        content = files.read(path)
        if files.sha256(content) != self.values["files_sha256"].get(name):
            raise RunError(f"{path}: damaged (its SHA-256 is not the one in {STUDY})")
        return content

    @cached_property
    def runs(self) -> list[RunRecord]:
        """The runs in the study's order."""
        shared = self.values["shared"]
        runs: list[RunRecord] = []
        for run in self.values["runs"]:
            parts = {part: {**shared[part], **run[part]} for part in shared if part in run}
            end = run["name"], run["status"], run["detail"], run["settings"], run.get("seconds")
            runs.append(RunRecord(*end, **parts))
        return runs


def open_study(path: str | Path) -> StudyRecord:
    """Open an answered study's directory or record; raises ``RunError`` saying what is missing or wrong."""
    path = files.directory(path)
    if not files.is_file(path / STUDY):
        raise RunError(f"{path}: no answered study here ({STUDY} is missing); auxin study writes it")
    try:
        values = files.read_signed(path / STUDY)
    except RunError as error:
        raise RunError(f"{error}; the study's command writes it again") from None
    for name in values["files_sha256"]:
        if not _FILE.fullmatch(name):
            raise RunError(f"{path / STUDY}: lists {name!r}; allowed: {METRICS} and {TABLES}/NAME.csv")
    return StudyRecord(path, values)


def write_study(
    out: str | Path, answer: Mapping[str, Any], tables: Mapping[str, pl.DataFrame], metrics: pl.DataFrame
) -> None:
    """Write a study's record, ``study.json`` last; raises ``RunError`` when it cannot be written.

    ``answer`` is all of ``study.json`` but the digests.
    """
    contents = {
        f"{TABLES}/{n}.csv": t.write_csv(float_precision=6).encode() for n, t in sorted(tables.items())
    }
    parquet = io.BytesIO()
    metrics.write_parquet(parquet, compression_level=19)
    contents[METRICS] = parquet.getvalue()
    digests = {name: files.sha256(content) for name, content in contents.items()}
    _write(out, {**answer, "files_sha256": digests}, contents)


def _write(out: str | Path, values: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
    out = files.directory(out, make=True)
    with files.lock(out / LOCK, wait=True):  # for two that answer at a time: study.json must fit the rest
        files.remove_temporaries(out)
        for name in files.names(files.subdirectory(out / TABLES, make=True)):
            if f"{TABLES}/{name}" not in contents:
                files.remove(out / TABLES / name)
        for name, content in contents.items():
            files.replace(out / name, content)
        files.replace(out / STUDY, files.dump_signed(values))


def keep(source: str | Path, out: str | Path) -> None:
    """Copy the record of a study, or of a run all but its checkpoints, to ``out``, in place of one that is there.

    Raises ``RunError`` for what is damaged, and where ``out`` holds anything else.
    """
    source, out = Path(source), Path(out)
    if not holds_run(source):
        study = open_study(source)
        files.check_foreign(files.directory(out, make=True), {STUDY, TABLES, METRICS, LOCK})
        _write(out, study.values, {name: study.file(name) for name in study.values["files_sha256"]})
        return
    if open_run(source).metrics.is_empty():  # reads all of it once
        raise RunError(f"{source}: has logged nothing")
    contents = {name: files.read(source / name) for name in FILES if files.is_file(source / name)}
    files.check_foreign(files.directory(out, make=True), FILES)
    for name in FILES:
        if name in contents:
            files.replace(out / name, contents[name])
        else:
            files.remove(out / name)


def runs_as_recorded(
    runs: Sequence[Mapping[str, Any]], place: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the runs in ``place`` share, and each one's row for ``study.json``.

    ``runs`` have the name, status, detail and settings of each; raises ``RunError`` naming a damaged file.
    """
    there = {run["name"]: place / run["name"] for run in runs}
    is_one = lambda path: files.kind(place) == files.kind(path) == "directory" and holds_run(path)  # no link
    there = {name: open_run(path) for name, path in there.items() if is_one(path)}
    parts = {
        "config": {name: flat(run.config) for name, run in there.items()},
        "environment": {name: run.environment for name, run in there.items()},
    }
    shared = {part: common(list(found.values())) for part, found in parts.items()}
    rows: list[dict[str, Any]] = []
    for run in runs:
        name, varied = run["name"], dict[str, Any]()
        if name in there:
            for part, found in parts.items():
                varied[part] = {key: v for key, v in found[name].items() if key not in shared[part]}
        rows.append({**run, "seconds": wall_time(there[name].path) if name in there else None, **varied})
    return shared, rows


def wall_time(run: Path) -> float | None:
    """Seconds of the sessions whose end is in the run's events; None when there are none."""
    seconds, begun = None, ""
    for line in files.read_text(run / EVENTS).splitlines() if files.is_file(run / EVENTS) else ():
        when, _, event = line.partition(" ")
        if event.startswith(("created", "resumed")):
            begun = when
        elif begun and event.startswith(("finished", "stopped")):
            seconds = seconds or 0.0
            with contextlib.suppress(ValueError, TypeError):  # a full disk cuts lines
                seconds += (datetime.fromisoformat(when) - datetime.fromisoformat(begun)).total_seconds()
            begun = ""
    return seconds
