"""Generated data on disk: text lines under a key and a digest; damaged entries are generated again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from auxin.disk.folder import Folder, NotThere, failing_clearly
from auxin.errors import RunError
from auxin.values import check

Lines = dict[str, list[str]]

_logger = logging.getLogger(__name__)


def directory() -> Path:
    """``$AUXIN_CACHE``, else ``$XDG_CACHE_HOME/auxin``, else ``~/.cache/auxin``.

    ``~`` is the home directory, in a variable, too. Raises ``ConfigError`` for ``~name`` of an unknown user.
    """
    if chosen := os.environ.get("AUXIN_CACHE"):
        found = os.path.expanduser(chosen)
        check(not found.startswith("~"), "AUXIN_CACHE", chosen, "a directory")
        return Path(found)
    base = os.path.expanduser(os.environ.get("XDG_CACHE_HOME", ""))
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "auxin"


def cached(name: str, key: Mapping[str, object], make: Callable[[], Lines]) -> Lines:
    """The lines of every split, from the cache or else from ``make``, then stored.

    ``key`` must hold everything that determines the lines. A cache that cannot be read or written is done
    without, with a logged warning.
    """
    identity = json.dumps(dict(key), sort_keys=True)
    path = directory() / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.txt"
    lines = _read(path, identity)
    if lines is None:
        lines = make()
        _write(path, identity, lines)
    return lines


def _read(path: Path, identity: str) -> Lines | None:
    """The stored lines, or None where there is no entry or a damaged one."""
    try:
        with Folder.open(path.parent) as folder:
            if not folder.has(path.name):
                return None
            with folder.reading(path.name) as file:
                header, _, body = file.read().partition(b"\n")
        fields = json.loads(header)
        if fields["key"] != identity or fields["sha256"] != _sha256(fields["splits"], body):
            raise ValueError("wrong key or digest")
        lines = body.decode().split("\n")
        result: Lines = {}
        start = 0
        for split, size in fields["splits"].items():
            result[split] = lines[start : start + size]
            start += size
        return result
    except NotThere:
        return None
    except (RunError, ValueError, TypeError, KeyError, RecursionError) as error:
        _logger.warning("cache entry %s is damaged (%s): generating it again", path, error)
        return None


def _write(path: Path, identity: str, lines: Lines) -> None:
    """Store the lines under a temporary name, then rename: a reader sees all of them or none."""
    body = "\n".join(line for split in lines.values() for line in split).encode()
    sizes = {split: len(content) for split, content in lines.items()}
    fields = {"key": identity, "splits": sizes, "sha256": _sha256(sizes, body)}
    try:
        with Folder.make(path.parent) as folder, failing_clearly(path):
            folder.replace(path.name, json.dumps(fields).encode() + b"\n" + body)
    except RunError as error:
        _logger.warning("cache entry %s cannot be written: %s", path, error)


def _sha256(sizes: Mapping[str, int], body: bytes) -> str:
    """Of the lines and of which split each belongs to."""
    return hashlib.sha256(json.dumps(sizes).encode() + b"\n" + body).hexdigest()
