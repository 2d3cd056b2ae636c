"""Metrics as JSON lines: one number a line, appended, greppable, and cut back to a checkpoint exactly."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

from auxin.errors import RunError
from auxin.runs.files import (
    Lock,
    append_synced,
    dump_json,
    failing_clearly,
    open_own,
    read_object,
    write_atomic,
)

MEASURES, MEASURED = "measures.jsonl", "measures.json"
LONGEST_LINE = 4096


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
        fields = json.loads(line.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(fields, dict) or set(fields) != set(Metric._fields):
        raise ValueError(f"not an object with the keys {', '.join(Metric._fields)}")
    for key in ("step", "member"):
        if type(fields[key]) is not int or not 0 <= fields[key] < 2**63:
            raise ValueError(f"{key} is not a whole number from 0 to 2^63 − 1")
    for key in ("split", "name"):
        if not isinstance(fields[key], str) or not _encodable(fields[key]):
            raise ValueError(f"{key} is not a string")
    return Metric(**{**fields, "value": _number(fields["value"])})


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("value is neither a number nor null")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("value is too large") from None


def _encodable(text: str) -> bool:
    """Whether the text is Unicode that can be written: JSON can smuggle in half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_rows(path: Path) -> Iterator[Metric]:
    """The rows of a file in order; a last line without its end is a write in progress and left out.

    Raises ``RunError`` naming file and line at the first damaged one. Memory: one line.
    """
    if not path.exists():
        return
    with failing_clearly(path):
        if not path.is_file():
            raise RunError(f"{path}: not a regular file")
        with open(path, "rb") as file:
            number = 0
            while (line := file.readline(LONGEST_LINE)).endswith(b"\n"):
                number += 1
                try:
                    yield decode(line)
                except ValueError as error:
                    raise RunError(f"{path}: line {number} is {error}") from None
            if len(line) == LONGEST_LINE:
                raise RunError(f"{path}: line {number + 1} is longer than {LONGEST_LINE} bytes")


class RowFile:
    """A file of rows open for appending; knows its exact length and hash, so a checkpoint can record them."""

    def __init__(self, path: Path) -> None:
        """Create the file, or read it once for its hash."""
        self.path = path
        if path.exists() and not path.is_file():
            raise RunError(f"{path}: not a regular file")
        with failing_clearly(path), _opened(path, os.O_CREAT) as file:
            self._digest = hashlib.file_digest(file, "sha256")
            self.size = file.tell()

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole file in hexadecimal."""
        return self._digest.hexdigest()

    def append(self, rows: Iterable[Metric], intact: str = "") -> None:
        """Append rows in one write and wait until they are on the disk; on failure none of them stays.

        Raises ``RunError`` when the file is gone, was changed by someone else, or cannot grow.
        """
        content = b"".join(encode(row) for row in rows)
        with failing_clearly(self.path, intact):
            # By name and without O_CREAT: a deleted directory must be noticed, not written into.
            descriptor = open_own(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                if os.fstat(descriptor).st_size != self.size:
                    raise RunError(f"{self.path}: another program changed this file{intact and '; '}{intact}")
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
        with failing_clearly(self.path), open(self.path, "rb") as file:
            head = file.read(size)
        return len(head) == size and hashlib.sha256(head).hexdigest() == sha256

    def cut(self, size: int | None = None) -> None:
        """Drop everything after the first ``size`` bytes; by default, a last line that was cut mid-way."""
        with failing_clearly(self.path), _opened(self.path) as file:
            os.ftruncate(file.fileno(), file.read().rfind(b"\n") + 1 if size is None else size)
            file.seek(0)
            os.fsync(file.fileno())
            self._digest = hashlib.file_digest(file, "sha256")
            self.size = file.tell()


def _opened(path: Path, flags: int = 0) -> BufferedRandom:
    return os.fdopen(open_own(path, os.O_RDWR | flags), "rb+")


def check_measures(run: Path) -> None:
    """Raise ``RunError`` where measures are not what was written.

    ``measures.json`` holds length and hash of what is surely whole; rows that a kill left behind it go unchecked.
    """
    path, mark = run / MEASURES, run / MEASURED
    if not mark.exists():
        return
    match read_object(mark):
        case {"size": int(size), "sha256": str(digest)} if size >= 0:
            with failing_clearly(path), open(path, "rb") as file:
                whole = os.fstat(file.fileno()).st_size >= size
                if not whole or hashlib.sha256(file.read(size)).hexdigest() != digest:
                    raise RunError(f"{path}: damaged (its SHA-256 is not the one in {MEASURED})")
        case _:
            raise RunError(f"{mark}: damaged (size and sha256 are not there)")


class MeasureFile:
    """Measures taken after the fact, beside a run's own metrics; its own lock, so a run may still be training."""

    def __init__(self, run: str | Path) -> None:
        """Open for appending; raises ``RunError`` when another process measures, or the file is damaged."""
        run = Path(run)
        if not (run / "config.toml").is_file():
            raise RunError(f"{run}: no run here (config.toml is missing)")
        self._lock = Lock(run / "measures.lock")
        try:
            check_measures(run)
            self._rows = RowFile(run / MEASURES)
            self._rows.cut()
        except BaseException:
            self._lock.release()
            raise

    def append(self, rows: Iterable[Metric]) -> None:
        """Append rows in one durable write."""
        self._rows.append(rows)
        mark = {"size": self._rows.size, "sha256": self._rows.sha256}
        write_atomic(self._rows.path.with_name(MEASURED), dump_json(mark))

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> MeasureFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self.close()
