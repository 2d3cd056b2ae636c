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
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from auxin.disk.folder import Folder, append_synced, failing_clearly
from auxin.disk.plain import Number, dump_json, read_object
from auxin.errors import RunError
from auxin.runs.settings import CONFIG

if TYPE_CHECKING:
    import polars

METRICS, MEASURES, MEASURED = "metrics.jsonl", "measures.jsonl", "measures.json"
LONGEST_LINE = 4096
CHUNK = 1 << 20  # bytes read at a time
_MARK_SHAPE = {"size": Number(0, 2**63, whole=True), "sha256": str}


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
        if not isinstance(fields[key], str) or not fields[key].isprintable():
            raise ValueError(f"{key} is not a string of printable characters")
    return Metric(**{**fields, "value": _number(fields["value"])})


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("value is neither a number nor null")
    try:
        if math.isfinite(number := float(value)):
            return number
    except OverflowError:
        pass
    raise ValueError("value is too large")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_TEXT = r'"(?:[^\p{C}\p{Z}"\\,]| )*"'
_WHOLE, _REAL = "(?:0|[1-9][0-9]{0,18})", "-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?"
_BEFORE = ('{"step": ', '"member": ', '"split": "', '"name": "', '"value": ')
_ROW = rf'^\{{"step": {_WHOLE}, "member": {_WHOLE}, "split": {_TEXT}, "name": {_TEXT}, "value": (?:null|{_REAL})\}}$'
"""A line as ``encode`` writes it, its texts without commas; any other goes to ``decode``."""


def read_table(folder: Folder, name: str, names: Collection[str] = ()) -> polars.DataFrame:
    """The rows of a file in order, or those with certain ``names``.

    A last line without its end is a write in progress and left out. Columns as the fields of ``Metric``. Raises
    ``RunError`` naming file and line at the first damaged one. About 1 µs a row.
    """
    import polars as pl

    kinds = (pl.Int64, pl.Int64, pl.String, pl.String, pl.Float64)
    frames = [pl.DataFrame(schema=dict(zip(Metric._fields, kinds, strict=True)))]
    if not folder.has(name):
        return frames[0]
    number, rest = 0, b""
    with folder.reading(name) as file:
        while chunk := file.read(CHUNK):
            lines, end, rest = (rest + chunk).rpartition(b"\n")
            if end:
                rows = _rows(lines, folder.path / name, number)
                frames.append(rows.filter(pl.col("name").is_in(names)) if names else rows)
                number += lines.count(b"\n") + 1
            if len(rest) >= LONGEST_LINE:
                raise _damaged(folder.path / name, number + 1, f"longer than {LONGEST_LINE} bytes")
    return pl.concat(frames)


def _damaged(path: Path, number: int, how: object) -> RunError:
    return RunError(f"{path}: line {number} is {how}")


def _rows(content: bytes, path: Path, before: int) -> polars.DataFrame:
    """The table of whole lines, of which ``before`` stand before them."""
    import polars as pl

    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _damaged(path, before + content[: error.start].count(b"\n") + 1, "not JSON") from None
    lines = pl.DataFrame({"line": pl.Series([text]).str.split("\n").explode()})
    long = lines.select((pl.col("line").str.len_bytes() >= LONGEST_LINE).arg_true())["line"]
    if len(long):
        raise _damaged(path, before + int(long[0]) + 1, f"longer than {LONGEST_LINE} bytes")
    parts = lines.select(
        pl.col("line").str.contains(_ROW).alias("usual"), pl.col("line").str.split_exact(", ", 4)
    ).unnest("line")
    step, member, split, name, value = (
        pl.col(f"field_{i}").str.strip_prefix(before).alias(field)
        for i, (field, before) in enumerate(zip(Metric._fields, _BEFORE, strict=True))
    )
    whole = [column.cast(pl.Int64, strict=False) for column in (step, member)]
    # through categories: else each long text keeps the whole content in memory
    texts = [column.str.strip_suffix('"').cast(pl.Categorical).cast(pl.String) for column in (split, name)]
    number = value.str.strip_suffix("}").cast(pl.Float64, strict=False)
    known = (value == "null}") | number.is_finite()
    rows = parts.select(
        *whole,
        *texts,
        number.fill_null(math.nan),
        odd=~pl.all_horizontal("usual", *(column.is_not_null() for column in whole), known).fill_null(False),
    )
    odd = rows.select(pl.col("odd").arg_true())["odd"].to_list()
    if not odd:
        return rows.drop("odd")
    decoded = {index: _decoded(lines["line"][index], path, before + index + 1) for index in odd}
    schema = rows.drop("odd").schema
    index = pl.Series("index", odd, dtype=pl.UInt32)
    strays = pl.DataFrame(list(decoded.values()), schema=schema, orient="row").with_columns(index)
    usual = rows.with_row_index().filter(~pl.col("odd")).drop("odd")
    return pl.concat([usual, strays.select(usual.columns)]).sort("index").drop("index")


def _decoded(line: str, path: Path, number: int) -> Metric:
    try:
        return decode(line.encode())
    except ValueError as error:
        raise _damaged(path, number, error) from None


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
        mark = read_object(run, MEASURED, _MARK_SHAPE)
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
            self._folder.close()
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
        self._folder.close()

    def __enter__(self) -> MeasureFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self.close()
