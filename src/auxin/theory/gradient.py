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

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auxin.config import check
from auxin.theory.attention import exact_moments
from auxin.theory.block import Block, grid
from auxin.theory.forward import Sublayers, exact_kernels, layer, seen_norm

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Propagation:
    """Layer-by-layer quantities; index l = 0 is the input, l = depth the output."""

    cosine: Array
    """Cosine of two tokens, [depth + 1]."""
    norm: Array
    """Norm² per dimension, [depth + 1]."""
    gradient: Array
    """Norm² of the gradient with respect to a token, relative to that at the output, [depth + 1]."""
    gradient_overlap: Array
    """Overlap of two tokens' gradients on the same scale, [depth + 1]; 0 at the output."""


def propagate(block: Block, cosine: float = 0.3, depth: int = 12, norm: float = 1.0) -> Propagation:
    """Forward and backward through ``depth`` layers, from tokens of the given cosine and norm².

    The gradient at the output is a random probe, independent for each token. Exact at the block's
    finite number of tokens; cost about 3 ms a layer. Recursions: Cowsik et al. (arXiv 2403.02579) with the
    finite-length moments of ``attention_moments`` and the path through the softmax.

    Raises ``ConfigError`` for a cosine outside [−1/(n − 1), 1], a norm² that is not positive, a depth below
    0, or hyperparameters under which every token's state becomes zero.
    """
    n = block.n_tokens
    check(np.isfinite(cosine) and -1 / (n - 1) <= cosine <= 1, "cosine", cosine, f"-1/{n - 1} to 1")
    check(np.isfinite(norm) and 0 < norm <= 1e12, "norm", norm, "0 < norm ≤ 1e12")
    check(isinstance(depth, int) and 0 <= depth <= 100_000, "depth", depth, "0 to 100000")
    blocks, kernels = grid(block, {}), exact_kernels(block.activation)
    layers: list[Sublayers] = []
    r, gap = np.array(1 / norm), np.array(1 - cosine)
    cosines, norms = [cosine], [norm]
    for _ in range(depth):
        step = layer(blocks, exact_moments, kernels, r, gap)
        alive = bool(np.isfinite(step.r_out) and step.r_out > 0 and step.growth_attention > 0)
        check(alive, "block", block, "strengths under which the norm stays above zero and finite")
        layers.append(step)
        r, gap = step.r_out, step.gap_out
        cosines.append(float(1 - gap))
        norms.append(float(1 / r))
    state = np.array([1.0, 1.0])
    states = [state]
    for step in reversed(layers):
        state = backward(blocks, step) @ state
        states.append(state)
    trace, total = np.array(states[::-1]).T
    return Propagation(np.array(cosines), np.array(norms), trace, (total - trace) / (n - 1))


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
