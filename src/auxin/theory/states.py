"""The two states in which theory carries the tokens of a network, and their gradients on the way back.

*Symmetric*: all pairs of tokens overlap alike, so that two numbers suffice. The residual stream is r = 1/q, q its
norm² per dimension, and e = 1 − c; r may be 0, for a stream that grows for ever. Gradients are (g_q, S): the trace part
g_q = g_i·g_i and the row sum S = Σ_j g_i·g_j of their Gram matrix. A part maps them by a 2 × 2 matrix of non-negative
entries. All arrays of a grid broadcast.

*Gram*: any tokens under any mask, as the n × n Gram matrices C_ij = x_i·x_j/d, and G_ij = g_i·g_j on the way
back; [replicas, n, n] tensors, because attention is sampled and the spread of replicas is the standard error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auxin.errors import ConfigError
from auxin.values import check

if TYPE_CHECKING:  # symmetric tokens need numpy alone
    import torch
    from torch import Tensor

Array = NDArray[np.float64]
Back = Callable[["Tensor"], "Tensor"]
"""From the gradient's Gram matrix after a part to the one before it."""

SMALLEST, LARGEST = 1e-30, 1e30
"""Norm² of a token per dimension that a Gram matrix may have on its way."""


TWO_NUMBERS = "where two numbers stand for the tokens (propagate_gram takes any)"
"""What a ``PartError`` says of the parts that it allows."""


class PartError(ConfigError):
    """A part that tells tokens apart by more than their cosine, which two numbers cannot express."""


@dataclass(frozen=True)
class Seen:
    """What a norm hands on."""

    norm: Array
    """Norm² u per dimension."""
    gap: Array
    """e = 1 − cosine."""
    back: Array
    """[…, 2, 2]: the map of (g_q, S), backwards."""


@dataclass(frozen=True)
class Branch:
    """What a branch adds to the stream, before its strength."""

    norm: Array
    """Norm² q_F per dimension."""
    difference: Array
    """q_F − p_F, the norm² less the overlap of two tokens."""
    back: Array
    """[…, 2, 2]: the map of (g_q, S), backwards."""


def matrix(rows: list[list[Array]]) -> Array:
    """[…, 2, 2] of entries that broadcast."""
    flat = np.broadcast_arrays(*(entry for row in rows for entry in row))
    return np.stack([np.stack(flat[:2], axis=-1), np.stack(flat[2:], axis=-1)], axis=-2)


def scaled(factor: Any, back: Array) -> Array:
    """Each 2 × 2 matrix times its factor."""
    return np.asarray(factor)[..., None, None] * back


def quotient(numerator: Any, denominator: Any) -> Array:
    """The quotient, with 0/0 = 0."""
    return np.where(numerator == 0, 0.0, numerator / denominator)


def norms(state: Tensor) -> Tensor:
    """[replicas, n]: norm² of every token; ``ConfigError`` where one is beyond what can be propagated."""
    diagonal = state.diagonal(dim1=1, dim2=2)
    inside = (diagonal >= SMALLEST) & (diagonal <= LARGEST)
    example = diagonal.flatten()[inside.flatten().int().argmin()].item()
    check(bool(inside.all()), "norm² of a token on its way", example, f"{SMALLEST:g} to {LARGEST:g}")
    return diagonal


def outer(vector: Tensor) -> Tensor:
    """[replicas, n, n]: v_i·v_j."""
    return vector[:, :, None] * vector[:, None, :]


def symmetric_part(gram: Tensor) -> Tensor:
    """Rounding's asymmetry removed."""
    return (gram + gram.mT) / 2


def centered(seen: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Per Gram matrix C: its mean entry, its largest, and (C − mean)/largest in the precision of the draws."""
    center, size = seen.mean((1, 2), keepdim=True), seen.amax((1, 2), keepdim=True)
    return center, size, ((seen - center) / size).to(dtype)
