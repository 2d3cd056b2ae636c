"""Chebyshev interpolants of smooth functions on a box: evaluate an expensive function once, then anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial import chebyshev

from auxin.theory.states import Array

CHUNK = 2048


class Interpolant:
    """Tensor-product Chebyshev interpolant of a vector-valued function.

    Args:
        function: takes one array of coordinates an axis, each [points], and returns [points, outputs].
        bounds: (low, high) of every axis; an axis whose bounds are equal costs a single node.
        counts: nodes of every axis. The error falls geometrically with them for an analytic function.
    """

    def __init__(
        self,
        function: Callable[..., Array],
        bounds: Sequence[tuple[float, float]],
        counts: Sequence[int],
    ) -> None:
        self.bounds = bounds
        self.counts = [count if low < high else 1 for (low, high), count in zip(bounds, counts, strict=True)]
        axes = [
            (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(count) + 0.5) / count)
            for (low, high), count in zip(bounds, self.counts, strict=True)
        ]
        grid = np.meshgrid(*axes, indexing="ij")
        values = function(*(coordinate.ravel() for coordinate in grid))
        self.coefficients = values.reshape(*self.counts, -1)
        for axis, count in enumerate(self.counts):
            nodes = np.cos(np.pi * (np.arange(count) + 0.5) / count)
            transform = np.linalg.inv(chebyshev.chebvander(nodes, count - 1))
            self.coefficients = np.moveaxis(np.tensordot(transform, self.coefficients, (1, axis)), 0, axis)

    def __call__(self, *coordinates: Array) -> Array:
        """Values [points, outputs] at coordinates [points]; those outside are taken to the boundary."""
        points = len(coordinates[0])
        result = np.empty((points, self.coefficients.shape[-1]))
        for start in range(0, points, CHUNK):
            chunk = slice(start, start + CHUNK)
            result[chunk] = self._evaluate([c[chunk] for c in coordinates])
        return result

    def _evaluate(self, coordinates: list[Array]) -> Array:
        partial = self.coefficients[None]
        for x, (low, high), count in zip(coordinates, self.bounds, self.counts, strict=True):
            if count == 1:
                partial = partial[:, 0]
                continue
            basis = chebyshev.chebvander(np.clip((2 * x - low - high) / (high - low), -1, 1), count - 1)
            if len(partial) == 1:
                partial = np.tensordot(basis, partial[0], (1, 0))
            else:
                partial = np.einsum("pk,pk...->p...", basis, partial)
        return np.broadcast_to(partial, (len(coordinates[0]), partial.shape[-1]))
