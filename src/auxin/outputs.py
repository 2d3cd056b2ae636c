"""The one rule for files that a person names as outputs: figures, pages, tables.

- A file that auxin did not write is never replaced without ``force``; what it writes carries ``MARK``, a CSV table,
  which has no place for it, its very columns, and other text is the same as before.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auxin.errors import RunError
from auxin.files import directory, failing_clearly, kind, read, remove, replace

MARK = b"written by auxin, which may replace it"
folders: Callable[[], Any]
"""Gives the module that writes a model as a folder for transformers, above models; set when ``auxin`` is imported."""
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def write_output(path: str | Path, content: bytes, *, force: bool = False, mark: bytes = MARK) -> None:
    """Write a file that a person named, whole, or into a pipe.

    ``mark`` is what shows that a file of this kind was written by auxin.
    """
    path = Path(path)
    if check_output(path, content, force=force, mark=mark):
        with failing_clearly(path), contextlib.suppress(BrokenPipeError), open(path, "wb") as stream:
            stream.write(content)
        return
    if kind(path) == "link":
        remove(path)
    replace(path, content)


def check_output(path: str | Path, content: bytes, *, force: bool = False, mark: bytes = MARK) -> bool:
    """Raise ``RunError`` where ``write_output`` would for the rule's sake; whether it is a pipe or a terminal."""
    path = Path(path)
    if _is_stream(path):
        return True
    directory(path.parent)
    found = kind(path)
    if found in ("directory", "special") or (found == "link" and not force):
        what = {"link": "a symbolic link", "directory": "a directory"}.get(found, "a special file")
        hint = "; --force replaces the link, not what it leads to" if found == "link" else ""
        raise RunError(f"{path}: {what}; allowed: a file{hint}")
    if found == "file" and not force and not _is_ours(path, content, mark):
        raise RunError(f"{path}: there already, and not written by auxin; --force replaces it")
    return False


def _is_ours(path: Path, content: bytes, mark: bytes) -> bool:
    there = read(path)
    columns = there.partition(b"\n")[0]
    same_columns = path.suffix == ".csv" and columns == content.partition(b"\n")[0]
    return there == content or mark in there or same_columns


def _is_stream(path: Path) -> bool:
    """Whether it is a pipe or a terminal, or leads to one, as /dev/stdout does; another device is an error."""
    with failing_clearly(path):
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise RunError(f"{path}: a {'device' if stat.S_ISBLK(mode) else 'socket'}; allowed: a file or a pipe")
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def marked_text(text: str) -> bytes:
    """An HTML page or SVG drawing with the mark."""
    return f"{text.rstrip()}\n<!-- {MARK.decode()} -->\n".encode()


def marked_png(png: bytes) -> bytes:
    """A PNG image with the mark, as a comment."""
    comment = b"tEXtComment\0" + MARK
    chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment))
    return png.removesuffix(_PNG_END) + chunk + _PNG_END
