"""Attention to another stream as it is described."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from auxin.architecture import cross as description
from auxin.architecture.sizes import Sizes
from auxin.errors import ConfigError
from auxin.models.basic import Body, Linear
from auxin.models.context import Context


class CrossAttentionModule(Body):
    """softmax(q·kᵀ·scale)·v of every head, keys and values of ``context.memory`` [B, m, d]. Cost O(L·d² + L·m·d)."""

    BIAS = "attention_bias"

    def __init__(self, described: description.CrossAttention, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        self.dimensions = described.dimensions(sizes)
        self.scale = self.dimensions**-0.5 if described.scale is None else described.scale
        self.groups = sizes.heads // sizes.key_heads
        queries, keys = sizes.heads * self.dimensions, sizes.key_heads * self.dimensions
        self.query = Linear(sizes.width, queries, bias=sizes.attention_bias)
        self.key_value = Linear(sizes.width, 2 * keys, bias=sizes.attention_bias)
        self.out = Linear(queries, sizes.width, bias=sizes.attention_bias)

    def held(self) -> Iterator[tuple[Linear, tuple[str, ...]]]:
        yield self.query, ("cross_query",)
        yield self.key_value, ("cross_key", "cross_value")
        yield self.out, ("cross_out",)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x [B, L, d]."""
        if context.memory is None:
            raise ConfigError("memory is None; allowed: a stream [B, m, d], of layers with CrossAttention")
        heads = (
            y.unflatten(-1, (-1, self.dimensions)).transpose(1, 2)  # [B, H, L, k], [B, K, m, k] twice
            for y in (self.query(x), *self.key_value(context.memory).chunk(2, -1))
        )
        q, k, v = heads
        k, v = (part.repeat_interleave(self.groups, 1) for part in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.out(y.transpose(1, 2).flatten(2))
