"""Gradients of permutation-symmetric tokens back through one random layer.

The state is G_ij = g_i·g_j per dimension, two numbers: the trace part g_q = G_ii and the row sum
S = g_q + (n − 1)g_p, g_p = G_ij. In these coordinates one layer is a 2 × 2 matrix of non-negative entries.
Gradients are treated as independent of the weights that they pass (standard in mean-field theory, exact to
O(1/width)). With u the norm² that attention sees, c = 1 − e its cosine, the branch of attention maps

    value   g_q ← σ_V²[(R1 − R2)g_q + R2·S]                             S ← σ_V²·S
    score   g_q ← σ_A²σ_V²u²e[(eT + T − cT2)g_q + cT2·S]                S ← σ_A²σ_V²u²e²[(T − T2)g_q + T2·S]

(score is the path through the softmax), the branch of the MLP

    g_q ← σ_o²σ_w²E[φ'²]g_q      S ← σ_o²σ_w²{(E[φ'²] − E[φ'φ'])g_q + E[φ'φ']·S}.

Each branch counts b², the skip s². A pre-norm divides the branch by the norm² of what it normalizes, a
post-norm the whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auxin.theory.forward import Sublayers, seen_norm

Array = NDArray[np.float64]


def backward(block: Any, step: Sublayers) -> Array:
    """The layer's map of (g_q, S), from its output to its input, [..., 2, 2]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return attention_backward(block, step) @ mlp_backward(block, step)


def attention_backward(block: Any, step: Sublayers) -> Array:
    a, e = step.attention, step.gap
    seen = seen_norm(block, step.r)
    score = (block.sigma_a * seen) ** 2 * e
    pair = (1 - e) * a.t2
    rows = [
        [a.difference + score * (e * a.t + a.t - pair), a.r2 + score * pair],
        [score * e * (a.t - a.t2), 1 + score * e * a.t2],
    ]
    unit = step.r if block.norm == "pre" else np.ones_like(step.r)
    branch = block.attention_branch**2 * block.sigma_v**2 * unit
    return _residual(block.attention_skip**2, branch, rows) * _post(block, step.r, step.growth_attention)


def mlp_backward(block: Any, step: Sublayers) -> Array:
    m = step.mlp
    rows = [[m.slope, np.zeros_like(m.slope)], [m.slope - m.slope_pair, m.slope_pair]]
    unit = step.r_mlp if block.norm == "pre" else np.ones_like(step.r_mlp)
    branch = block.mlp_branch**2 * (block.sigma_o * block.sigma_w) ** 2 * unit
    return _residual(block.mlp_skip**2, branch, rows) * _post(block, step.r_mlp, step.growth_mlp)


def _residual(skip: Array, branch: Array, rows: list[list[Array]]) -> Array:
    matrix = np.stack([np.stack(np.broadcast_arrays(*row), axis=-1) for row in rows], axis=-2)
    return np.asarray(skip)[..., None, None] * np.eye(2) + np.asarray(branch)[..., None, None] * matrix


def _post(block: Any, r: Array, growth: Array) -> Array:
    """What a post-norm multiplies the gradient by: one over the norm² that it normalizes."""
    if block.norm != "post":
        return np.ones((1, 1))
    return (r / growth)[..., None, None]
