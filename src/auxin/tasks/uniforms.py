"""A stream of uniform numbers that is the same for a seed on every machine and with every numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Uniforms:
    """Numbers in [0, 1) from the raw 53 high bits of PCG64.

    numpy keeps the stream of a bit generator for good, but not those of its distributions.
    """

    def __init__(self, seed: int, stream: int = 0) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stream,)))

    def take(self, *shape: int) -> NDArray[np.float64]:
        """The next numbers, in row-major order."""
        raw = self._bits.random_raw(int(np.prod(shape)))
        return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)
