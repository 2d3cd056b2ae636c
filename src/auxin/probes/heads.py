"""What attention computes between its maps, by experiment: queries, keys and values are chosen, what comes out is read.

Values that mark the token they belong to make the attention matrix itself appear where the output map reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal

import torch
from scipy.optimize import brentq
from torch import Tensor

from auxin.architecture import Attention, CrossAttention, Rotary
from auxin.architecture.attention import Relative
from auxin.families.configs import NoFamily

Read = Callable[[Mapping[int, Tensor]], Tensor]
"""What the output map reads, [T, H·d_h], where the outputs of the maps in these places of a layer are others."""
SMALL = 1e-3  # relative error of logits that are read from an attention matrix, in single precision
SLOWEST = 6e-3
"""Angle between the first and the last token of an attention matrix that can be told from none."""


@dataclass(frozen=True, eq=False)
class RoleColumns:
    """The outputs of a map that are queries, keys or values."""

    place: int
    """Of the map in its layer."""
    index: Tensor
    """int64 [heads, d_h]."""


@dataclass(frozen=True, eq=False)
class Heads:
    """The maps of an attention, with their heads, and what it does between them."""

    read: Read
    widths: Mapping[int, int]
    """Outputs of each of the maps, by place."""
    query: RoleColumns
    key: RoleColumns
    value: RoleColumns
    tokens: Tensor
    """int64 [n], rows that are the tokens of one sequence."""
    rows: Mapping[int, int]
    """Of all sequences, by place of the map."""
    source: Tensor | None = None
    """int64 [m], rows of keys and values of another stream; None: those of queries."""

    @property
    def read_tokens(self) -> Tensor:
        """Rows of keys and values."""
        return self.tokens if self.source is None else self.source

    @property
    def count(self) -> int:
        """Heads of queries."""
        return len(self.query.index)

    @property
    def dim(self) -> int:
        """Dimensions of a head."""
        return self.query.index.shape[1]

    def matrices(self, query: Tensor, key: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Attention matrices [H, n, m] of queries [n, H, d_h] and keys [m, G, d_h]; of them the columns ``tokens``."""
        seen = torch.arange(len(self.read_tokens)) if tokens is None else tokens
        parts = []
        for chosen in seen.split(self.value.index.shape[1]):
            value = torch.zeros(len(self.read_tokens), *self.value.index.shape)
            value[chosen, :, torch.arange(len(chosen))] = 1.0
            read = self.read(self._outputs(query, key, value))[self.tokens]
            heads = read.unflatten(1, (self.count, -1))[..., : len(chosen)]
            parts.append(heads.transpose(0, 1).double())
        return torch.cat(parts, -1)

    def _outputs(self, query: Tensor, key: Tensor, value: Tensor) -> dict[int, Tensor]:
        """Outputs of the maps that are these queries, keys and values, [n, heads, d_h]; other sequences' are 0."""
        found = {place: torch.zeros(self.rows[place], width) for place, width in self.widths.items()}
        given = {self.query: query, self.key: key, self.value: value}
        for columns, x in given.items():
            tokens = self.tokens if columns is self.query else self.read_tokens
            found[columns.place][tokens[:, None], columns.index.flatten()] = x.flatten(1)
        return found

    def same(self, query: Tensor | float = 0.0, key: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """Queries and keys that are one vector for all heads and tokens."""
        groups = len(self.key.index)
        queries = torch.zeros(len(self.tokens), self.count, self.dim) + query
        return queries, torch.zeros(len(self.read_tokens), groups, self.dim) + key

    @cached_property
    def vector(self) -> Tensor:
        """A vector of mean 0 and norm² d_h."""
        x = torch.randn(self.dim, generator=torch.Generator().manual_seed(1))
        x = x - x.mean() if self.dim > 2 else x
        return x / x.square().mean().sqrt()

    def described(self) -> tuple[Attention, bool]:
        """The attention, and whether it is causal; raises ``NoFamily`` naming what is not covered."""
        blank = self.matrices(*self.same())
        causal, window = (False, None) if self.source is not None else _mask(blank)
        attention = Attention(head_dim=self.dim, window=window)
        if self.source is None:
            attention = _with_bias(attention, blank, causal)
        elif (blank * blank.shape[-1] - 1).abs().max() > SMALL:
            raise NoFamily("its attention to another stream has a mask or a bias")
        attention, strength = self._logits(attention)
        alike = self.matrices(*self.same(strength * self.vector, strength * self.vector.flip(0)))
        if (alike - blank).abs().max() > SMALL * blank.max():
            attention = replace(attention, rotary=self._rotary(attention, strength))
        if self.source is None:
            return attention, causal
        beyond = [f.name for f in fields(attention) if getattr(attention, f.name) != f.default]
        if not set(beyond) <= {"head_dim", "scale"}:
            raise NoFamily(f"its attention to another stream has {', '.join(beyond)}")
        return CrossAttention(head_dim=attention.head_dim, scale=attention.scale), causal

    def _logit(self, query: Tensor | float, key: Tensor | float) -> Tensor:
        """Logits [H] of the last token for itself, where those for the others are 0."""
        q, k = self.same(query)
        k[-1] = key
        last, free = (self.matrices(*given)[:, -1] for given in ((q, k), self.same()))
        others = last[:, :-1] / free[:, :-1]
        visible = free[0, :-1] > 0
        logits = (last[:, -1] / free[:, -1]).log() - others[:, visible].log().mean(1)
        if not bool(logits.isfinite().all()):
            raise NoFamily("its logits are beyond measure")
        return logits

    def _logits(self, attention: Attention) -> tuple[Attention, float]:
        """With scale, norms of queries and keys, and cap; and the size of queries and keys whose logit is some 4."""
        u, size = self.vector, 0.1  # small, as caps are not seen yet
        first = self._logit(size * u, size * u)
        if not bool(((first - first[0]).abs() <= SMALL * first.abs().max()).all()):
            raise NoFamily("its heads have logits of unlike scale")
        logit = float(first[0])
        if logit <= 0:
            raise NoFamily("its logits do not grow with q·k")
        twice = [float(self._logit(a * size * u, b * size * u)[0]) / logit for a, b in ((2, 1), (1, 2))]
        if all(abs(t - 1) < 0.02 for t in twice):
            scale, norm, strength = logit / self.dim, self._normed(size), 1.0
        elif all(abs(t - 2) < 0.02 for t in twice):
            scale, norm = logit / (size**2 * self.dim), False
            strength = math.sqrt(4 / (scale * self.dim))
        else:
            raise NoFamily("its logits are no products of queries and keys")
        cap = None if norm else self._cap(scale)
        if cap is not None:
            scale *= math.atanh(logit / cap) * cap / logit
        scale = float(f"{scale:.3g}")
        usual = abs(scale * math.sqrt(self.dim) - 1) < 5 * SMALL
        return replace(attention, scale=None if usual else scale, qk_norm=norm, softcap=cap), strength

    def _normed(self, size: float) -> Literal[True, "all"]:
        """Whether queries are normalized by head, or over all heads: then one that is larger makes others smaller."""
        if self.count == 1:
            return True
        q, k = self.same(size * self.vector)
        k[-1] = size * self.vector
        small = self.matrices(q, k)[-1, -1, -1]
        q[:, 0] *= 10
        return True if abs(float(self.matrices(q, k)[-1, -1, -1] / small) - 1) < 0.01 else "all"

    def _cap(self, scale: float) -> float | None:
        """c of c·tanh(a/c), by a logit of 60; None without."""
        large = 60.0
        strength = math.sqrt(large / (scale * self.dim))
        found = float(self._logit(strength * self.vector, strength * self.vector)[0])
        if found > large * (1 - 5 * SMALL):
            return None
        cap = float(brentq(lambda c: c * math.tanh(large / c) - found, found / 2, 1e4))  # pyright: ignore[reportArgumentType]
        return round(cap, 1 if cap > 5 else 3)

    def _rotary(self, attention: Attention, strength: float) -> Rotary:
        """The rotation: where q and k are along one dimension, the logit is K·cos(distance·rate)."""
        scale = self.dim**-0.5 if attention.scale is None else attention.scale
        n, groups = len(self.tokens), len(self.key.index)
        near = torch.arange(max(0, n - min(self.value.index.shape[1], attention.window or n)), n)
        largest = scale * self.dim if attention.qk_norm else 8.0
        size = 100.0 if attention.qk_norm else math.sqrt(8 / scale)  # so large that the norms' ε is nothing
        share = self.count // groups
        rates = []
        for dims in torch.arange(self.dim).split(groups):
            q, k = self.same()
            for group, dim in enumerate(dims):
                q[:, group * share : (group + 1) * share, dim] = size
                k[:, group, dim] = size
            last = self.matrices(q, k, near)[:, -1]
            for group in range(len(dims)):
                row = last[group * share]
                rates.append(_rate(_uncapped((row / row[-1]).log().flip(0), largest, attention), largest))
        return _rotation(torch.tensor(rates), self.dim, SLOWEST / (len(near) - 1))


def _mask(blank: Tensor) -> tuple[bool, int | None]:
    """Whether attention is causal, and its window, from matrices [H, n, n] of logits that are 0."""
    n = blank.shape[-1]
    visible = blank > 0
    if not bool((visible == visible[0]).all()):
        raise NoFamily("its heads have unlike masks")
    rows = visible[0]
    distance = torch.arange(n)[:, None] - torch.arange(n)
    causal = not bool(rows.triu(1).any())
    distance = distance if causal else distance.abs()
    window = int(distance[rows].max()) + 1
    if not rows.equal((distance >= 0) & (distance < window)):
        raise NoFamily("its mask is neither causal, nor a window, nor open")
    return causal, None if window == n else window


def _with_bias(attention: Attention, blank: Tensor, causal: bool) -> Attention:
    """With the bias of matrices [H, n, n] whose queries and keys are 0: none, ALiBi's, or one by j − i from a table."""
    n, heads = blank.shape[-1], len(blank)
    ahead = torch.arange(n) - torch.arange(n)[:, None]
    seen = blank[0] > 0
    logits = (blank / blank.diagonal(dim1=1, dim2=2)[..., None])[:, seen].log()
    allowed = SMALL * (1 + logits.abs().max())
    if logits.abs().max() < SMALL:
        return attention
    slopes = torch.tensor(Attention(alibi=heads).alibi_slopes, dtype=torch.float64)
    if (logits + slopes[:, None] * ahead[seen].abs()).abs().max() < allowed:
        return replace(attention, alibi=heads)
    offsets, place = ahead[seen].unique(return_inverse=True)
    first = torch.stack([(place == i).nonzero()[0, 0] for i in range(len(offsets))])
    table = logits[:, first]
    if (table[:, place] - logits).abs().max() > allowed:
        raise NoFamily("its logits have a bias that is no function of the distance")
    usual = [Relative(buckets=b, longest=l) for b in (32, 16, 64, 128) for l in (128, 64, 256, 512, 1024)]
    found: list[tuple[int, Relative]] = []
    for relative in (*usual, Relative(buckets=4 * n, longest=8 * n)):  # the last: an entry a distance
        _, row = relative.rows(offsets, both=not causal).unique(return_inverse=True)
        entries = torch.stack([table[:, row == r].mean(1) for r in range(int(row.max()) + 1)], 1)
        if (entries[:, row] - table).abs().max() < allowed / 10:
            sigma = float(entries.var(1).mean().sqrt())
            found.append((entries.shape[1], replace(relative, sigma=sigma)))
    return replace(attention, relative=min(found, key=lambda item: item[0])[1])


def _uncapped(logits: Tensor, largest: float, attention: Attention) -> Tensor:
    """Logits less the largest, before their cap."""
    cap = attention.softcap
    if cap is None:
        return logits
    return cap * ((logits + cap * math.tanh(largest / cap)) / cap).clamp(-1, 1).atanh() - largest


def _rate(logits: Tensor, largest: float) -> float:
    """The angle by token of logits K(cos(distance·rate) − 1), by distance from 0; 0 where it is too small to see."""
    distances = torch.arange(len(logits))
    cosine = (1 + logits / largest).clamp(-1, 1)
    rate = 0.0
    for distance in (2**i for i in range(10) if 2**i < len(logits)):
        angle, expected = float(cosine[distance].acos()), rate * distance
        if expected >= 1.2:  # arccos is one angle of several, and inexact near multiples of π
            turns = round(expected / (2 * math.pi)) * 2 * math.pi
            angle = turns + math.copysign(angle, expected - turns)
            if abs(math.sin(angle)) < 0.3:
                continue
        rate = angle / distance
    if (largest * ((rate * distances).cos() - 1) - logits).abs().max() > 0.02 * largest:
        raise NoFamily("its queries and keys depend on positions otherwise than by rotation")
    return rate if rate * (len(logits) - 1) > SLOWEST else 0.0


def _rotation(rates: Tensor, dim: int, slowest: float) -> Rotary:
    """A rotation whose pairs turn at these rates, [d_h], of which slower ones than ``slowest`` are not seen."""
    turning = rates[rates > 0].sort(descending=True).values
    if len(turning) < 2 or len(turning) % 2 or (turning[::2] / turning[1::2] - 1).max() > 0.05:
        raise NoFamily("its queries and keys depend on positions otherwise than by rotation")
    pairs = turning[::2]
    clear = pairs[pairs > 10 * slowest] if len(pairs) > 2 else pairs
    step = float((clear[0] / clear[-1]).log()) / max(len(clear) - 1, 1)
    turned, base = len(turning), math.exp(step * len(turning) / 2) if len(pairs) > 1 else 10_000.0
    if abs(base / float(f"{base:.1g}") - 1) > 0.01 and float(pairs[-1]) * math.exp(-step) < 2 * slowest:
        turned, base = dim, math.exp(step * dim / 2)  # slower pairs turn unseen
    base = float(f"{base:.2g}") if base > 100 else base
    rotary = Rotary(base, turned / dim)
    usual = torch.tensor(rotary.rates(dim), dtype=pairs.dtype)[: len(pairs)]
    if (pairs / usual - 1).abs().max() < 0.05:
        return rotary
    factors = (pairs / usual).tolist()
    return Rotary(base, turned / dim, (*factors, *([factors[-1]] * (turned // 2 - len(factors)))))
