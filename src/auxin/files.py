"""Files of auxin's own: written whole or not at all, never through a link, locked, and known by their digests.

Functions raise ``RunError`` naming the file: where it is no regular file, and where the disk refuses.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal

from auxin.errors import RunError

TEMPORARY = ".tmp-"
"""Prefix of everything unfinished; what a killed process leaves under it is deleted when its directory is next used."""

_LINK = "a symbolic link; auxin reads and writes its own files only"


class MissingDirectory(RunError):
    """There is no directory of that name."""


class Busy(RunError):
    """Another process holds a lock."""


@contextlib.contextmanager
def failing_clearly(path: str | Path) -> Iterator[None]:
    """Turn an ``OSError`` into a ``RunError`` naming ``path`` and the cause."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from None


def kind(path: Path) -> Literal["file", "directory", "link", "special"] | None:
    """What a path is; None where there is nothing."""
    with failing_clearly(path):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return None
    if stat.S_ISLNK(mode):
        return "link"
    return "file" if stat.S_ISREG(mode) else "directory" if stat.S_ISDIR(mode) else "special"


def is_file(path: Path) -> bool:
    """Whether a regular file is there; ``RunError`` where there is something else."""
    found = kind(path)
    if found not in ("file", None):
        raise RunError(f"{path}: {_LINK if found == 'link' else 'not a regular file'}")
    return found == "file"


def directory(path: str | Path, *, make: bool = False) -> Path:
    """A directory that a person named, whose path may lead through links, made if need be."""
    path = Path(path)
    with failing_clearly(path):
        if make and not path.exists():
            path.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            return path
        if path.exists():
            raise RunError(f"{path}: a file, not a directory")
    raise MissingDirectory(f"{path}: no such directory")


def subdirectory(path: Path, *, make: bool = False) -> Path:
    """A directory among auxin's own files, made if need be where the one above it is there; never a link."""
    with failing_clearly(path):
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
    if kind(path) == "link":
        raise RunError(f"{path}: {_LINK}")
    return directory(path)


def names(path: Path) -> list[str]:
    """What is in a directory, in order."""
    with failing_clearly(path):
        return sorted(os.listdir(path))


def check_foreign(path: Path, own: Collection[str]) -> None:
    """Raise ``RunError`` for a directory that holds something beside its ``own`` files and what is unfinished."""
    if foreign := [name for name in names(path) if name not in own and not name.startswith(TEMPORARY)]:
        raise RunError(f"{path}: holds something else ({foreign[0]}); choose an empty directory")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """A regular file open for reading."""
    if not is_file(path):
        raise RunError(f"{path}: no such file")
    with failing_clearly(path), open(path, "rb") as file:
        yield file


def read(path: Path) -> bytes:
    """A file's content."""
    with reading(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """A file's content as UTF-8 text."""
    try:
        return read(path).decode()
    except UnicodeDecodeError:
        raise RunError(f"{path}: not UTF-8 text") from None


def appending(path: Path) -> IO[str]:
    """A regular file open for text at its end, made if need be."""
    is_file(path)
    with failing_clearly(path):
        return open(path, "a", encoding="utf-8")


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in constant memory."""
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary(path: Path) -> Path:
    """A path in a directory that nothing is under, and nobody can foresee."""
    return path / f"{TEMPORARY}{secrets.token_hex(8)}"


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, and wait until it is on the disk; raises ``OSError``."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        write_synced(descriptor, content)
    finally:
        os.close(descriptor)


def write_synced(descriptor: int, content: bytes) -> None:
    """Write all of the content and wait until it is on the disk; raises ``OSError``."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole: a crash leaves the old one or the new one."""
    is_file(path)
    new = temporary(path.parent)
    with failing_clearly(path):
        try:
            write_new(new, content)
            os.replace(new, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
    sync(path.parent)


def remove(path: Path) -> None:
    """Delete a file, a link (not what it leads to), or a directory with all that is in it, if it is there."""
    found = kind(path)
    with failing_clearly(path):
        if found == "directory":
            shutil.rmtree(path)
        elif found:
            path.unlink(missing_ok=True)


def remove_temporaries(path: Path) -> None:
    """Delete what a killed process left unfinished; only while no other process can be writing here."""
    for name in names(path):
        if name.startswith(TEMPORARY):
            remove(path / name)


def sync(path: Path) -> None:
    """Make the names in a directory durable."""
    with failing_clearly(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def lock(path: Path, busy: str = "in use", *, wait: bool = False) -> Iterator[None]:
    """Hold a lock on a file, made if need be, which ends with the process, however it dies.

    Raises ``Busy`` with these words, naming the file's directory, when another has it, unless to ``wait``.
    """
    is_file(path)
    with failing_clearly(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Busy(f"{path.parent}: {busy}") from None
        except OSError as error:
            raise RunError(f"{path.parent}: cannot be locked ({error.strerror})") from None
        yield
    finally:
        os.close(descriptor)


def read_json(path: Path, **kinds: type) -> dict[str, Any]:
    """The JSON object in a file; ``RunError`` when it holds anything else, or lacks a field of a kind."""
    try:
        values = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise RunError(f"{path}: not valid JSON") from None
    if not isinstance(values, dict):
        raise RunError(f"{path}: not a JSON object")
    for field, wanted in kinds.items():
        if type(values.get(field)) is not wanted:
            raise RunError(f"{path}: damaged ({field} is no {wanted.__name__})")
    return values


def read_signed(path: Path) -> dict[str, Any]:
    """What ``dump_signed`` wrote; ``RunError`` where it was changed."""
    values = read_json(path)
    try:
        intact = values.pop("sha256", None) == sha256(dump_json(values))
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise RunError(f"{path}: damaged (its SHA-256 is not the one that it ends with)")
    return values


def dump_json(values: Mapping[str, Any]) -> bytes:
    """A JSON object, one setting a line; numbers that JSON cannot hold become null, what cannot be printed �."""
    return (json.dumps(plain(values), ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def dump_signed(values: Mapping[str, Any]) -> bytes:
    """As ``dump_json``, with the hash of everything else under ``sha256``."""
    return dump_json({**values, "sha256": sha256(dump_json(values))})


def plain(value: Any) -> Any:
    """A value as JSON can hold it: numbers that are not finite become null, what cannot be printed �."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if to_list := getattr(value, "tolist", None):  # an array of numpy, or one of its numbers
        return plain(to_list())
    if isinstance(value, str) and not value.isprintable():
        return "".join(c if c.isprintable() else "�" for c in value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
