"""Metrics as JSON lines: one number a line, appended, greppable, and cut back to a checkpoint exactly."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterable
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from auxin.disk.folder import Folder, append_synced, failing_clearly
from auxin.disk.plain import dump_json, read_object
from auxin.errors import RunError
from auxin.runs.settings import CONFIG

if TYPE_CHECKING:
    import polars

METRICS, MEASURES, MEASURED = "metrics.jsonl", "measures.jsonl", "measures.json"
CHUNK = 1 << 24  # bytes read at a time


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
    fields = {
        "step": int(row.step),
        "member": int(row.member),
        "split": row.split,
        "name": row.name,
        "value": value if math.isfinite(value) else None,
    }
    return (json.dumps(fields, ensure_ascii=False) + "\n").encode()


def decode(line: bytes) -> Metric:
    """The row of one line; raises ``ValueError`` saying what is wrong with it."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(fields, dict) or set(fields) != set(Metric._fields):
        raise ValueError(f"not an object with the keys {', '.join(Metric._fields)}")
    for key in ("step", "member"):
        if type(fields[key]) is not int or not 0 <= fields[key] < 2**63:
            raise ValueError(f"{key} is not a whole number from 0 to 2^63 − 1")
    for key in ("split", "name"):
        if not isinstance(fields[key], str):
            raise ValueError(f"{key} is not a string")
    if fields["value"] is not None and type(fields["value"]) not in (int, float):
        raise ValueError("value is neither a number nor null")
    try:
        value = math.nan if fields["value"] is None else float(fields["value"])
    except OverflowError:
        value = math.inf
    if math.isinf(value):
        raise ValueError("value is too large")
    return Metric(**{**fields, "value": value})


def read_table(folder: Folder, name: str, names: Collection[str] = ()) -> polars.DataFrame:
    """The rows of a file in order, or those with certain ``names``; columns as the fields of ``Metric``.

    A last line without its end is a write in progress and left out. Raises ``RunError`` naming file and line at the
    first damaged one. About 1 µs a row.
    """
    import polars as pl

    kinds = (pl.Int64, pl.Int64, pl.String, pl.String, pl.Float64)
    frames = [pl.DataFrame(schema=dict(zip(Metric._fields, kinds, strict=True)))]
    number, rest = 0, b""
    if folder.has(name):
        with folder.reading(name) as file:
            while chunk := file.read(CHUNK):
                lines, end, rest = (rest + chunk).rpartition(b"\n")
                if end:
                    rows = _rows(lines, frames[0].schema, folder.path / name, number)
                    frames.append(rows.filter(pl.col("name").is_in(names)) if names else rows)
                    number += len(rows)
    return pl.concat(frames)


def _rows(content: bytes, schema: Any, path: Path, before: int) -> polars.DataFrame:
    """The table of whole lines, of which ``before`` stand before them."""
    import polars as pl
    from polars.exceptions import PolarsError

    try:
        rows = pl.read_ndjson(content, schema=schema)
        usual = len(rows) == content.count(b"\n") + 1 and not any(
            rows[key].has_nulls() for key in Metric._fields[:4]
        )
        if usual and not (rows["step"] < 0).any() and not (rows["member"] < 0).any():
            return rows.with_columns(pl.col("value").fill_null(math.nan))
    except PolarsError:
        pass
    for number, line in enumerate(content.split(b"\n"), before + 1):
        try:
            decode(line)
        except ValueError as error:
            raise RunError(f"{path}: line {number} is {error}") from None
    raise RunError(f"{path}: damaged after line {before}")


