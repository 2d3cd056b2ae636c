"""Prediction of a response by a smooth function of a few numbers, judged on points that it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Length scales that are tried, in standard deviations of a feature times the root of their number."""
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties that are tried, relative to the kernel's 1."""


class KernelRidge:
    """Kernel ridge regression with a Gaussian kernel on standardized features.

    ŷ(x) = ȳ + k(x)ᵀ(K + ρI)⁻¹(y − ȳ), k(x)_i = exp(−|x − x_i|²/2ℓ²). Length ℓ and ridge ρ are those of the least
    leave-one-out error, whose residuals are ((K + ρI)⁻¹(y − ȳ))_i / ((K + ρI)⁻¹)_ii (Rasmussen & Williams 2006,
    eq. 5.12). Cost O(N³) for each of the 20 pairs tried.
    """

    def __init__(self, features: Array, response: Array) -> None:
        """features [N, D], response [N]."""
        self._center = features.mean(0)
        spread = features.std(0)
        self._scale = np.where(spread > 0, spread, 1.0)
        self._points = (features - self._center) / self._scale
        self._mean = response.mean()
        centered = response - self._mean
        errors: dict[tuple[float, float], float] = {}
        weights: dict[tuple[float, float], Array] = {}
        for length in LENGTHS:
            kernel = self._kernel(self._points, length)
            for ridge in RIDGES:
                inverse = np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
                weights[length, ridge] = inverse @ centered
                errors[length, ridge] = float(((weights[length, ridge] / np.diag(inverse)) ** 2).sum())
        self.length, self.ridge = min(errors, key=lambda pair: errors[pair])
        self._weights = weights[self.length, self.ridge]

    def __call__(self, features: Array) -> Array:
        """[N']: predictions for features [N', D]."""
        points = (features - self._center) / self._scale
        return self._mean + self._kernel(points, self.length) @ self._weights

    def _kernel(self, points: Array, length: float) -> Array:
        squares = ((points[:, None] - self._points) ** 2).sum(2)
        return np.exp(-squares / (2 * points.shape[1] * length**2))


def cross_validated(features: Array, response: Array, groups: NDArray[Any]) -> Array:
    """[N]: each group's responses predicted from the points of all other groups alone."""
    predictions = np.empty(len(response))
    for group in np.unique(groups):
        held = groups == group
        predictions[held] = KernelRidge(features[~held], response[~held])(features[held])
    return predictions


def folds(points: int, count: int, seed: int) -> NDArray[np.intp]:
    """[points]: a random fold of equal size for each point."""
    return np.random.default_rng(seed).permutation(np.arange(points) % count)
