"""Gaussian moments of an activation for tokens of one norm: straight from ``gaussian``, or tabulated for grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from auxin.architecture.mlp import AnyActivation
from auxin.theory import gaussian
from auxin.theory.chebyshev import Interpolant

Array = NDArray[np.float64]

SMALLEST_VARIANCE = 1e-8
SMALLEST_GAP = 1e-14


@dataclass(frozen=True)
class KernelMoments:
    """Moments of φ(h) and φ(h') for h, h' of variance q and correlation 1 − e."""

    square: Array
    """E[φ²]."""
    gap: Array
    """E[φ²] − E[φφ']."""
    slope: Array
    """E[φ'²]."""
    slope_pair: Array
    """E[φ'φ'] of two tokens."""


Kernels = Callable[[Array, Array], KernelMoments]
"""Moments as a function of the variance q and the gap e."""


def exact_kernels(activation: AnyActivation) -> Kernels:
    """Moments straight from ``gaussian``."""

    def kernels(q: Array, gap: Array) -> KernelMoments:
        return KernelMoments(
            gaussian.second_moment(activation, q),
            gaussian.kernel_gap(activation, q, gap),
            gaussian.second_moment_derivative(activation, q),
            gaussian.kernel_derivative(activation, q, q, q * (1 - gap)),
        )

    return kernels


class KernelTable:
    """Moments interpolated in log q and a stretched √gap, for gaps from 0 to 1 (error below 1e-5)."""

    def __init__(self, activation: AnyActivation, q: Array) -> None:
        low, high = (float(f(np.maximum(q, SMALLEST_VARIANCE))) for f in (np.min, np.max))
        self.table = _table(activation, float(np.log(low)), float(np.log(high)))

    def __call__(self, q: Array, gap: Array) -> KernelMoments:
        q, gap = np.broadcast_arrays(np.maximum(q, SMALLEST_VARIANCE), np.clip(gap, 0, 1))
        x = np.log1p(np.sqrt(gap) * (1 + np.sqrt(q))) / np.log1p(1 + np.sqrt(q))
        values = np.exp(self.table(np.log(q).ravel(), x.ravel()).T)
        square, relative, slope, slope_pair = (column.reshape(q.shape) for column in values)
        return KernelMoments(square, relative * q * gap, slope, slope_pair)


@lru_cache(32)
def _table(activation: AnyActivation, low: float, high: float) -> Interpolant:
    def log_moments(log_q: Array, x: Array) -> Array:
        q = np.exp(log_q)
        gap = np.maximum((np.expm1(x * np.log1p(1 + np.sqrt(q))) / (1 + np.sqrt(q))) ** 2, SMALLEST_GAP)
        m = exact_kernels(activation)(q, gap)
        columns = np.stack([m.square, m.gap / (q * gap), m.slope, m.slope_pair], axis=1)
        return np.log(np.maximum(columns, 1e-300))

    counts = (8 + round(1.5 * (high - low)), 14 + round(3.5 * np.log1p(np.exp(high / 2))))
    return Interpolant(log_moments, [(low, high), (0.0, 1.0)], counts)
