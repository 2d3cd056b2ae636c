"""Attention whose logits are Gaussian: softmax_j(a_ij + bias_ij), Cov(a_ij, a_i'j') = σ_A² C_ii' C_jj'.

With C the Gram matrix of what attention sees, A its random matrix and D_i = diag(A_i) − A_iA_iᵀ the softmax's
Jacobian in row i,

    C → σ_V² E[A C Aᵀ] + σ_b²       G → σ_V² E[Aᵀ G A + σ_A²(G∘Q + K)],   Q_ij = tr(C D_i C D_j),
                                                                           K = Σ_ij C_ij G_ij D_i C D_j.

The first term backwards is the path through the values, the others go through the softmax to queries and keys.
For symmetric tokens without a mask, of norm² u, c = 1 − e, and with the moments R1, R2, T, T2 of ``moments``:

    q_F = σ_V²u[1 − e + eR1]       q_F − p_F = σ_V²ue(R1 − R2)
    value   g_q ← σ_V²[(R1 − R2)g_q + R2·S]                             S ← σ_V²·S
    score   g_q ← σ_A²σ_V²u²e[(eT + T − cT2)g_q + cT2·S]                S ← σ_A²σ_V²u²e²[(T − T2)g_q + T2·S]

Heads of finite dimension, and whatever acts on queries, keys or logits, are ``heads``'.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from auxin.architecture import Attention
from auxin.theory.draws import Draws, precision, root
from auxin.theory.moments import Moments, MomentsTable, exact_moments
from auxin.theory.parts import heads
from auxin.theory.states import Array, Back, Branch, PartError, centered, matrix, scaled, symmetric_part

CHUNK = 2**18
"""Entries of the attention matrices drawn at a time, so that the working set stays near the processor."""
SUM = 1024
"""Terms that a sum in single precision may have; sums of chunks are in double precision."""


class Symmetric:
    """Attention's branch for permutation-symmetric tokens.

    Args:
        body: the description, whose numbers may be arrays.
        n_tokens: n, a number or an array.
        seen: the norms² that it will see, from which moments are tabulated for a grid; None: computed where needed.

    Raises ``ConfigError`` for what tells tokens apart by their position, or for heads of finite dimension.
    """

    def __init__(self, body: Attention, n_tokens: Array, seen: Array | None) -> None:
        for name, value in heads.beyond_gaussian(body).items():
            raise PartError(
                f"{name} of attention is {value}; allowed: plain attention, where two numbers stand for the tokens "
                "(propagate_gram takes any)"
            )
        self.moments: Moments = exact_moments
        if seen is not None:
            self.moments = MomentsTable(n_tokens, np.asarray(body.logit_scale) * seen[:, None])

    def __call__(self, body: Attention, n_tokens: Array, u: Array, gap: Array) -> Branch:
        """The branch that sees norm² u and gap e."""
        a = self.moments(n_tokens, body.logit_scale * u, gap)
        gain = body.sigma_v**2

        def back() -> Array:
            score, pair = (body.logit_scale * u) ** 2 * gap, (1 - gap) * a.t2
            return scaled(
                gain,
                matrix(
                    [
                        [a.difference + score * (gap * a.t + a.t - pair), a.r2 + score * pair],
                        [score * gap * (a.t - a.t2), 1 + score * gap * a.t2],
                    ]
                ),
            )

        norm = gain * u * (1 - gap + gap * a.r1) + body.sigma_b**2
        return Branch(norm, gain * u * gap * a.difference, back)


def gram(body: Attention, seen: Tensor, draws: Draws) -> tuple[Tensor, Back]:
    """The output's Gram matrix from that of what attention sees, and the way back."""
    sampled = heads if body.head_dim is not None or body.softcap is not None else _Gaussian
    return (
        sampled.forward(body, seen, draws) + body.sigma_b**2,
        lambda gradient: sampled.backward(body, seen, gradient, draws),
    )


