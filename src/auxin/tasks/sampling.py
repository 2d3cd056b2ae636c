"""Random numbers that are the same for a seed on every machine and with every numpy; a cache of what they made."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from auxin.errors import AuxinError
from auxin.files import directory as files_directory
from auxin.files import read, replace, sha256
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
    path = directory() / f"{name}-{sha256(identity.encode())[:16]}.txt"
    if path.exists():
        try:
            return _lines(read(path), identity)
        except (AuxinError, ValueError, TypeError, KeyError, RecursionError) as error:
            _logger.warning("cache entry %s is damaged (%s): generating it again", path, error)
    lines = make()
    body = "\n".join(line for split in lines.values() for line in split).encode()
    sizes = {split: len(content) for split, content in lines.items()}
    fields = {"key": identity, "splits": sizes, "sha256": _sha256(sizes, body)}
    try:
        replace(
            files_directory(path.parent, make=True) / path.name, json.dumps(fields).encode() + b"\n" + body
        )
    except AuxinError as error:
        _logger.warning("cache entry cannot be written: %s", error)
    return lines


def _lines(content: bytes, identity: str) -> Lines:
    header, _, body = content.partition(b"\n")
    fields = json.loads(header)
    if fields["key"] != identity or fields["sha256"] != _sha256(fields["splits"], body):
        raise ValueError("wrong key or digest")
    lines = iter(body.decode().split("\n"))
    return {split: [next(lines) for _ in range(size)] for split, size in fields["splits"].items()}


def _sha256(sizes: Mapping[str, int], body: bytes) -> str:
    """Of the lines and of which split each belongs to."""
    return sha256(json.dumps(sizes).encode() + b"\n" + body)


Item = TypeVar("Item")


class UniformStream:
    """Numbers in [0, 1) from the raw 53 high bits of PCG64.

    numpy keeps the stream of a bit generator for good, but not those of its distributions.
    """

    def __init__(self, seed: int, stream: int = 0) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stream,)))

    def take(self, *shape: int) -> NDArray[np.float64]:
        """The next numbers, in row-major order."""
        raw = self._bits.random_raw(int(np.prod(shape)))
        return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)

    def order(self, count: int) -> list[int]:
        """A random order of ``count`` things, from the next numbers."""
        return np.argsort(self.take(count), kind="stable").tolist()


def random_sample(items: Sequence[Item], count: int | None) -> list[Item]:
    """A fixed random sample, in its own order, that holds every smaller one; all of them for None or a large count.

    >>> random_sample("abcdefgh", 3)
    ['a', 'b', 'f']
    """
    chosen = UniformStream(0, 11).order(len(items))[:count]
    return [items[i] for i in sorted(chosen)]
