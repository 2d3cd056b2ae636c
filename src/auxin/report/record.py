"""What ``auxin study`` left in a directory, read for drawing; its content is not trusted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from auxin.config import RunConfig
from auxin.disk.folder import Folder, failing_clearly
from auxin.disk.plain import Each, Number, read_signed
from auxin.errors import RunError
from auxin.runs.reader import open_run
from auxin.runs.settings import CONFIG
from auxin.runs.store import EVENTS
from auxin.values import to_dict

_UNKNOWN = Number(unknown=True)
SHAPE = {
    "study": str,
    "scale": str,
    "question": str,
    "answer": str,
    "command": str,
    "environment": dict,
    "claims": [{"statement": str, "source": str, "verdict": str, "evidence": str}],
    "findings": [
        {
            "name": str,
            "sentence": str,
            "value": _UNKNOWN,
            "low": _UNKNOWN,
            "high": _UNKNOWN,
            "published": _UNKNOWN,
        }
    ],
    "runs": [{"name": str, "status": str, "detail": str, "settings": dict}],
    "sessions": [{"seconds": Number(0, 1e12), "workers": Number(0, 10**6, whole=True)}],
    "tables?": [str],
    "tables_sha256?": Each(str),
}
"""What ``study.json`` must hold."""
STUDY = "study.json"
LONGEST_NAME = 255  # bytes
LARGEST_TABLE = 1 << 28  # bytes
_TABLE = re.compile(r"[a-z][a-z0-9_]{0,99}")


@dataclass(frozen=True)
class RunRecord:
    """A run of a study."""

    name: str
    status: str
    """finished, failed or stopped."""
    detail: str
    """Why it failed."""
    config: Mapping[str, Any] | None
    """Its settings by dotted name; None when its directory is not there."""
    environment: Mapping[str, Any]
    seconds: float | None
    """Wall time of the sessions whose end was noted; None when unknown."""


@dataclass(frozen=True)
class StudyRecord:
    """A study's ``study.json``, its tables and its runs."""

    path: Path
    values: Mapping[str, Any]
    """The content of ``study.json``, of this ``SHAPE``."""

    @property
    def study(self) -> str:
        """Its name."""
        return self.values["study"]

    @cached_property
    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables by name; raises ``RunError`` naming a damaged one."""
        with Folder.open(self.path) as study:
            if study.kind("tables") is None:
                return {}
            with failing_clearly(study.path / "tables"), study.sub("tables") as folder:
                digests = self.values.get("tables_sha256")
                names = [name.removesuffix(".csv") for name in folder.names() if name.endswith(".csv")]
                names = (
                    [name for name in names if _TABLE.fullmatch(name)] if digests is None else list(digests)
                )
                return {name: _read_table(folder, name, (digests or {}).get(name)) for name in names}

    @cached_property
    def runs(self) -> list[RunRecord]:
        """The runs in the study's order; raises ``RunError`` naming a damaged file."""
        return [_read_run(self.path, run) for run in self.values["runs"]]


def open_study(path: str | Path) -> StudyRecord:
    """Open the directory of an answered study; raises ``RunError`` saying what is missing or wrong."""
    with Folder.open(path) as folder:
        if not folder.has(STUDY):
            raise RunError(f"{path}: no answered study here (study.json is missing); auxin study writes it")
        try:
            values = read_signed(folder, STUDY, SHAPE, SHAPE)
        except RunError as error:
            raise RunError(f"{error}; the study's command writes it again") from None
    return StudyRecord(Path(path), values)


def _read_table(folder: Folder, name: str, digest: str | None) -> pl.DataFrame:
    """A table whose SHA-256 is the recorded one, where there is one."""
    file = folder.path / f"{name}.csv"
    content = folder.read(file.name, LARGEST_TABLE)
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise RunError(f"{file}: damaged (its SHA-256 is not the one in {STUDY})")
    try:
        return pl.read_csv(content, infer_schema_length=None)
    except (PolarsError, OverflowError, ValueError):
        raise RunError(f"{file}: not a table") from None


def _read_run(study: Path, run: Mapping[str, Any]) -> RunRecord:
    name, status, detail = run["name"], run["status"], run["detail"]
    path = study / "runs" / name
    if not _is_run(study, name):
        return RunRecord(name, status, detail, None, {}, None)
    there = open_run(path)
    return RunRecord(name, status, detail, flat(there.config), there.environment, _wall_time(path))


def _is_run(study: Path, name: str) -> bool:
    """Whether a study has a run of that name: in its own directory, neither above nor behind a link."""
    if name in ("", ".", "..") or "/" in name or len(name.encode()) > LONGEST_NAME:
        return False
    with Folder.open(study) as folder:
        if folder.kind("runs") != "directory":
            return False
        with failing_clearly(folder.path / "runs"), folder.sub("runs") as runs:
            if runs.kind(name) != "directory":
                return False
            with runs.sub(name) as run:
                return run.has(CONFIG)


def flat(config: RunConfig) -> dict[str, Any]:
    """A run's settings by dotted name, as ``auxin train`` has them."""
    settings: dict[str, Any] = {}
    for name, value in to_dict(config).items():
        inner = value if isinstance(value, dict) else None
        settings |= {f"{name}.{key}": item for key, item in inner.items()} if inner else {name: value}
    return settings


def _wall_time(run: Path) -> float | None:
    """Seconds of the sessions whose end is in the run's events; None when there are none."""
    with Folder.open(run) as folder:
        if not folder.has(EVENTS):
            return None
        lines = [line.partition(" ") for line in folder.read_text(EVENTS, 1 << 24).splitlines()]
    marks = [
        (when, event.split()[0]) for when, _, event in lines
        if event.startswith(("created", "resumed", "finished", "stopped"))
    ]  # fmt: skip
    seconds = [
        _seconds(begin, end)
        for (begin, what), (end, then) in pairwise(marks)
        if what in ("created", "resumed") and then in ("finished", "stopped")
    ]
    return sum(seconds) if seconds else None


def _seconds(begin: str, end: str) -> float:
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
