"""Attention heads drawn at their finite dimension: rotary positions, QK-norm, soft caps, and all that acts on logits.

At infinite width the d_h components of a head's queries are independent draws from N(0, σ_Q²C) over the tokens, those
of its keys from N(0, σ_K²C), C the Gram matrix of what attention sees. A draw is put through what the model does,

    q̂ = rotate(normalize(q))     a_ij = cap(scale·q̂_i·k̂_j) + bias_ij     A = softmax(a)

and C → σ_V² E[A C Aᵀ]. Backwards, ∂L/∂A is Gaussian, t = L_G Z L_Cᵀ with L_GL_Gᵀ = G, L_CL_Cᵀ = C, up to σ_V; with
(dq, dk) its vector-Jacobian product through that same function,

    G → σ_V²{E[Aᵀ G A] + σ_Q² E[dq dqᵀ] + σ_K² E[dk dkᵀ]}.

This is exact at finite d_h. How many heads share a key does not matter: their output maps are independent. A sink is
a key of a constant logit whose value is 0; a relative bias adds b_{row(i − j)}, rows drawn from N(0, σ²) for each head.
Where keys and values are of other tokens than queries (``cross``), their terms are of those tokens' Gram matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from auxin.architecture import Attention
from auxin.architecture.attention import Relative
from auxin.theory.draws import Draws, precision, root
from auxin.theory.states import centered, outer, symmetric_part

CHUNK = 2**16
"""Entries of the attention matrices drawn at a time."""
SMALLEST = 1e-30
"""σ that stands for all smaller ones where it is divided by."""


def biases(body: Attention, allowed: Tensor) -> Tensor:
    """[slopes, n, m], added to the logits: −∞ where a token may not look, and ALiBi's −slope·|i − j|."""
    n, m = allowed.shape
    distance = (torch.arange(n)[:, None] - torch.arange(m)).abs()
    if body.window is not None:
        allowed = allowed & (distance < body.window)
    forbidden = torch.zeros(allowed.shape, dtype=torch.float64).masked_fill_(~allowed, -torch.inf)
    slopes = torch.tensor(body.alibi_slopes or [0.0], dtype=torch.float64)
    return forbidden - slopes[:, None, None] * distance


@dataclass(frozen=True)
class _Head:
    """Drawn heads, m at a time for each replica."""

    attention: Tensor
    """A, [replicas, m, n, keys]; with a sink one key more, which has no value."""
    cap_slope: Tensor | None
    """Derivative of the soft cap; None: 1."""
    queries: Tensor
    """q̂, [replicas, m, n, d_h]; at infinite d_h a root of C takes its place when dk is formed."""
    keys: Tensor
    pull_queries: Callable[[Tensor], Tensor]
    """From dq̂ to dq."""
    pull_keys: Callable[[Tensor], Tensor]


def forward(body: Attention, seen: Tensor, draws: Draws, source: Tensor | None = None) -> Tensor:
    """σ_V² E[A C Aᵀ], C that of the source of keys and values: by default what queries see."""
    source = seen if source is None else source
    dtype = _precision(body, seen, source)
    values = _with_sink(body, source)
    _, size, spread = centered(values, dtype)
    total = torch.zeros_like(seen)
    for head in _drawn(body, seen, source, draws, dtype):
        total += ((head.attention @ spread[:, None]) @ head.attention.mT).sum(1)
    mean = values.mean((1, 2), keepdim=True) + size * symmetric_part(total) / draws.count
    return body.sigma_v**2 * mean


