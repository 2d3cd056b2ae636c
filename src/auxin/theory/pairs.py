"""Expectations of an activation for every pair of tokens of Gram matrices."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auxin.architecture.mlp import AnyActivation
from auxin.theory import gaussian

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline
    from torch import Tensor

Array = NDArray[np.float64]
Expectation = Callable[..., Array]

MANY = 50_000
"""Pairs from which on a function of the cosine alone is interpolated rather than evaluated."""
ALIKE = 1e-9
"""Relative spread of the tokens' norms² that counts as none."""
NODES = 2048


def kernel(activation: AnyActivation, covariance: Tensor) -> Tensor:
    """E[φ(u_i)φ(u_j)], u Gaussian of these covariances, [replicas, n, n]."""
    return _pairwise(gaussian.kernel, activation, covariance)


def kernel_derivative(activation: AnyActivation, covariance: Tensor) -> Tensor:
    """E[φ'(u_i)φ'(u_j)]."""
    return _pairwise(gaussian.kernel_derivative, activation, covariance)


def _pairwise(expectation: Expectation, activation: AnyActivation, covariance: Tensor) -> Tensor:
    """The expectation of every pair, each pair once."""
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
