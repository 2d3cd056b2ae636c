"""Attention heads drawn at their finite dimension: rotary positions, QK-norm, soft caps, and all that acts on logits.

At infinite width the d_h components of a head's queries are independent draws from N(0, σ_Q²C) over the tokens, those
of its keys from N(0, σ_K²C), C the Gram matrix of what attention sees. A draw is put through what the model does,

    q̂ = rotate(normalize(q))     a_ij = cap(scale·q̂_i·k̂_j) + bias_ij     A = softmax(a)

and C → σ_V² E[A C Aᵀ]. Backwards, ∂L/∂A is Gaussian, t = L_G Z L_Cᵀ with L_GL_Gᵀ = G, L_CL_Cᵀ = C, up to σ_V; with
(dq, dk) its vector-Jacobian product through that same function,

    G → σ_V²{E[Aᵀ G A] + σ_Q² E[dq dqᵀ] + σ_K² E[dk dkᵀ]}.

This is exact at finite d_h. How many heads share a key does not matter: their output maps are independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from auxin.architecture import Attention
from auxin.theory.draws import Draws, precision, root
from auxin.theory.states import centered, outer, symmetric_part

CHUNK = 2**16
"""Entries of the attention matrices drawn at a time."""


def biases(body: Attention, allowed: Tensor) -> Tensor:
    """[slopes, n, n], added to the logits: −∞ where a token may not look, and ALiBi's −slope·|i − j|."""
    place = torch.arange(len(allowed))
    distance = (place[:, None] - place).abs()
    if body.window is not None:
        allowed = allowed & (distance < body.window)
    forbidden = torch.zeros(allowed.shape, dtype=torch.float64).masked_fill_(~allowed, -torch.inf)
    slopes = torch.tensor(body.alibi_slopes or [0.0], dtype=torch.float64)
    return forbidden - slopes[:, None, None] * distance


@dataclass(frozen=True)
class _Head:
    """Drawn heads, m at a time for each replica."""

    attention: Tensor
    """A, [replicas, m, n, n]."""
    cap_slope: Tensor | None
    """Derivative of the soft cap; None: 1."""
    queries: Tensor
    """q̂, [replicas, m, n, d_h]; at infinite d_h a root of C takes its place when dk is formed."""
    keys: Tensor
    pull_queries: Callable[[Tensor], Tensor]
    """From dq̂ to dq."""
    pull_keys: Callable[[Tensor], Tensor]


def forward(body: Attention, seen: Tensor, draws: Draws) -> Tensor:
    """σ_V² E[A C Aᵀ]."""
    dtype = precision(body.logit_scale, seen)
    _, size, spread = centered(seen, dtype)
    total = torch.zeros_like(seen)
    for head in _drawn(body, seen, draws, dtype):
        a = head.attention
        total += ((a @ spread[:, None]) @ a.mT).sum(1)
    mean = seen.mean((1, 2), keepdim=True) + size * symmetric_part(total) / draws.count
    return body.sigma_v**2 * mean


def backward(body: Attention, seen: Tensor, gradient: Tensor, draws: Draws) -> Tensor:
    """σ_V²{E[Aᵀ G A] + σ_Q² E[dq dqᵀ] + σ_K² E[dk dkᵀ]}."""
    dtype = precision(body.logit_scale, seen)
    strength = gradient.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    unit = gradient / strength
    left = root(unit).to(dtype)[:, None]
    r = root(seen)
    right = (r - r.mean(1, keepdim=True)).to(dtype)[:, None]  # the softmax is blind to what all keys share
    unit = unit.to(dtype)[:, None]
    n = seen.shape[-1]
    value, score, factor = torch.zeros_like(seen), torch.zeros_like(seen), _factor(body)
    for head in _drawn(body, seen, draws, dtype):
        a = head.attention
        value += (a.mT @ (unit @ a)).sum(1)
        t = left @ draws.gaussians(*a.shape[:2], n, n, dtype=dtype) @ right.mT
        da = a * (t - (a * t).sum(-1, keepdim=True))
        if head.cap_slope is not None:
            da *= head.cap_slope
        dq, dk = head.pull_queries(da @ head.keys), head.pull_keys(da.mT @ head.queries)
        score += (dq @ dq.mT + dk @ dk.mT).sum(1)
    score = factor**2 * symmetric_part(score)
    if body.qk_norm == "all":  # q̂ = z/√u: the norm's Jacobian
        score /= outer(seen.diagonal(dim1=1, dim2=2).sqrt())
    return strength * body.sigma_v**2 / draws.count * (symmetric_part(value) + score)


