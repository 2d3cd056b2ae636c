"""Norms: dividing ones, N(x) = γx/√(q + ε) with q = ‖x‖²/d, and elementwise ones, γφ(αx).

At initialization the mean that layer norm subtracts is O(1/√d), so ``layer`` and ``rms`` are one. With u the norm²
behind, and the projection in N's Jacobian being O(1/d):

    dividing      C_ij → γ²C_ij/√((q_i + ε)(q_j + ε))       G_ij → γ²G_ij/√((q_i + ε)(q_j + ε))
    elementwise   C_ij → γ²E[φ(αu_i)φ(αu_j)], Cov(u) = C    G_ij → γ²α²E[φ'(αu_i)φ'(αu_j)]·G_ij
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from auxin.architecture import Norm
from auxin.architecture.mlp import Activation
from auxin.theory import gaussian
from auxin.theory.kernels import exact_kernels, of_pairs
from auxin.theory.states import Array, Back, Seen, matrix, norms, outer, quotient, scaled

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_INVERSE = 1e-30
"""r = 1/q that stands for all smaller ones where a function of q is needed."""


def symmetric(norm: Norm | None, r: Array, gap: Array) -> Seen:
    """What stands behind the norm of a stream of norm² 1/r and gap e; ``norm`` None: the stream itself."""
    if norm is None:
        return Seen(1 / r, gap, np.eye(2))
    if norm.elementwise:
        return _elementwise(norm, r, gap)
    divisor = 1 + norm.epsilon * r
    u = norm.gain**2 / divisor
    return Seen(np.broadcast_to(u, np.shape(r)), gap, scaled(u * r, np.eye(2)))


def _elementwise(norm: Norm, r: Array, gap: Array) -> Seen:
    q = norm.slope**2 / np.maximum(r, SMALLEST_INVERSE)
    m = exact_kernels(_activation(norm), q, gap)
    zero = np.zeros_like(m.slope)
    back = matrix([[m.slope, zero], [m.slope - m.slope_pair, m.slope_pair]])
    back = scaled((norm.gain * norm.slope) ** 2, back)
    return Seen(norm.gain**2 * m.square, quotient(m.gap, m.square), back)


def _activation(norm: Norm) -> Activation:
    """The φ of an elementwise norm: its kinds are names of activations."""
    return cast(Activation, norm.kind)


def gram(norm: Norm | None, state: Tensor) -> tuple[Tensor, Back]:
    """The Gram matrix behind the norm, and the way back."""
    q = norms(state)
    if norm is None:
        return state, lambda g: g
    if norm.elementwise:
        covariance, activation = norm.slope**2 * state, _activation(norm)
        gain = (norm.gain * norm.slope) ** 2
        behind = norm.gain**2 * of_pairs(gaussian.kernel, activation, covariance)
        return behind, lambda g: gain * of_pairs(gaussian.kernel_derivative, activation, covariance) * g
    root = norm.gain / (q + norm.epsilon).sqrt()
    factors = outer(root)
    behind = state * factors
    if norm.epsilon == 0:
        behind.diagonal(dim1=1, dim2=2).fill_(norm.gain**2)  # exactly, which rounding would miss
    return behind, lambda g: factors * g
