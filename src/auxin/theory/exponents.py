"""What a block does to tokens and gradients: layer by layer, and in the end by two exponents.

Angle exponent: λ_a = log de'/de at e = 0, the growth of the angle between almost collapsed tokens in a layer,
at the norm's fixed point there:

    e^{λ_a} = s_A²/(s_A² + b_A²ν r) · [s_M² + b_M²σ_o²σ_w²E[φ'²]ρ]/[s_M² + b_M²q_mlp r_1],

ν the norm² of attention's output, r and r_1 one over the norm² before attention and MLP, ρ = r_1 for
pre-norm, else 1. For the paper's block it is log{(1 − α_A²)[(1 − α_M²) + α_M²χ/q_1]} (Cowsik et al.,
arXiv 2403.02579). Gradient exponent: λ_g = log of the largest eigenvalue of the backward map (``gradient``)
at the forward fixed point.

Where skip strengths let the norm grow without bound (s_A·s_M ≥ 1 in pre-norm) both are their limits for
r → 0, where branches no longer count: λ_a = 0, λ_g = log(s_A²s_M²); the cosine is the one that the branches
pull towards. A network without norm whose norm² leaves [1e-6, 1e6] has the exponents of that bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auxin.architecture.block import Block
from auxin.theory.attention import exact_moments
from auxin.theory.fixed import LARGEST, Map, collapsed, settle
from auxin.theory.forward import Sublayers, exact_kernels, flatten, layer
from auxin.theory.gradient import backward
from auxin.theory.grid import grid
from auxin.values import check, check_whole

Array = NDArray[np.float64]
Phase = Literal["ordered", "critical", "chaotic"]

CRITICAL = 1e-6
"""|λ_a| up to which a block is called critical."""
SCAN = 400
"""Gaps at which ``fixed_points`` looks for a change of sign."""


@dataclass(frozen=True)
class Exponents:
    """Exponents and fixed point of one block (floats), or of a grid (arrays)."""

    angle: Any
    """λ_a: the angle between almost equal tokens grows by e^{λ_a/2} a layer."""
    gradient: Any
    """λ_g: gradient norms² grow by e^{λ_g} a layer, backwards."""
    gradient_spectrum: Any
    """Logarithms of both eigenvalues (of their moduli) of the backward map, the larger one first, [..., 2]."""
    norm: Any
    """q*: norm² per dimension at the fixed point; inf where it grows for ever."""
    cosine: Any
    """c*: cosine of two tokens at the stable fixed point reached from the start."""
    phase: Any
    """ordered (λ_a < 0, tokens collapse), critical (|λ_a| ≤ 1e-6) or chaotic (λ_a > 0, tokens repel)."""


@dataclass(frozen=True)
class FixedPoint:
    """A fixed point of the forward map."""

    norm: float
    """q*: norm² per dimension."""
    cosine: float
    """c*: cosine of two tokens."""
    stable: bool
    """Whether nearby states come closer to it layer by layer."""


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
    gap: Array
    """1 − cosine, with its own digits where tokens have all but collapsed, [depth + 1]."""


def exponents(block: Block, cosine: float = 0.3) -> Exponents:
    """Both exponents of a block, at the fixed point that tokens of the given cosine reach.

    Cost about 50 ms (a user's activation: seconds). Angle and phase do not depend on ``cosine``; the fixed
    point, and with it the gradient exponent, can where collapse and repulsion are both stable.
    Raises ``ConfigError`` for a cosine outside [−1/(n − 1), 1], or a post-norm of states that are all zero.
    """
    values = exponents_grid(block, {}, cosine)
    spectrum = tuple(float(v) for v in values.gradient_spectrum)
    angle, gradient, norm, reached = (
        float(v) for v in (values.angle, values.gradient, values.norm, values.cosine)
    )
    for name, value in (("angle exponent", angle), ("gradient exponent", gradient)):
        check(not np.isnan(value), name, value, "tokens whose states do not all become zero")
    return Exponents(angle, gradient, spectrum, norm, reached, str(values.phase))


def exponents_grid(block: Block, hyperparameters: Mapping[str, Any], cosine: float = 0.3) -> Exponents:
    """``exponents`` of many blocks at once: arrays of the shape that the hyperparameters broadcast to."""
    n = block.n_tokens
    check(np.isfinite(cosine) and -1 / (n - 1) <= cosine <= 1, "cosine", cosine, f"-1/{n - 1} to 1")
    shape = np.broadcast_shapes(*(np.shape(v) for v in hyperparameters.values()))
    forward = Map(flatten(grid(block, hyperparameters), shape))
    r, gap = settle(forward, cosine)
    spectrum = _spectrum(backward(forward.blocks, forward.layer(r, gap)))
    angle = _angle(forward)
    return Exponents(
        angle.reshape(shape),
        spectrum[:, 0].reshape(shape),
        spectrum.reshape(*shape, 2),
        _norm(forward, r).reshape(shape),
        (1 - gap).reshape(shape),
        _phase(angle).reshape(shape),
    )


def angle_exponents(block: Block, hyperparameters: Mapping[str, Any]) -> Array:
    """λ_a of many blocks at once; it needs no attention moments and no search for c*, only closed forms."""
    shape = np.broadcast_shapes(*(np.shape(v) for v in hyperparameters.values()))
    return _angle(Map(flatten(grid(block, hyperparameters), shape), exact=True)).reshape(shape)


def fixed_point(block: Block, cosine: float = 0.3) -> FixedPoint:
    """The stable fixed point that tokens of the given cosine reach; errors as for ``exponents``."""
    values = exponents_grid(block, {}, cosine)
    return FixedPoint(float(values.norm), float(values.cosine), True)


def fixed_points(block: Block) -> list[FixedPoint]:
    """All fixed points with cosine from 0 to 1, stable or not, by falling cosine; for pre- and post-norm.

    The first is always collapse (cosine 1). Two that lie closer than 2% in the gap can escape.
    """
    check(block.norm != "none", "norm", block.norm, "pre, post (without norm use fixed_point)")
    count = SCAN
    forward = Map(flatten(grid(block, {}), (count,)))
    gap = np.concatenate([np.geomspace(1e-8, 0.2, count // 2), np.linspace(0.2, 1, count // 2 + 1)[1:]])
    positive = forward.drift(gap) > 0
    found = [(0.0, not positive[0])]
    for k in np.flatnonzero(positive[1:] != positive[:-1]):
        low, high = gap[k], gap[k + 1]
        for _ in range(50):
            middle = (low + high) / 2
            same = forward.drift(np.array([middle]), np.array([k]))[0] > 0
            low, high = (middle, high) if same == positive[k] else (low, middle)
        found.append((float(low + high) / 2, bool(positive[k])))
    return [
        FixedPoint(float(_norm(forward, forward.inverse_norm(np.full(count, e)))[0]), 1 - e, bool(stable))
        for e, stable in found
    ]


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
    check_whole("depth", depth, 0, 100_000)
    blocks, kernels = grid(block, {}), exact_kernels(block.activation)
    layers: list[Sublayers] = []
    r, gap = np.array(1 / norm), np.array(1 - cosine)
    gaps, norms = [1 - cosine], [norm]
    for _ in range(depth):
        step = layer(blocks, exact_moments, kernels, r, gap)
        growth = step.growth_attention * step.growth_mlp if step.growth_attention > 0 else 0.0
        grown = float(growth / (1 if block.norm == "post" else r))
        where = ", before it is normalized" if block.norm == "post" else ""
        check(1e-300 < grown < 1e300, f"norm² after layer {len(layers) + 1}{where}", grown, "1e-300 to 1e300")
        layers.append(step)
        r, gap = step.r_out, step.gap_out
        gaps.append(float(gap))
        norms.append(float(1 / r))
    state = np.array([1.0, 1.0])
    states = [state]
    for step in reversed(layers):
        state = backward(blocks, step) @ state
        states.append(state)
    trace, total = np.array(states[::-1]).T
    cosines = np.array([cosine, *(1 - e for e in gaps[1:])])
    return Propagation(cosines, np.array(norms), trace, (total - trace) / (n - 1), np.array(gaps))


def _angle(forward: Map) -> Array:
    step = forward.layer(collapsed(forward), np.zeros(len(forward.blocks.n_tokens)))
    blocks = forward.blocks
    unit = step.r_mlp if blocks.norm == "pre" else 1.0
    branch = (blocks.mlp_branch * blocks.sigma_o * blocks.sigma_w) ** 2 * unit * step.mlp.slope
    kept = blocks.attention_skip**2 * (blocks.mlp_skip**2 + branch)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.where(kept > 0, kept / (step.growth_attention * step.growth_mlp), 0))


def _spectrum(matrix: Array) -> Array:
    """log |eigenvalues| of 2 × 2 matrices with non-negative entries, the largest first."""
    a, b, c, d = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1]
    root = np.sqrt(((a - d) / 2) ** 2 + b * c)
    with np.errstate(divide="ignore"):
        return np.log(np.abs(np.stack([(a + d) / 2 + root, (a + d) / 2 - root], axis=1)))


def _norm(forward: Map, r: Array) -> Array:
    """1/r, and its limit where the norm has no fixed point: inf, 0, or the 1 that it started from."""
    if forward.blocks.norm == "none":
        limited = np.where(r <= 1 / LARGEST, 0, np.where(r >= LARGEST, np.inf, r))
    else:
        grows = forward.layer(np.ones_like(r), np.ones_like(r))
        supplied = grows.growth_attention * grows.growth_mlp > forward.skips * (1 + 1e-15)
        frozen = np.where(forward.skips < 1, np.inf, np.where((forward.skips == 1) & ~supplied, 1, 0))
        limited = np.where(r > 0, r, frozen)
    with np.errstate(divide="ignore"):
        return 1 / limited


def _phase(angle: Array) -> NDArray[np.str_]:
    return np.where(np.abs(angle) <= CRITICAL, "critical", np.where(angle < 0, "ordered", "chaotic"))
