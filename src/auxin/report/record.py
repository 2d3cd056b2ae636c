"""What ``auxin study`` left in a directory, read for drawing; its content is not trusted."""

from __future__ import annotations

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
from auxin.errors import RunError
from auxin.runs.files import read_object, read_text
from auxin.runs.reader import open_run
from auxin.values import to_dict

NUMBER = (int, float, type(None))
SHAPE: Mapping[str, type | Mapping[str, type | tuple[type, ...]]] = {
    "study": str,
    "scale": str,
    "question": str,
    "answer": str,
    "command": str,
    "environment": dict,
    "claims": {"statement": str, "source": str, "verdict": str, "evidence": str},
    "findings": {
        "name": str, "sentence": str, "value": NUMBER, "low": NUMBER, "high": NUMBER, "published": NUMBER
    },
    "runs": {"name": str, "status": str, "detail": str, "settings": dict},
    "sessions": {"seconds": (int, float), "workers": int},
}  # fmt: skip
"""What ``study.json`` must hold: a type, or for a list what each of its objects must hold."""


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
    """The content of ``study.json``, of the shape ``SHAPE``."""

    @property
    def study(self) -> str:
        """Which of the five."""
        return self.values["study"]

    @cached_property
    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables by name; raises ``RunError`` naming a damaged one."""
        files = sorted((self.path / "tables").glob("*.csv"))
        return {file.stem: _read_table(file) for file in files}

    @cached_property
    def runs(self) -> list[RunRecord]:
        """The runs in the study's order; raises ``RunError`` naming a damaged file."""
        return [_read_run(self.path / "runs", run) for run in self.values["runs"]]


def open_study(path: str | Path) -> StudyRecord:
    """Open the directory of an answered study; raises ``RunError`` saying what is missing or wrong."""
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"{path}: no such directory")
    file = path / "study.json"
    if not file.is_file():
        raise RunError(f"{path}: no answered study here (study.json is missing); auxin study writes it")
    values = read_object(file)
    for name, shape in SHAPE.items():
        _check(file, name, values.get(name), shape if isinstance(shape, type) else list)
        if not isinstance(shape, type):
            for item in values[name]:
                _check(file, name, item, dict)
                for key, kind in shape.items():
                    _check(file, f"{name}: {key}", item.get(key), kind)
    return StudyRecord(path, values)


def _check(file: Path, name: str, value: object, kind: type | tuple[type, ...]) -> None:
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        allowed = " or ".join(k.__name__ for k in kinds if k is not type(None))
        found = "missing" if value is None else f"a {type(value).__name__}"
        raise RunError(f"{file}: {name} is {found}; allowed: {allowed}; the study's command writes it again")


def _read_table(file: Path) -> pl.DataFrame:
    content = read_text(file, limit=1 << 28).encode()
    try:
        return pl.read_csv(content, infer_schema_length=None)
    except PolarsError:
        raise RunError(f"{file}: not a table") from None


def _read_run(directory: Path, run: Mapping[str, Any]) -> RunRecord:
    name, status, detail = run["name"], run["status"], run["detail"]
    path = directory / name
    if path.parent != directory or not (path / "config.toml").is_file():
        return RunRecord(name, status, detail, None, {}, None)
    there = open_run(path)
    return RunRecord(name, status, detail, flat(there.config), there.environment, _wall_time(path))


def flat(config: RunConfig) -> dict[str, Any]:
    """A run's settings by dotted name, as ``auxin train`` has them."""
    settings: dict[str, Any] = {}
    for name, value in to_dict(config).items():
        inner = value if isinstance(value, dict) else None
        settings |= {f"{name}.{key}": item for key, item in inner.items()} if inner else {name: value}
    return settings


def _wall_time(run: Path) -> float | None:
    """Seconds of the sessions whose end is in the run's events; None when there are none."""
    events = run / "events.log"
    if not events.is_file():
        return None
    lines = [line.partition(" ") for line in read_text(events, limit=1 << 24).splitlines()]
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
