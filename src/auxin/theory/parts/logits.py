"""Attention drawn where its logits are Gaussian: averages over random attention matrices, see ``attention``."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from auxin.architecture import Attention
from auxin.theory.draws import Draws, precision, root
from auxin.theory.parts import heads
from auxin.theory.states import centered, symmetric_part

CHUNK = 2**18
"""Entries of the attention matrices drawn at a time, so that the working set stays near the processor."""
SUM = 1024
"""Terms that a sum in single precision may have; sums of chunks are in double precision."""


def forward(body: Attention, seen: Tensor, draws: Draws) -> Tensor:
    """σ_V² E[A C Aᵀ]."""
    dtype = precision(body.logit_scale, seen)
    matrices = _drawn(body, seen, draws, dtype)
    mean = seen.mean((1, 2), keepdim=True)
    return average_outputs(matrices, seen, dtype) * (body.sigma_v**2 / draws.count) + body.sigma_v**2 * mean


def backward(body: Attention, seen: Tensor, gradient: Tensor, draws: Draws) -> Tensor:
    """σ_V² E[Aᵀ G A + σ_A²(G∘Q + K)]."""
    dtype = precision(body.logit_scale, seen)
    matrices = _drawn(body, seen, draws, dtype)
    gain = body.sigma_v**2 / draws.count
    return gain * average_gradients(matrices, seen, gradient, body.logit_scale, dtype)


def _drawn(body: Attention, seen: Tensor, draws: Draws, dtype: torch.dtype) -> Iterator[Tensor]:
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
