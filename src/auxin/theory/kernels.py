"""Gaussian moments of an activation: of tokens of one norm, tabulated for grids, and of all pairs of tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from auxin.architecture.mlp import AnyActivation
from auxin.theory import gaussian
from auxin.theory.chebyshev import Interpolant
from auxin.theory.states import Array

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline
    from torch import Tensor

Expectation = Callable[..., Array]

SMALLEST_VARIANCE = 1e-8
SMALLEST_GAP = 1e-14
MANY = 50_000
"""Pairs from which on a function of the cosine alone is interpolated rather than evaluated."""
ALIKE = 1e-9
"""Relative spread of the tokens' norms² that counts as none."""
NODES = 2048


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


def exact_kernels(activation: AnyActivation, q: Array, gap: Array) -> KernelMoments:
    """Moments straight from ``gaussian``."""
    return KernelMoments(
        gaussian.second_moment(activation, q),
        gaussian.kernel_gap(activation, q, gap),
        gaussian.kernel_derivative(activation, q, q, q),
        gaussian.kernel_derivative(activation, q, q, q * (1 - gap)),
    )


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
        m = exact_kernels(activation, q, gap)
        columns = np.stack([m.square, m.gap / (q * gap), m.slope, m.slope_pair], axis=1)
        return np.log(np.maximum(columns, 1e-300))

    counts = (8 + round(1.5 * (high - low)), 14 + round(3.5 * np.log1p(np.exp(high / 2))))
    return Interpolant(log_moments, [(low, high), (0.0, 1.0)], counts)


def of_pairs(expectation: Expectation, activation: AnyActivation, covariance: Tensor) -> Tensor:
    """``gaussian.kernel`` or ``kernel_derivative`` of u_i, u_j, Gaussian of these covariances, [replicas, n, n]."""
    values = covariance.numpy()
    variance = np.diagonal(values, axis1=1, axis2=2)
    i, j = np.triu_indices(values.shape[-1])
    pairs = values[:, i, j]
    low, high = float(variance.min()), float(variance.max())
    if pairs.size >= MANY and high - low <= ALIKE * high and high > 0:
        found = _interpolated(expectation, activation, high)(np.arccos(np.clip(pairs / high, -1, 1)))
    else:
        found = expectation(activation, variance[:, i], variance[:, j], pairs)
    result = np.empty(values.shape)
    result[:, i, j] = result[:, j, i] = found
    return covariance.new_tensor(result)


@lru_cache(64)
def _interpolated(expectation: Expectation, activation: AnyActivation, variance: float) -> CubicSpline:
    """The expectation at one variance, in the angle between the tokens: relative error below 1e-9.

    In the angle all kernels are smooth, relu's too; nodes stand closer where tokens are almost equal.
    """
    from scipy.interpolate import CubicSpline

    angle = np.pi * np.linspace(0, 1, NODES) ** 1.5
    return CubicSpline(angle, expectation(activation, variance, variance, variance * np.cos(angle)))