def _factor(body: Attention) -> float:
    """What q̂·k̂ of unit queries and keys is multiplied by."""
    scale = body.scale
    if scale is None:
        scale = 1.0 if body.head_dim is None else body.head_dim**-0.5
    return scale if body.qk_norm else scale * body.sigma_q * body.sigma_k


def _drawn(body: Attention, seen: Tensor, draws: Draws, dtype: torch.dtype) -> Iterator[_Head]:
    """Heads over tokens of Gram matrix ``seen``."""
    replicas, n, _ = seen.shape
    if body.qk_norm == "all":
        seen = seen / outer(seen.diagonal(dim1=1, dim2=2).sqrt())
    r = root(seen).to(dtype)[:, None]
    bias = biases(body, draws.allowed).to(dtype)
    turn = _rotation(body, n, dtype)
    factor = _factor(body)
    first = 0
    for m in draws.chunks(replicas * n * n, CHUNK):
        queries, pull_queries = _projected(body, r, m, draws, turn)
        keys, pull_keys = _projected(body, r, m, draws, turn)
        if (
            body.head_dim is None
        ):  # logits σ_A·R Z Rᵀ: one random matrix between the tokens, met from either side
            queries, keys = queries, r.expand(replicas, m, n, n)
        logits = factor * (queries @ keys.mT)
        slope = None
        if body.softcap is not None:
            capped = torch.tanh(logits / body.softcap)
            logits, slope = body.softcap * capped, 1 - capped * capped
        attention = (logits + bias[torch.arange(first, first + m) % len(bias)]).softmax(-1)
        if body.head_dim is None:
            queries = keys
        yield _Head(attention, slope, queries, keys, pull_queries, pull_keys)
        first += m


def _projected(
    body: Attention, r: Tensor, m: int, draws: Draws, turn: Tensor | None
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Queries or keys of m heads with what is done to them, [replicas, m, n, d_h], and that's transposed Jacobian."""
    replicas, _, n, _ = r.shape
    x = r @ draws.gaussians(replicas, m, n, body.head_dim or n, dtype=r.dtype)
    divisor = None
    if body.qk_norm is True:
        divisor = x.square().mean(-1, keepdim=True).sqrt()
        x /= divisor
    if turn is not None:
        _turn(x, turn)

    def pull(g: Tensor) -> Tensor:
        if divisor is not None:  # in the turned frame, where x stands as well
            g = (g - x * (g * x).mean(-1, keepdim=True)) / divisor
        return g if turn is None else _turn(g, turn.conj())

    return x, pull


def _rotation(body: Attention, n: int, dtype: torch.dtype) -> Tensor | None:
    """e^{i·angle} of every token and pair, [n, pairs]."""
    if body.rotary is None or body.head_dim is None:
        return None
    rate = torch.tensor(body.rotary.rates(body.head_dim), dtype=torch.float64)
    angle = torch.arange(n, dtype=torch.float64)[:, None] * rate
    return torch.polar(torch.ones_like(angle), angle).to(
        torch.complex64 if dtype == torch.float32 else torch.complex128
    )


def _turn(x: Tensor, turn: Tensor) -> Tensor:
    """Turn pairs of x's first dimensions, in place; which ones are paired does not matter to independent ones."""
    pairs = x[..., : 2 * turn.shape[-1]].unflatten(-1, (-1, 2))
    torch.view_as_complex(pairs).mul_(turn)
    return x
