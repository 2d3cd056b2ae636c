"""Generated data on disk: text lines under a key and a digest; damaged entries are generated again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

Lines = dict[str, list[str]]

_logger = logging.getLogger(__name__)


def directory() -> Path:
    """``$AUXIN_CACHE``, else ``$XDG_CACHE_HOME/auxin``, else ``~/.cache/auxin``."""
    if chosen := os.environ.get("AUXIN_CACHE"):
        return Path(chosen)
    if (base := os.environ.get("XDG_CACHE_HOME")) and os.path.isabs(base):
        return Path(base) / "auxin"
    return Path(os.path.expanduser("~")) / ".cache" / "auxin"


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
        header, _, body = path.read_bytes().partition(b"\n")
        fields = json.loads(header)
        if fields["key"] != identity or fields["sha256"] != hashlib.sha256(body).hexdigest():
            raise ValueError("wrong key or digest")
        lines = body.decode().split("\n")
        result: Lines = {}
        start = 0
        for split, size in fields["splits"].items():
            result[split] = lines[start : start + size]
            start += size
        return result
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _logger.warning("cache entry %s is damaged (%s): generating it again", path, error)
        return None


def _write(path: Path, identity: str, lines: Lines) -> None:
    """Store the lines under a temporary name, then rename: a reader sees all of them or none."""
    body = "\n".join(line for split in lines.values() for line in split).encode()
    sizes = {split: len(content) for split, content in lines.items()}
    fields = {"key": identity, "splits": sizes, "sha256": hashlib.sha256(body).hexdigest()}
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps(fields).encode() + b"\n" + body)
        os.replace(temporary, path)
    except OSError as error:
        _logger.warning("cache entry %s cannot be written: %s", path, error)
        with contextlib.suppress(OSError):
            temporary.unlink()