def backward(
    body: Attention, seen: Tensor, gradient: Tensor, draws: Draws, source: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """σ_V²σ_Q² E[dq dqᵀ] for what queries see, and σ_V²{E[Aᵀ G A] + σ_K² E[dk dkᵀ]} for the source."""
    source = seen if source is None else source
    dtype = _precision(body, seen, source)
    strength = gradient.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    unit = gradient / strength
    left = root(unit).to(dtype)[:, None]
    r = root(_with_sink(body, source))
    right = (r - r.mean(1, keepdim=True)).to(dtype)[:, None]  # the softmax is blind to what all keys share
    unit = unit.to(dtype)[:, None]
    m = source.shape[-1]
    for_queries, for_keys, value = (torch.zeros_like(x) for x in (seen, source, source))
    for head in _drawn(body, seen, source, draws, dtype):
        a = head.attention
        value += (a.mT @ (unit @ a)).sum(1)[:, :m, :m]
        t = left @ draws.gaussians(*a.shape, dtype=dtype) @ right.mT
        da = (a * (t - (a * t).sum(-1, keepdim=True)))[..., :m]
        if head.cap_slope is not None:
            da = da * head.cap_slope
        dq, dk = head.pull_queries(da @ head.keys), head.pull_keys(da.mT @ head.queries)
        for_queries += (dq @ dq.mT).sum(1)
        for_keys += (dk @ dk.mT).sum(1)
    factor = _factor(body) ** 2
    for_queries, for_keys = factor * symmetric_part(for_queries), factor * symmetric_part(for_keys)
    if body.qk_norm == "all":  # q̂ = z/√u: the norm's Jacobian
        for_queries = for_queries / outer(_size(body, seen, body.sigma_q))
        for_keys = for_keys / outer(_size(body, source, body.sigma_k))
    scale = strength * body.sigma_v**2 / draws.count
    return scale * for_queries, scale * (symmetric_part(value) + for_keys)


def _precision(body: Attention, seen: Tensor, source: Tensor) -> torch.dtype:
    return precision(body.logit_scale, (seen.amax((1, 2)) * source.amax((1, 2))).sqrt())


def _with_sink(body: Attention, source: Tensor) -> Tensor:
    """The Gram matrix of the values, where a sink has the value 0."""
    return source if body.sink is None else torch.nn.functional.pad(source, (0, 1, 0, 1))


def _size(body: Attention, state: Tensor, sigma: float) -> Tensor:
    """√(u + ε/σ²) of every token: what queries or keys of all heads together are divided by, but for σ."""
    return (state.diagonal(dim1=1, dim2=2) + body.qk_epsilon / max(sigma, SMALLEST) ** 2).sqrt()


def _factor(body: Attention) -> float:
    """What q̂·k̂ of unit queries and keys is multiplied by."""
    natural = 1.0 if body.head_dim is None else body.head_dim**-0.5
    scale = natural if body.scale is None else body.scale
    return scale if body.qk_norm else scale * body.sigma_q * body.sigma_k


def _drawn(
    body: Attention, seen: Tensor, source: Tensor, draws: Draws, dtype: torch.dtype
) -> Iterator[_Head]:
    """Heads whose queries are of tokens of Gram matrix ``seen``, and whose keys are of the source's."""
    replicas, n, m = len(seen), seen.shape[-1], source.shape[-1]
    roots = []
    for state, sigma in ((seen, body.sigma_q), (source, body.sigma_k)):
        r = root(state)
        if body.qk_norm == "all":
            r = r / _size(body, state, sigma)[..., None]
        roots.append(r.to(dtype)[:, None])
    allowed = draws.allowed if source is seen else torch.ones(n, m, dtype=torch.bool)
    bias = biases(body, allowed).to(dtype)
    buckets = None if body.relative is None else _buckets(body.relative, allowed)
    turn = rotation(body, n, dtype)
    factor = _factor(body)
    first = 0
    for count in draws.chunks(replicas * n * m, CHUNK):
        shape = replicas, count, body.head_dim or m
        queries, pull_queries = _projected(body, roots[0], shape, body.sigma_q, draws, turn)
        if (
            body.head_dim is None
        ):  # logits σ_A·R Z Rᵀ: one random matrix between the tokens, met from either side
            keys, pull_keys = roots[1].expand(replicas, count, m, m), lambda g: g
        else:
            keys, pull_keys = _projected(body, roots[1], shape, body.sigma_k, draws, turn)
        logits = factor * (queries @ keys.mT)
        slope = None
        if body.softcap is not None:
            capped = torch.tanh(logits / body.softcap)
            logits, slope = body.softcap * capped, 1 - capped * capped
        logits = logits + bias[torch.arange(first, first + count) % len(bias)]
        if body.relative is not None and buckets is not None:
            table = draws.gaussians(replicas, count, body.relative.buckets, dtype=dtype)
            logits += body.relative.sigma * table[..., buckets]
        if body.sink is not None:
            logits = torch.nn.functional.pad(logits, (0, 1), value=body.sink)
        if body.head_dim is None:
            queries = roots[0].expand(replicas, count, n, n)
        yield _Head(logits.softmax(-1), slope, queries, keys, pull_queries, pull_keys)
        first += count


def _buckets(relative: Relative, allowed: Tensor) -> Tensor:
    """The row of the table that belongs to each pair of tokens, int64 [n, m]."""
    n, m = allowed.shape
    ahead = torch.arange(m) - torch.arange(n)[:, None]
    return relative.rows(ahead, both=bool(allowed.triu(1).any()))


def _projected(
    body: Attention, r: Tensor, shape: tuple[int, int, int], sigma: float, draws: Draws, turn: Tensor | None
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Queries or keys of drawn heads with what is done to them, [replicas, m, n, d_h], and that's transposed Jacobian.

    ``shape``: replicas, heads, dimensions.
    """
    replicas, count, dimensions = shape
    x = r @ draws.gaussians(replicas, count, r.shape[-1], dimensions, dtype=r.dtype)
    divisor = None
    if body.qk_norm is True:
        divisor = (x.square().mean(-1, keepdim=True) + body.qk_epsilon / max(sigma, SMALLEST) ** 2).sqrt()
        x /= divisor
    if turn is not None:
        turned_by(x, turn)

    def pull(g: Tensor) -> Tensor:
        if divisor is not None:  # in the turned frame, where x stands as well
            g = (g - x * (g * x).mean(-1, keepdim=True)) / divisor
        return g if turn is None else turned_by(g, turn.conj())

    return x, pull


def rotation(body: Attention, n: int, dtype: torch.dtype) -> Tensor | None:
    """e^{i·angle} of every token and pair, [n, pairs]."""
    if body.rotary is None or body.head_dim is None:
        return None
    rate = torch.tensor(body.rotary.rates(body.head_dim), dtype=torch.float64)
    angle = torch.arange(n, dtype=torch.float64)[:, None] * rate
    return torch.polar(torch.ones_like(angle), angle).to(dtype.to_complex())


def turned_by(x: Tensor, turn: Tensor) -> Tensor:
    """Turn pairs of x's first dimensions, in place; which ones are paired does not matter to independent ones."""
    pairs = x[..., : 2 * turn.shape[-1]].unflatten(-1, (-1, 2))
    torch.view_as_complex(pairs).mul_(turn)
    return x