class RowFile:
    """A file of rows open for appending; knows its exact length and hash, so a checkpoint can record them."""

    def __init__(self, folder: Folder, name: str) -> None:
        """Create the file, or read it once for its hash; the folder must stay open."""
        self.path, self._folder, self._name = folder.path / name, folder, name
        with failing_clearly(self.path), self._opened(os.O_CREAT) as file:
            self._digest = hashlib.file_digest(file, "sha256")
            self.size = file.tell()

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole file in hexadecimal."""
        return self._digest.hexdigest()

    def append(self, rows: Iterable[Metric], intact: Callable[[], str] | None = None) -> None:
        """Append rows in one write and wait until they are on the disk; on failure none of them stays.

        Raises ``RunError`` when the file is gone, was changed by someone else, or cannot grow; it says what
        ``intact`` does.
        """
        content = b"".join(encode(row) for row in rows)
        with failing_clearly(self.path, intact):
            # By name and without O_CREAT: a deleted directory must be noticed, not written into.
            descriptor = self._folder.descriptor(self._name, os.O_WRONLY | os.O_APPEND)
            try:
                if os.fstat(descriptor).st_size != self.size:
                    told = f"; {intact()}" if intact else ""
                    raise RunError(f"{self.path}: another program changed this file{told}")
                self._write(descriptor, content)
            finally:
                os.close(descriptor)
        self._digest.update(content)
        self.size += len(content)

    def _write(self, descriptor: int, content: bytes) -> None:
        try:
            append_synced(descriptor, content)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self.size)
            raise

    def starts_with(self, size: int, sha256: str) -> bool:
        """Whether the first ``size`` bytes have this hash."""
        if size == self.size:
            return sha256 == self.sha256
        return _starts_with(self._folder, self._name, size, sha256)

    def cut(self, size: int | None = None) -> None:
        """Drop everything after the first ``size`` bytes; by default, a last line that was cut mid-way."""
        with failing_clearly(self.path), self._opened() as file:
            os.ftruncate(file.fileno(), file.read().rfind(b"\n") + 1 if size is None else size)
            file.seek(0)
            os.fsync(file.fileno())
            self._digest = hashlib.file_digest(file, "sha256")
            self.size = file.tell()

    def _opened(self, flags: int = 0) -> BufferedRandom:
        return os.fdopen(self._folder.descriptor(self._name, os.O_RDWR | flags), "rb+")


def _starts_with(folder: Folder, name: str, size: int, sha256: str) -> bool:
    """Whether a file's first ``size`` bytes have this hash; in constant memory."""
    digest, left = hashlib.sha256(), size
    with folder.reading(name) as file:
        while left and (chunk := file.read(min(left, CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    return not left and digest.hexdigest() == sha256


def check_measures(run: Folder) -> None:
    """Raise ``RunError`` where measures are not what was written.

    ``measures.json`` holds length and hash of what is surely whole; rows that a kill left behind it go unchecked.
    """
    if run.has(MEASURED):
        mark = read_object(run, MEASURED, size=int, sha256=str)
        if not _starts_with(run, MEASURES, mark["size"], mark["sha256"]):
            raise RunError(f"{run.path / MEASURES}: damaged (its SHA-256 is not the one in {MEASURED})")


class MeasureFile:
    """Measures taken after the fact, beside a run's own metrics; its own lock, so a run may still be training."""

    def __init__(self, run: str | Path) -> None:
        """Open for appending; raises ``RunError`` when another process measures, or the file is damaged."""
        self._folder = Folder.open(run)
        try:
            if not self._folder.has(CONFIG):
                raise RunError(f"{run}: no run here (config.toml is missing)")
            self._lock = self._folder.lock("measures.lock", "another process is measuring this run")
        except BaseException:
            raise
        try:
            check_measures(self._folder)
            self._rows = RowFile(self._folder, MEASURES)
            self._rows.cut()
        except BaseException:
            self.close()
            raise

    def append(self, rows: Iterable[Metric]) -> None:
        """Append rows in one durable write."""
        self._rows.append(rows)
        mark = {"size": self._rows.size, "sha256": self._rows.sha256}
        with failing_clearly(self._folder.path / MEASURED):
            self._folder.replace(MEASURED, dump_json(mark))

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> MeasureFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self.close()
