"""Random numbers that are the same for a seed on every machine and with every numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

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
