"""Attention with latent keys: heads drawn as in ``heads``, from the Gram matrices of latents.

A first map leaves the Gram matrix C of what attention sees as it is, up to σ². The norm behind it makes that matrix
L = S⁻¹ C S⁻¹, S = diag √(C_ii + ε/σ²). Values and keys are N(0, σ_V²L) and N(0, σ_K²L); the turned dimensions of keys
are N(0, σ_D²C); queries are N(0, σ_Q²L) behind a latent of their own, else N(0, σ_Q²C). With dq, dk and dr the
gradients of a draw's queries, keys, and turned dimensions of keys,

    C → σ_V² E[A L Aᵀ] + σ_b²
    G → σ_V²{S⁻¹(E[Aᵀ G A] + σ_K² E[dk dkᵀ] + σ_Q² E[dq dqᵀ])S⁻¹ + σ_D² E[dr drᵀ]}

with σ_Q² E[dq dqᵀ] outside of S⁻¹ where queries have no latent. The norm's Jacobian is taken as S⁻¹, and the latents'
Gram matrix as its mean: both are right up to O(1/rank).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from auxin.architecture import LatentAttention
from auxin.theory.draws import Draws, precision, root
from auxin.theory.parts.heads import CHUNK, SMALLEST, biases, rotation, turned_by
from auxin.theory.states import Back, centered, outer, symmetric_part


def gram(body: LatentAttention, seen: Tensor, draws: Draws) -> tuple[Tensor, Back]:
    """The output's Gram matrix from that of what attention sees, and the way back."""
    epsilon = body.qk_epsilon / max(body.sigma_down, SMALLEST) ** 2
    norms = outer((seen.diagonal(dim1=1, dim2=2) + epsilon).sqrt())  # S on either side
    latent = seen / norms
    dtype = precision(body.logit_scale, seen.amax((1, 2)).clamp_min(1))
    center, size, spread = centered(latent, dtype)
    total = seen.new_zeros(seen.shape)
    for a, _, _, _ in _drawn(body, seen, latent, draws, dtype):
        total += ((a @ spread[:, None]) @ a.mT).sum(1)
    out = body.sigma_v**2 * (center + size * symmetric_part(total) / draws.count) + body.sigma_b**2

    def back(gradient: Tensor) -> Tensor:
        inside, outside = _backward(body, seen, latent, gradient, draws, dtype)
        return inside / norms + outside

    return out, back


def _backward(
    body: LatentAttention, seen: Tensor, latent: Tensor, gradient: Tensor, draws: Draws, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Of latents, and straight of what attention sees."""
    strength = gradient.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    unit = gradient / strength
    left, r = root(unit).to(dtype)[:, None], root(latent)
    right = (r - r.mean(1, keepdim=True)).to(dtype)[:, None]  # the softmax is blind to what all keys share
    unit = unit.to(dtype)[:, None]
    inside, outside = torch.zeros_like(seen), torch.zeros_like(seen)
    queries_to = outside if body.query_rank is None else inside
    for a, q, k, turn in _drawn(body, seen, latent, draws, dtype):
        t = left @ draws.gaussians(*a.shape, dtype=dtype) @ right.mT
        da = a * (t - (a * t).sum(-1, keepdim=True))
        dq, dk = (turned_by(x, turn.conj()) for x in (da @ k, da.mT @ q))
        dr, dk = dk.split((body.turned, dk.shape[-1] - body.turned), -1)
        inside += (a.mT @ (unit @ a) + body.sigma_k**2 * (dk @ dk.mT)).sum(1)
        outside += body.sigma_down**2 * (dr @ dr.mT).sum(1)
        queries_to += (dq @ dq.mT).sum(1)
    scale = strength * body.sigma_v**2 / draws.count
    return scale * symmetric_part(inside), scale * symmetric_part(outside)


def _drawn(
    body: LatentAttention, seen: Tensor, latent: Tensor, draws: Draws, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """A, queries and keys of drawn heads, and their rotation; both are times scale·σ_Q, so that each pulls with it.

    The dimensions that turn stand first; a key's gradient is then that of q times scale·σ_Q, without σ_K and σ_D.
    """
    assert body.head_dim is not None
    replicas, n, d = len(seen), seen.shape[-1], body.head_dim
    direct, normed = (root(x).to(dtype)[:, None] for x in (seen, latent))
    bias, turn = biases(body, draws.allowed).to(dtype), rotation(body, n, dtype)
    assert turn is not None
    factor = body.sigma_q * (d**-0.5 if body.scale is None else body.scale)
    for count in draws.chunks(replicas * n * n, CHUNK):
        draw = lambda r, size, count=count: r @ draws.gaussians(replicas, count, n, size, dtype=dtype)
        q = turned_by(draw(direct if body.query_rank is None else normed, d), turn)
        k = (body.sigma_down * draw(direct, body.turned), body.sigma_k * draw(normed, d - body.turned))
        k = turned_by(torch.cat(k, -1), turn)
        yield (factor * (q @ k.mT) + bias).softmax(-1), factor * q, factor * k, turn
