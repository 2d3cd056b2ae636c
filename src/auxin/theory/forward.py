"""Norm and cosine of permutation-symmetric tokens through one random layer.

The state is the norm² per dimension q and the gap e = 1 − c of tokens that all overlap alike (a simplex).
A sublayer maps q → s²q + b²q_F and qe → s²qe + b²g_F, where its branch F, of what it sees, has norm² q_F and
gap g_F = q_F − p_F. For attention that sees norm² u, and the MLP with q_h = σ_w²u + σ_b², e_h = σ_w²ue/q_h:

    q_att = σ_V²u[1 − e + eR1]         g_att = σ_V²ue(R1 − R2)
    q_mlp = σ_o²E[φ²] + σ_b²           g_mlp = σ_o²(E[φ(h)²] − E[φ(h)φ(h')])

Everything is kept relative to q, through r = 1/q, so that a residual stream which grows for ever (r → 0) is
an ordinary case; gaps are never differences, so that they keep their digits at collapse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auxin.theory import gaussian
from auxin.theory.attention import AttentionMoments, Moments
from auxin.theory.chebyshev import Interpolant

Array = NDArray[np.float64]

SMALLEST_VARIANCE = 1e-8
SMALLEST_GAP = 1e-14


@dataclass(frozen=True)
class MlpMoments:
    """Gaussian moments of the MLP's hidden units at variance q_h and gap e_h."""

    square: Array
    """E[φ²]."""
    gap: Array
    """E[φ²] − E[φφ']."""
    slope: Array
    """E[φ'²]."""
    slope_pair: Array
    """E[φ'φ'] of two tokens."""


Kernels = Callable[[Array, Array], MlpMoments]
"""MLP moments as a function of the hidden variance and gap."""


@dataclass(frozen=True)
class Sublayers:
    """One layer's forward quantities, which the way back needs, too."""

    r: Array
    """1/q of what enters attention (0 where q is beyond all bounds)."""
    gap: Array
    """e of what enters attention."""
    attention: AttentionMoments
    growth_attention: Array
    """Norm² after the attention residual, before any norm, relative to q."""
    r_mlp: Array
    """1/q of what enters the MLP."""
    gap_mlp: Array
    """e of what enters the MLP."""
    mlp: MlpMoments
    growth_mlp: Array
    """Norm² after the MLP residual relative to that before it."""
    r_out: Array
    """1/q of the layer's output."""
    gap_out: Array
    """e of the layer's output."""


def layer(block: Any, moments: Moments, kernels: Kernels, r: Array, gap: Array) -> Sublayers:
    """One layer forward, for a ``Block`` or a ``grid`` of them; ``r`` = 1/q and ``gap`` = 1 − c broadcast."""
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = seen_norm(block, r)
        a = moments(np.asarray(block.n_tokens, float), block.sigma_a * seen, gap)
        unit = r * seen * block.sigma_v**2
        s2, b2 = block.attention_skip**2, block.attention_branch**2
        growth = s2 + b2 * (unit * (1 - gap + gap * a.r1) + r * block.sigma_b_attention**2)
        gap_mlp = _quotient((s2 + b2 * unit * a.difference) * gap, growth)
        r_mlp = np.ones_like(r) if block.norm == "post" else _quotient(r, growth)

        seen = seen_norm(block, r_mlp)
        hidden = block.sigma_w**2 * seen + block.sigma_b**2
        m = kernels(hidden, _quotient(block.sigma_w**2 * seen * gap_mlp, hidden))
        s2, b2 = block.mlp_skip**2, block.mlp_branch**2 * r_mlp
        growth_mlp = s2 + b2 * (block.sigma_o**2 * m.square + block.output_bias**2)
        gap_out = _quotient(s2 * gap_mlp + b2 * block.sigma_o**2 * m.gap, growth_mlp)
        r_out = np.ones_like(r) if block.norm == "post" else _quotient(r_mlp, growth_mlp)
    return Sublayers(r, gap, a, growth, r_mlp, gap_mlp, m, growth_mlp, r_out, gap_out)


def seen_norm(block: Any, r: Array) -> Array:
    """Norm² of what a sublayer's branch sees when the residual stream has norm² 1/r."""
    return np.ones_like(r) if block.norm == "pre" else 1 / r


def flatten(block: SimpleNamespace, shape: tuple[int, ...]) -> SimpleNamespace:
    """The grid with every array broadcast to ``shape`` and raveled."""
    flat = {
        name: np.broadcast_to(np.asarray(value, float), shape).ravel()
        for name, value in vars(block).items()
        if name not in ("norm", "activation") and value is not None
    }
    return SimpleNamespace(**flat, norm=block.norm, activation=block.activation)


def take(block: SimpleNamespace, index: Any) -> SimpleNamespace:
    """The blocks of a flat grid at ``index``."""
    picked = {name: value[index] for name, value in vars(block).items() if isinstance(value, np.ndarray)}
    return SimpleNamespace(**picked, norm=block.norm, activation=block.activation)


def exact_kernels(activation: gaussian.AnyActivation) -> Kernels:
    """MLP moments straight from ``gaussian``."""

    def kernels(q: Array, gap: Array) -> MlpMoments:
        return MlpMoments(
            gaussian.second_moment(activation, q),
            gaussian.kernel_gap(activation, q, gap),
            gaussian.second_moment_derivative(activation, q),
            gaussian.kernel_derivative(activation, q, q, q * (1 - gap)),
        )

    return kernels


class KernelTable:
    """MLP moments interpolated in log q_h and a stretched √gap, for gaps from 0 to 1 (error below 1e-5)."""

    def __init__(self, activation: gaussian.AnyActivation, q: Array) -> None:
        low, high = (float(f(np.maximum(q, SMALLEST_VARIANCE))) for f in (np.min, np.max))
        self.table = _table(activation, float(np.log(low)), float(np.log(high)))

    def __call__(self, q: Array, gap: Array) -> MlpMoments:
        q, gap = np.broadcast_arrays(np.maximum(q, SMALLEST_VARIANCE), np.clip(gap, 0, 1))
        x = np.log1p(np.sqrt(gap) * (1 + np.sqrt(q))) / np.log1p(1 + np.sqrt(q))
        values = np.exp(self.table(np.log(q).ravel(), x.ravel()).T)
        square, relative, slope, slope_pair = (column.reshape(q.shape) for column in values)
        return MlpMoments(square, relative * q * gap, slope, slope_pair)


@lru_cache(32)
def _table(activation: gaussian.AnyActivation, low: float, high: float) -> Interpolant:
    def log_moments(log_q: Array, x: Array) -> Array:
        q = np.exp(log_q)
        gap = np.maximum((np.expm1(x * np.log1p(1 + np.sqrt(q))) / (1 + np.sqrt(q))) ** 2, SMALLEST_GAP)
        m = exact_kernels(activation)(q, gap)
        columns = np.stack([m.square, m.gap / (q * gap), m.slope, m.slope_pair], axis=1)
        return np.log(np.maximum(columns, 1e-300))

    counts = (8 + round(1.5 * (high - low)), 14 + round(3.5 * np.log1p(np.exp(high / 2))))
    return Interpolant(log_moments, [(low, high), (0.0, 1.0)], counts)


def _quotient(numerator: Array, denominator: Array) -> Array:
    """The quotient, with 0/0 = 0."""
    return np.where(numerator == 0, 0.0, numerator / denominator)