class _Gaussian:
    """Averages over attention matrices of Gaussian logits."""

    @staticmethod
    def forward(body: Attention, seen: Tensor, draws: Draws) -> Tensor:
        """σ_V² E[A C Aᵀ]."""
        dtype = precision(body.logit_scale, seen)
        matrices = drawn(body, seen, draws, dtype)
        return average_outputs(matrices, seen, dtype) * (body.sigma_v**2 / draws.count) + body.sigma_v**2 * (
            seen.mean((1, 2), keepdim=True)
        )

    @staticmethod
    def backward(body: Attention, seen: Tensor, gradient: Tensor, draws: Draws) -> Tensor:
        """σ_V² E[Aᵀ G A + σ_A²(G∘Q + K)]."""
        dtype = precision(body.logit_scale, seen)
        gain = body.sigma_v**2 / draws.count
        return gain * average_gradients(
            drawn(body, seen, draws, dtype), seen, gradient, body.logit_scale, dtype
        )


def drawn(body: Attention, seen: Tensor, draws: Draws, dtype: torch.dtype) -> Iterator[Tensor]:
    """Attention matrices over tokens of Gram matrix ``seen``: [replicas, n, m, n] (query, draw, key)."""
    r = root(seen)
    queries, keys = (body.logit_scale * r).to(dtype), (r - r.mean(1, keepdim=True)).to(dtype)
    replicas, n, _ = seen.shape
    bias = heads.biases(body, draws.allowed).to(dtype)  # [slopes, n, n]
    first = 0
    for m in draws.chunks(replicas * n * n, min(CHUNK, replicas * n * SUM)):
        z = draws.gaussians(replicas, n, m * n, dtype=dtype)
        logits = ((queries @ z).view(replicas, n * m, n) @ keys.mT).view(replicas, n, m, n)
        slope = torch.arange(first, first + m) % len(bias)
        yield (logits + bias[slope].transpose(0, 1)).softmax(-1)
        first += m


def average_outputs(matrices: Iterator[Tensor], seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Σ A (C − mean) Aᵀ over the draws; rows of A sum to one, so that C may be centred."""
    _, size, spread = centered(seen, dtype)
    total = torch.zeros_like(seen)
    for a in matrices:
        by_query = a.flatten(2)
        total += (a.flatten(1, 2) @ spread).view_as(by_query) @ by_query.mT
    return size * symmetric_part(total)


def average_gradients(
    matrices: Iterator[Tensor], seen: Tensor, gradient: Tensor, logit_scale: float, dtype: torch.dtype
) -> Tensor:
    """Σ Aᵀ G A + σ_A²(G∘Q + K) over the draws, with W = C∘G and S = A C Aᵀ as

        Q_ij = [A (C∘C) Aᵀ − P − Pᵀ + S∘S]_ij,                P = A ((AC)∘(AC))ᵀ
        K    = C∘(Aᵀ W A) − Y − Yᵀ + Aᵀ (W∘S) A,              Y = Aᵀ ((AC)∘(WA))

    so that every term is a matrix product. D_i·1 = 0: next to it, C may be centred.
    """
    strength = gradient.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    unit = (gradient / strength).to(dtype)
    _, size, spread = centered(seen, dtype)
    squared, both = spread * spread / 2, (seen / size * unit).to(dtype)
    value, query, weighted, rest = (torch.zeros_like(seen) for _ in range(4))
    for a in matrices:
        by_query, by_pair = a.flatten(2), a.flatten(1, 2)  # [replicas, i, (m k)] and [replicas, (i m), k]
        value += by_pair.mT @ (unit @ by_query).view_as(by_pair)
        ac = by_pair @ spread
        query += by_query @ (by_pair @ squared - ac * ac).view_as(by_query).mT
        wa = (both @ by_query).view_as(by_pair)
        weighted += by_pair.mT @ wa
        score = ac.view_as(a).transpose(1, 2) @ a.permute(0, 2, 3, 1)  # S, [replicas, m, i, j]
        query += (score * score).sum(1) / 2
        wsa = ((both[:, None] * score) @ a.transpose(1, 2)).transpose(1, 2).reshape_as(by_pair)
        rest += by_pair.mT @ (wsa / 2 - ac * wa)
    through_softmax = 2 * unit * symmetric_part(query) + spread * weighted + 2 * rest
    return strength * symmetric_part(value + (logit_scale * size) ** 2 * through_softmax)
