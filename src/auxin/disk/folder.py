"""A directory of auxin's own: files are written whole or not at all, and nothing is reached through a link in it.

What changes the disk raises ``OSError``, for ``failing_clearly`` to explain; what reads raises ``RunError``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Literal

from auxin.errors import RunError

Kind = Literal["file", "directory", "link", "special"]

TEMPORARY = ".tmp-"
"""Prefix of everything unfinished; what a killed process leaves under it is deleted when its directory is next used."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_GONE = (errno.ENOENT, errno.ESTALE)
_LINK = "a symbolic link; auxin reads and writes its own files only"


@contextlib.contextmanager
def failing_clearly(path: Path, intact: Callable[[], str] | None = None) -> Iterator[None]:
    """Turn an ``OSError`` into a ``RunError`` naming ``path``, the cause, and what is still ``intact``, asked then."""
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
        raise RunError(f"{path}: {cause}{f'; {intact()}' if intact else ''}") from None


class NotThere(RunError):
    """There is no directory of that name."""


class Folder:
    """A directory; a context manager, so that a lock or a failure can stand beside it in one ``with``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | Path) -> Folder:
        """The directory at a path that a person gave, which may lead through links; ``RunError`` when none is there."""
        path = Path(path)
        with failing_clearly(path):
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
            except FileNotFoundError:
                raise NotThere(f"{path}: no such directory") from None
            except NotADirectoryError as error:
                above = not _is_there(path)
                raise RunError(f"{path}: {error.strerror if above else 'a file, not a directory'}") from None
        return cls(path)

    @classmethod
    def make(cls, path: str | Path) -> Folder:
        """As ``open``, after making what is missing of the path."""
        with failing_clearly(Path(path)), contextlib.suppress(FileExistsError):
            Path(path).mkdir(parents=True, exist_ok=True)
        return cls.open(path)

    def sub(self, name: str) -> Folder:
        """A directory in this one; ``OSError`` for a link, a file, or nothing."""
        kind = self.kind(name)
        if kind == "link":
            raise OSError(errno.ELOOP, _LINK)
        if kind != "directory":
            code = errno.ENOTDIR if kind else errno.ENOENT
            raise OSError(code, "a file, not a directory" if kind else os.strerror(code))
        return Folder(self.path / name)

    def make_sub(self, name: str) -> Folder:
        """As ``sub``, after making it if there is nothing of that name."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path / name)
        return self.sub(name)

    def names(self) -> list[str]:
        """What is in it, in order."""
        with failing_clearly(self.path):
            return sorted(os.listdir(self.path))

    def kind(self, name: str) -> Kind | None:
        """What a name is; None where there is nothing."""
        with failing_clearly(self.path / name):
            try:
                mode = os.lstat(self.path / name).st_mode
            except FileNotFoundError:
                return None
        known: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
        return known.get(stat.S_IFMT(mode), "special")

    def has(self, name: str) -> bool:
        """Whether there is a regular file of that name; ``RunError`` where there is something else."""
        kind = self.kind(name)
        if kind not in ("file", None):
            raise RunError(f"{self.path / name}: {_LINK if kind == 'link' else 'not a regular file'}")
        return kind == "file"

    def descriptor(self, name: str, flags: int) -> int:
        """A descriptor of a regular file; ``OSError`` for a link, ``RunError`` for a device, pipe or directory."""
        if self.kind(name) in ("special", "directory"):
            raise RunError(f"{self.path / name}: not a regular file")
        return os.open(self.path / name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[BufferedReader]:
        """A regular file open for reading; ``RunError`` naming it when that fails, now or inside."""
        with failing_clearly(self.path / name):
            try:
                file = os.fdopen(self.descriptor(name, os.O_RDONLY), "rb")
            except FileNotFoundError:
                raise RunError(f"{self.path / name}: no such file") from None
            with file:
                yield file

    def read(self, name: str) -> bytes:
        """A file's content."""
        with self.reading(name) as file:
            return file.read()

    def read_text(self, name: str) -> str:
        """As ``read``, of UTF-8 text."""
        try:
            return self.read(name).decode()
        except UnicodeDecodeError:
            raise RunError(f"{self.path / name}: not UTF-8 text") from None

    def sha256(self, name: str) -> str:
        """SHA-256 of a file in hexadecimal, in constant memory."""
        with self.reading(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def write_new(self, name: str, content: bytes) -> None:
        """Write a file that is not there yet, and wait until it is on the disk."""
        descriptor = self.descriptor(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            append_synced(descriptor, content)
        finally:
            os.close(descriptor)

    def replace(self, name: str, content: bytes) -> None:
        """Write a file whole: a crash leaves the old one or the new one. ``RunError`` where no file could be meant."""
        self.has(name)
        temporary = unforeseen()
        try:
            self.write_new(temporary, content)
            self.rename(temporary, name)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self.path / temporary)
            raise
        self.sync()

    def take(self, source: Folder, name: str) -> None:
        """Copy a regular file from another folder, in constant memory, under a name that is not there yet."""
        with source.reading(name) as file:
            descriptor = self.descriptor(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with os.fdopen(descriptor, "wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.flush()
                os.fsync(descriptor)

    def rename(self, old: str, new: str) -> None:
        """Rename within the directory, replacing a file of the new name."""
        os.replace(self.path / old, self.path / new)

    def remove(self, name: str) -> None:
        """Delete a file, a link (not what it leads to), or a directory with all that is in it, if it is there."""
        kind = self.kind(name)
        if kind == "directory":
            shutil.rmtree(self.path / name)
        elif kind:
            (self.path / name).unlink(missing_ok=True)

    def remove_temporaries(self) -> None:
        """Delete what a killed process left unfinished; only while no other process can be writing here."""
        for name in self.names():
            if name.startswith(TEMPORARY):
                self.remove(name)

    def sync(self) -> None:
        """Make the names in it durable."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, name: str, busy: str, wait: bool = False) -> Lock:
        """Lock a file in it, made if need be; see ``Lock``."""
        with failing_clearly(self.path / name):
            return Lock(self.descriptor(name, os.O_RDWR | os.O_CREAT), self.path, busy, wait)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Busy(RunError):
    """Another process holds a lock."""


class Lock:
    """An exclusive lock on an open file, held until ``release`` or the death of the process, however it dies."""

    def __init__(self, descriptor: int, path: Path, busy: str, wait: bool) -> None:
        """Take the lock; ``Busy``, naming ``path`` with these words, when another has it, unless to ``wait``."""
        self._descriptor = descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunError(f"{path}: cannot be locked ({error.strerror})") from None
            raise Busy(f"{path}: {busy}") from None

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def unforeseen() -> str:
    """A temporary name that nothing is under."""
    return f"{TEMPORARY}{secrets.token_hex(8)}"


def append_synced(descriptor: int, content: bytes) -> None:
    """Write all of ``content`` and wait until it is on the disk."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True
