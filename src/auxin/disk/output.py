"""The one rule for files that a person names as outputs: figures, pages, tables.

- A file that auxin did not write is never replaced without ``force``; what it writes carries ``MARK``, and a CSV table,
  which has no place for it, its very columns.
- A directory that is missing is named, not made.
- A pipe or a terminal is written to; another device, a socket or a link is refused, the link also replaced by
  ``force`` (never what it leads to).
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zlib
from pathlib import Path

from auxin.disk.folder import Folder, failing_clearly
from auxin.errors import RunError

MARK = b"written by auxin, which may replace it"
LOOKED_AT = 1 << 14  # bytes at the beginning and at the end of a file
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def write_output(path: str | Path, content: bytes, *, force: bool = False, mark: bytes = MARK) -> None:
    """Write a file whole, or into a pipe; raises ``RunError`` where the rule forbids it or the disk does.

    ``mark`` is what shows that a file of this kind was written by auxin.
    """
    path = Path(path)
    with failing_clearly(path):
        if check_output(path, content, force=force, mark=mark):
            _write_into(path, content)
            return
        with _parent(path) as folder:
            if folder.kind(path.name) == "link":
                folder.remove(path.name)
            folder.replace(path.name, content)


def check_output(path: str | Path, content: bytes, *, force: bool = False, mark: bytes = MARK) -> bool:
    """Raise ``RunError`` where ``write_output`` would for the rule's sake; whether it is a pipe or a terminal."""
    path = Path(path)
    with failing_clearly(path):
        if _is_stream(path):
            return True
        with _parent(path) as folder:
            if not force or folder.kind(path.name) == "directory":
                _check_replaceable(folder, path, content, mark)
    return False


def _parent(path: Path) -> Folder:
    try:
        return Folder.open(path.parent)
    except RunError as error:
        reason = str(error).removeprefix(f"{path.parent}: ")
        raise RunError(f"{path}: {path.parent} is {reason}; allowed: a directory that is there") from None


def _check_replaceable(folder: Folder, path: Path, content: bytes, mark: bytes) -> None:
    kind = folder.kind(path.name)
    if kind is None:
        return
    if kind != "file":
        what = {"link": "a symbolic link", "directory": "a directory"}.get(kind, "a special file")
        hint = "; --force replaces the link, not what it leads to" if kind == "link" else ""
        raise RunError(f"{path}: {what}; allowed: a file{hint}")
    with folder.reading(path.name) as file:
        head = file.read(LOOKED_AT)
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOOKED_AT))
        tail = file.read(LOOKED_AT)
    same_columns = path.suffix == ".csv" and head.partition(b"\n")[::2] != (head, b"")
    same_columns = same_columns and head.partition(b"\n")[0] == content.partition(b"\n")[0]
    if not same_columns and mark not in head and mark not in tail:
        raise RunError(f"{path}: there already, and not written by auxin; --force replaces it")


def _is_stream(path: Path) -> bool:
    """Whether it is a pipe or a terminal, or leads to one, as /dev/stdout does; another device is an error."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise RunError(f"{path}: a {'device' if stat.S_ISBLK(mode) else 'socket'}; allowed: a file or a pipe")
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _write_into(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(BrokenPipeError):  # the reader has seen enough
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def marked_text(text: str) -> bytes:
    """An HTML page or SVG drawing with the mark."""
    return f"{text.rstrip()}\n<!-- {MARK.decode()} -->\n".encode()


def marked_png(png: bytes) -> bytes:
    """A PNG image with the mark, as a comment."""
    comment = b"tEXtComment\0" + MARK
    chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment))
    return png.removesuffix(_PNG_END) + chunk + _PNG_END
