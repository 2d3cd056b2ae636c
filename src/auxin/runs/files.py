"""Files that survive a crash: atomic writes, bounded reads, and a lock that dies with its process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from auxin.config import RunConfig
from auxin.errors import ConfigError, RunError
from auxin.values import from_toml

TEMPORARY = ".tmp-"
"""Prefix of everything unfinished; what a killed process leaves under it is deleted at the next open."""

LONGEST_CONFIG = 1 << 18  # bytes
MOST_DOTS = 200  # in a line of a config: a path may have some
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LINK = "a symbolic link; a run is written to its own files only"
_GONE = (errno.ENOENT, errno.ESTALE)


@contextlib.contextmanager
def failing_clearly(path: Path, intact: str = "") -> Iterator[None]:
    """Turn an ``OSError`` into a ``RunError`` naming ``path``, the cause, and what is still ``intact``."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or str(error)
        if error.errno in _FULL:
            cause = f"the disk is full ({cause})"
        elif error.errno in _GONE:
            cause = f"the directory or file is gone ({cause})"
        elif error.errno == errno.ELOOP:
            cause = _LINK
        raise RunError(f"{path}: {cause}{intact and '; '}{intact}") from None


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a file to write; a symbolic link, which may lead anywhere, is an ``OSError``."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def make_directory(path: Path) -> None:
    """Make a directory unless it is there; a symbolic link or a file is a ``RunError``."""
    if path.is_symlink():
        raise RunError(f"{path}: {_LINK}")
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: a file, not a directory")
    path.mkdir(exist_ok=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    descriptor = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        append_synced(descriptor, content)
    finally:
        os.close(descriptor)


def append_synced(descriptor: int, content: bytes) -> None:
    """Write all of ``content`` and wait until it is on the disk."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` so that a crash leaves the old file or the new one, never a mixture."""
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def remove_temporaries(path: Path) -> None:
    """Delete the unfinished files and directories that a killed process left in a directory."""
    for leftover in path.glob(TEMPORARY + "*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, in constant memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dump_json(values: Mapping[str, Any]) -> bytes:
    """A JSON object, one setting a line; numbers that JSON cannot hold (NaN, ∞) become null."""
    return (json.dumps(_finite(values), ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_text(path: Path, limit: int = 1 << 20) -> str:
    """Text of a regular file of at most ``limit`` bytes; anything else is a ``RunError`` that names it."""
    with failing_clearly(path):
        if not path.is_file():
            raise RunError(f"{path}: no such file")
        with open(path, "rb") as file:
            content = file.read(limit + 1)
    if len(content) > limit:
        raise RunError(f"{path}: larger than {limit} bytes, so not a file that auxin wrote")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise RunError(f"{path}: not UTF-8 text") from None


def read_object(path: Path, limit: int = 1 << 22) -> dict[str, Any]:
    """The JSON object in a file; raises ``RunError`` naming the file when it holds anything else."""
    try:
        values = json.loads(read_text(path, limit))
    except (ValueError, RecursionError):
        raise RunError(f"{path}: not valid JSON") from None
    if not isinstance(values, dict):
        raise RunError(f"{path}: not a JSON object")
    return values


def dump_signed(values: Mapping[str, Any]) -> bytes:
    """As ``dump_json``, with the hash of everything else under ``sha256``."""
    return dump_json({**values, "sha256": hashlib.sha256(dump_json(values)).hexdigest()})


def read_signed(path: Path) -> dict[str, Any]:
    """What ``dump_signed`` wrote; ``RunError`` where it was changed. Without a hash it is taken as it is."""
    values = read_object(path)
    if "sha256" in values:
        digest = values.pop("sha256")
        try:
            found = hashlib.sha256(dump_json(values)).hexdigest()
        except ValueError:  # half a surrogate pair
            found = None
        if found != digest:
            raise RunError(f"{path}: damaged (its SHA-256 is not the one that it ends with)")
    return values


def read_config(path: Path) -> RunConfig:
    """The config in a TOML file; raises ``RunError`` naming the file and what is wrong with it."""
    text = read_text(path, LONGEST_CONFIG)
    # the time that tomllib takes grows with the square of the parts of a dotted name
    if any(line.count(".") > MOST_DOTS for line in text.split("\n")):
        raise RunError(f"{path}: a line has more than {MOST_DOTS} dots, so not a file that auxin wrote")
    try:
        return from_toml(RunConfig, text)
    except ConfigError as error:
        raise RunError(f"{path}: {error}") from None


class Lock:
    """An exclusive lock on a file, held until ``release`` or the death of the process, however it dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock; raises ``RunError`` when another process holds it."""
        with failing_clearly(path):
            self._descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunError(f"{path}: cannot be locked ({error.strerror})") from None
            raise RunError(f"{path.parent}: another process is writing this run") from None

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
