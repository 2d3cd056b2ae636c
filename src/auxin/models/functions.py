"""Differentiable operations of the stack whose parameter gradients are written into given buffers.

Ordinary autograd would allocate every gradient and add it to the buffer in another pass over memory. Here the
matrix product writes it in place. A backward pass overwrites the buffers, so they need no zeroing, or with
``add`` adds to what they hold.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from auxin.models.batch import Batch


class _Linear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, add: bool, *gradients: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.gradients, ctx.add = gradients, add
        return torch.bmm(x, weight.mT) if bias is None else torch.baddbmm(bias[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = outputs
        x, weight = ctx.saved_tensors
        weight_gradient, bias_gradient = ctx.gradients
        weight_gradient.baddbmm_(g.mT, x, beta=float(ctx.add))
        if bias_gradient is not None and ctx.add:
            bias_gradient += g.sum(1)
        elif bias_gradient is not None:
            torch.sum(g, 1, out=bias_gradient)
        return torch.bmm(g, weight), None, None, None, None, None


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weight_gradient: Tensor,
    bias_gradient: Tensor | None,
    add: bool = False,
) -> Tensor:
    """x·Wᵀ + b for every member: x [M, T, a], weight [M, b, a], bias [M, b] → [M, T, b]."""
    return _Linear.apply(x, weight, bias, add, weight_gradient, bias_gradient)  # pyright: ignore[reportReturnType]


class _Embed(Function):
    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, index: Tensor, table: Tensor, gradient: Tensor, scale: float, add: bool
    ) -> Tensor:
        ctx.save_for_backward(index)
        ctx.gradient, ctx.scale, ctx.add = gradient, scale, add
        return _stack([F.embedding(i, t) for i, t in zip(index, table, strict=True)]) * scale

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = outputs
        (index,) = ctx.saved_tensors
        if not ctx.add:
            ctx.gradient.zero_()
        for m, i in enumerate(index):
            ctx.gradient[m].index_add_(0, i, g[m], alpha=ctx.scale)
        return None, None, None, None, None, None


def embed(index: Tensor, table: Tensor, gradient: Tensor, scale: float, add: bool) -> Tensor:
    """scale · table[index] for every member: index [M, T], table [M, V, d] → [M, T, d].

    With ``add`` the gradient is added to the buffer, which the tied output map has written before.
    """
    anchor = torch.empty(
        0, requires_grad=True
    )  # makes autograd call backward though no tensor input needs it
    return _Embed.apply(anchor, index, table, gradient, scale, add)  # pyright: ignore[reportReturnType]


class _LayerNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, add: bool, *gradients: Tensor) -> Tensor:
        members = range(len(x))
        parts = [torch.native_layer_norm(x[m], x.shape[-1:], weight[m], bias[m], 1e-5) for m in members]
        ctx.save_for_backward(x, weight, bias)
        ctx.statistics = [(mean, scale) for _, mean, scale in parts]
        ctx.gradients, ctx.add = gradients, add
        return _stack([y for y, _, _ in parts])

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = outputs
        x, weight, bias = ctx.saved_tensors
        gx = []
        for m, (mean, scale) in enumerate(ctx.statistics):
            parts = torch.ops.aten.native_layer_norm_backward(
                g[m], x[m], x.shape[-1:], mean, scale, weight[m], bias[m], (True, True, True)
            )
            gx.append(parts[0])
            for buffer, gradient in zip(ctx.gradients, parts[1:], strict=True):
                if ctx.add:
                    buffer[m] += gradient
                else:
                    buffer[m] = gradient
        return _stack(gx), None, None, None, None, None


def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor, weight_gradient: Tensor, bias_gradient: Tensor, add: bool = False
) -> Tensor:
    """Layer norm (Ba et al. 2016) with each member's own weight and bias [M, d] on x [M, T, d]."""
    return _LayerNorm.apply(x, weight, bias, add, weight_gradient, bias_gradient)  # pyright: ignore[reportReturnType]


class _Attend(Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, batch: Batch, heads: int, mask: Tensor | None) -> Tensor:
        k = qkv.shape[-1] // 3 // heads
        q, key, value = _gather(_with_zero_row(qkv.view(-1, k)), batch.unpack)  # each [M·B·H, L, k]
        n, L, _ = q.shape
        weights = torch.baddbmm(batch.causal, q, key.mT, alpha=k**-0.5).softmax(-1)  # [M·B·H, L, L]
        kept = weights if mask is None else weights * mask
        y = _rows_and_zero_row(n * L, k, qkv)
        torch.bmm(kept, value, out=y[:-1].view(n, L, k))
        ctx.save_for_backward(q, key, value, weights, kept, mask)
        ctx.batch = batch
        return _gather(y, batch.pack_one).view(*qkv.shape[:2], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = outputs
        q, key, value, weights, kept, mask = ctx.saved_tensors
        n, L, k = q.shape
        gy = _gather(_with_zero_row(g.reshape(-1, k)), ctx.batch.unpack_one)[0]  # [M·B·H, L, k]
        rows = _rows_and_zero_row(3 * n * L, k, g)
        gq, gk, gv = rows[:-1].view(3, n, L, k)
        torch.bmm(kept.mT, gy, out=gv)
        gw = torch.bmm(gy, value.mT)
        if mask is not None:
            gw *= mask
        gs = torch.ops.aten._softmax_backward_data(gw, weights, -1, weights.dtype)
        gs *= k**-0.5
        torch.bmm(gs, key, out=gq)
        torch.bmm(gs.mT, q, out=gk)
        return _gather(rows, ctx.batch.pack).view(*g.shape[:2], -1), None, None, None


def attend(qkv: Tensor, batch: Batch, heads: int, mask: Tensor | None) -> Tensor:
    """Causal softmax attention of every sequence: qkv [M, T, 3·d] → [M, T, d].

    ``mask`` [M·B·H, L, L] multiplies the weights (dropout). Padding stands behind every token that counts, so the
    causal mask is all the masking there is.
    """
    return _Attend.apply(qkv, batch, heads, mask)  # pyright: ignore[reportReturnType]


def _stack(parts: list[Tensor]) -> Tensor:
    """torch.stack that does not copy a single part."""
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    """rows[index] for a contiguous [R, k]; index_select copies whole rows, which indexing does not."""
    return rows.index_select(0, index.flatten()).view(*index.shape, -1)


def _with_zero_row(rows: Tensor) -> Tensor:
    return F.pad(rows, (0, 0, 0, 1))


def _rows_and_zero_row(size: int, width: int, like: Tensor) -> Tensor:
    """Room for ``size`` rows, and behind them the row of zeros that padding points to."""
    rows = torch.empty(size + 1, width, device=like.device, dtype=like.dtype)
    rows[-1] = 0
    return rows
