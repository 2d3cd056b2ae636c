"""Metrics as JSON lines: one number a line, appended, greppable, and cut back to a checkpoint exactly."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from auxin import files
from auxin.errors import RunError

if TYPE_CHECKING:
    import polars

METRICS, MEASURES, MEASURED = "metrics.jsonl", "measures.jsonl", "measures.json"


class Metric(NamedTuple):
    """One number: what ``name`` was on ``split`` for the ``member`` with that seed after ``step`` updates."""

    step: int
    member: int
    split: str
    name: str
    value: float
    """NaN, and ±∞ too, are written as null and read back as NaN: JSON has neither."""


def encode(row: Metric) -> bytes:
    """The row as one JSON line; floats are written so that they read back to the same bits."""
    value = float(row.value)
    written = value if math.isfinite(value) else None
    fields = {**row._asdict(), "step": int(row.step), "member": int(row.member), "value": written}
    return (json.dumps(fields, ensure_ascii=False) + "\n").encode()


def read_rows(path: Path) -> polars.DataFrame:
    """The rows of a file in order, none where it is missing; columns as the fields of ``Metric``.

    A last line without its end is a write in progress and left out. Raises ``RunError`` naming a file with a line that
    is something else.
    """
    import polars as pl
    from polars.exceptions import PolarsError

    kinds = (pl.Int64, pl.Int64, pl.String, pl.String, pl.Float64)
    schema = pl.Schema(zip(Metric._fields, kinds, strict=True))
    rows = pl.DataFrame(schema=schema)
    lines = (files.read(path) if files.is_file(path) else b"").rpartition(b"\n")[0]
    if not lines:
        return rows
    with contextlib.suppress(PolarsError):
        rows = pl.read_ndjson(lines, schema=schema).drop_nulls(Metric._fields[:4])
    if len(rows) <= lines.count(b"\n"):
        raise RunError(f"{path}: damaged (a line is no row of {', '.join(Metric._fields)})")
    return rows.with_columns(pl.col("value").fill_null(math.nan))


class RowFile:
    """A file of rows open for appending; knows its exact length and hash, so a checkpoint can record them."""

    def __init__(self, path: Path) -> None:
        """Create the file, or read it once for its hash."""
        self.path = path
        files.is_file(path)
        with (
            files.failing_clearly(path),
            os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "rb") as file,
        ):
            self._digest = hashlib.file_digest(file, "sha256")
            self.size = file.tell()

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole file in hexadecimal."""
        return self._digest.hexdigest()

    def append(self, rows: Iterable[Metric]) -> None:
        """Append rows in one write and wait until they are on the disk; on failure none of them stays.

        Raises ``RunError`` when the file is gone, was changed by someone else, or cannot grow.
        """
        content = b"".join(map(encode, rows))
        with files.failing_clearly(self.path):
            # without O_CREAT: a deleted directory must be noticed, not written into
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                if os.fstat(descriptor).st_size != self.size:
                    raise RunError(f"{self.path}: another program changed this file")
                files.write_synced(descriptor, content)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, self.size)
                raise
            finally:
                os.close(descriptor)
        self._digest.update(content)
        self.size += len(content)

    def cut(self, size: int) -> None:
        """Drop everything after the first ``size`` bytes."""
        with files.failing_clearly(self.path), open(self.path, "rb+") as file:
            os.ftruncate(file.fileno(), size)
            os.fsync(file.fileno())
            self._digest = hashlib.file_digest(file, "sha256")
            self.size = file.tell()


def starts_with(path: Path, size: int, digest: str) -> bool:
    """Whether a file's first ``size`` bytes are there and have this hash."""
    content = files.read(path)[:size]
    return len(content) == size and files.sha256(content) == digest


def check_measures(run: Path) -> None:
    """Raise ``RunError`` where measures are not what was written.

    ``measures.json`` holds length and hash of what is surely whole; rows that a kill left after it go unchecked.
    """
    if files.is_file(run / MEASURED):
        mark = files.read_json(run / MEASURED, size=int, sha256=str)
        if not starts_with(run / MEASURES, mark["size"], mark["sha256"]):
            raise RunError(f"{run / MEASURES}: damaged (its SHA-256 is not the one in {MEASURED})")


@contextlib.contextmanager
def measuring(run: str | Path) -> Iterator[Callable[[Iterable[Metric]], None]]:
    """What appends measures taken after the fact, durably, beside a run's own metrics: the run may still be training.

    Raises ``RunError`` when another process measures, or the file is damaged.
    """
    run = files.directory(run)
    if not files.is_file(run / "config.toml"):
        raise RunError(f"{run}: no run here (config.toml is missing)")
    with files.lock(run / "measures.lock", "another process is measuring this run"):
        check_measures(run)
        file = RowFile(run / MEASURES)
        file.cut(files.read(file.path).rfind(b"\n") + 1)

        def append(rows: Iterable[Metric]) -> None:
            file.append(rows)
            files.replace(run / MEASURED, files.dump_json({"size": file.size, "sha256": file.sha256}))

        yield append
