"""Attention as it is described: one module, whose steps are those that the description names.

Shapes in comments: B sequences, L tokens, d width, H heads, K heads of keys and values, k dimensions of a head.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxin.architecture import attention as description
from auxin.architecture.norm import Norm
from auxin.architecture.sizes import Sizes
from auxin.models.basic import Body, Dropout, Linear
from auxin.models.context import Context, causal_mask
from auxin.models.norm import RMSNorm


class AttentionModule(Body):
    """softmax(cap(q·kᵀ·scale) + bias + mask)·v of every head, merged by an output map. Cost O(L·d² + L²·d)."""

    BIAS = "attention_bias"

    def __init__(self, described: description.Attention, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        self.described = described
        self.heads, self.key_heads = sizes.heads, sizes.key_heads
        self.dimensions = described.dimensions(sizes)
        self.scale = self.dimensions**-0.5 if described.scale is None else described.scale
        queries, keys = self.heads * self.dimensions, self.key_heads * self.dimensions
        self.qkv = Linear(sizes.width, queries + 2 * keys, bias=sizes.attention_bias)
        self.out = Linear(queries, sizes.width, bias=sizes.attention_bias)
        if described.qk_norm:
            one = described.qk_norm is True
            self.q_norm, self.k_norm = (
                RMSNorm(self._qk_norm, self.dimensions if one else width) for width in (queries, keys)
            )
        if described.relative is not None:
            self.relative = Linear(described.relative.buckets, self.heads, bias=False)
        if described.sink is not None:
            self.sinks = nn.Parameter(torch.empty(self.heads))
        self.dropout = Dropout(dropout)

    @staticmethod
    def masked(sizes: Sizes) -> tuple[int | None, ...]:
        return (None,)

    def held(self) -> Iterator[tuple[Linear, tuple[str, ...]]]:
        yield self.qkv, ("query", "key", "value")
        yield self.out, ("out",)
        if self.described.relative is not None:
            yield self.relative, ("relative",)

    @property
    def _qk_norm(self) -> Norm:
        return Norm("rms", epsilon=self.described.qk_epsilon)

    @torch.no_grad()
    def set_(self) -> None:
        """Norms of queries and keys that multiply by 1, and sinks of the described logit."""
        if self.described.qk_norm:
            self.q_norm.set_(self._qk_norm)
            self.k_norm.set_(self._qk_norm)
        if self.described.sink is not None:
            self.sinks.fill_(self.described.sink)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x [B, L, d], or packed."""
        q, k, v = self._heads(context.unpack(self.qkv(x)), context)  # each [B, H, L, k]
        mask = self._mask(context)
        stepwise = self.described.softcap is not None or self.described.sink is not None
        if context.weights is None and not stepwise and not self.dropout.active(context):
            if mask is not None and mask.dtype != torch.bool:
                mask = mask.to(q.dtype)
            causal = mask is None and context.causal
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=self.scale)
        else:
            weights = self._weights(q, k, mask, context)
            if context.weights is not None:
                context.weights.append(weights)
            y = self.dropout(weights, context) @ v
        return self.out(context.pack(y.transpose(1, 2).flatten(2)))

    def _heads(self, qkv: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every head, [B, H, L, k] each, from [B, L, (H + 2K)·k]."""
        queries, keys, described = self.heads, self.key_heads, self.described
        if described.qk_norm == "all":
            q, k, v = qkv.split((queries * self.dimensions, *[keys * self.dimensions] * 2), -1)
            qkv = torch.cat([self.q_norm(q), self.k_norm(k), v], -1)
        heads = qkv.unflatten(-1, (-1, self.dimensions)).transpose(1, 2)
        turned, v = heads.split((queries + keys, keys), 1)  # queries and keys, in one operation
        if described.qk_norm is True:
            q, k = turned.split((queries, keys), 1)
            turned = torch.cat([self.q_norm(q), self.k_norm(k)], 1)
        if (rotary := described.rotary) is not None:
            angles = (rotary, self.dimensions)
            turned = rotate(
                turned, *context.once(angles, lambda: rotations(rotary, self.dimensions, context))
            )
        q, k = turned.split((queries, keys), 1)
        if keys < queries:
            k, v = (part.repeat_interleave(queries // keys, 1) for part in (k, v))
        return q, k, v

    def _mask(self, context: Context) -> Tensor | None:
        """What is added to logits, or bool, where they are seen; None: everywhere, or as causality has it."""
        visible, bias = context.visible(self.described.window), self._bias(context)
        if bias is None or (visible is None and not context.causal):
            return visible if bias is None else bias
        seen = causal_mask(bias.shape[-1], bias.device) if visible is None else visible
        return bias.masked_fill(~seen, -torch.inf)

    def _weights(self, q: Tensor, k: Tensor, mask: Tensor | None, context: Context) -> Tensor:
        """[B, H, L, L]: softmax weights, step by step."""
        logits = (q @ k.mT) * self.scale
        if self.described.softcap is not None:
            logits = self.described.softcap * torch.tanh(logits / self.described.softcap)
        if mask is None and context.causal:
            mask = causal_mask(q.shape[2], q.device)
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        if self.described.sink is None:
            return logits.softmax(-1)
        sinks = self.sinks[:, None, None].expand(*logits.shape[:-1], 1)
        return torch.cat([logits, sinks], -1).softmax(-1)[..., :-1]

    def _bias(self, context: Context) -> Tensor | None:
        """[H, L, L] or [B, H, L, L]: what is added to logits by the distance; None where nothing is."""
        if self.described.alibi:
            return context.once("alibi", lambda: alibi(self.described, context))
        if (relative := self.described.relative) is None:
            return None
        rows = lambda: relative.rows(-context.once("distance", context.distance), both=not context.causal)
        rows = context.once(relative, rows)
        table = self.relative.weight[:, rows]  # [H, L, L], or [H, B, 1, L, L]
        return table if rows.ndim == 2 else table.movedim(0, 2).squeeze(1)


def rotations(rotary: description.Rotary, dimensions: int, context: Context) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of what is turned by t·factor·base^(−2i/r): [L, r], or [B, 1, L, r]; r dimensions turn.

    In single precision, as transformers has it.
    """
    turned, positions = rotary.turned(dimensions), context.positions
    rate = torch.arange(0, turned, 2, dtype=torch.float32, device=positions.device) / turned
    factors = torch.tensor(rotary.pair_factors(dimensions), device=positions.device)
    angles = positions[..., None].float() * (factors * rotary.base**-rate)
    angles = angles[:, None] if positions.ndim == 2 else angles
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Dimension i turned with dimension i + r/2, for the first r of x [B, H, L, k]; the others stay."""
    turned = cos.shape[-1]
    if turned < x.shape[-1]:
        first, rest = x.split((turned, x.shape[-1] - turned), -1)
        return torch.cat([rotate(first, cos, sin), rest], -1)
    return torch.addcmul(x * cos, x.roll(turned // 2, -1), sin)


def alibi(described: description.Attention, context: Context) -> Tensor:
    """−slope·distance: [H, L, L], or [B, H, L, L]."""
    slopes = torch.tensor(described.alibi_slopes, device=context.positions.device)
    return -slopes[:, None, None] * context.once("distance", context.distance).abs()
