"""Differentiable operations of the stack whose parameter gradients are written into given buffers.

Ordinary autograd would allocate every gradient and add it to the buffer in another pass over memory. Here the
matrix product writes it in place. A backward pass overwrites the buffers, so they need no zeroing, or with
``add`` adds to what they hold. With ``dtype`` bfloat16 the factors and results of matrix products are rounded to
it, and nothing else is: activations between the operations, parameters and their gradients are float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from auxin.models.batch import Batch

EPSILON = 1e-5  # of layer norm, PyTorch's default


class _Linear(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        add: bool,
        dtype: torch.dtype,
        *gradients: Tensor | None,
    ) -> Tensor:
        x, weight = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(x, weight)
        ctx.gradients, ctx.add = gradients, add
        if bias is None:
            return torch.bmm(x, weight.mT).float()
        return torch.baddbmm(bias[:, None].to(dtype), x, weight.mT).float()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = outputs
        x, weight = ctx.saved_tensors
        weight_gradient, bias_gradient = ctx.gradients
        if bias_gradient is not None:
            _write(bias_gradient, g.sum(1), ctx.add)
        g = g.to(x.dtype)
        if x.dtype == weight_gradient.dtype:
            weight_gradient.baddbmm_(g.mT, x, beta=float(ctx.add))
        else:
            _write(weight_gradient, torch.bmm(g.mT, x), ctx.add)
        return torch.bmm(g, weight).float(), None, None, None, None, None, None


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weight_gradient: Tensor,
    bias_gradient: Tensor | None,
    add: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """x·Wᵀ + b for every member: x [M, T, a], weight [M, b, a], bias [M, b] → [M, T, b]."""
    return _Linear.apply(x, weight, bias, add, dtype, weight_gradient, bias_gradient)  # pyright: ignore[reportReturnType]


class _Embed(Function):
    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, index: Tensor, table: Tensor, gradient: Tensor, scale: float, add: bool
    ) -> Tensor:
        ctx.save_for_backward(index)
        ctx.gradient, ctx.scale, ctx.add = gradient, scale, add
        return table[_members(index), index] * scale

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = outputs
        (index,) = ctx.saved_tensors
        if len(index) == 1 and index.is_cpu:
            if not ctx.add:
                ctx.gradient.zero_()
            ctx.gradient[0].index_add_(0, index[0], g[0], alpha=ctx.scale)
        else:  # as a product: a GPU would scatter in any order, or sort and wait for the host to check the indices
            row = torch.arange(ctx.gradient.shape[1], device=index.device)[:, None]
            chosen = (index[:, None] == row).float()  # [M, V, T]
            ctx.gradient.baddbmm_(chosen, g, beta=float(ctx.add), alpha=ctx.scale)
        return None, None, None, None, None, None


def embed(index: Tensor, table: Tensor, gradient: Tensor, scale: float, add: bool) -> Tensor:
    """scale · table[index] for every member: index [M, T], table [M, V, d] → [M, T, d].

    With ``add`` the gradient is added to the buffer, which the tied output map has written before.
    """
    # makes autograd call backward though no tensor input needs it
    anchor = torch.empty(0, device=index.device, requires_grad=True)
    return _Embed.apply(anchor, index, table, gradient, scale, add)  # pyright: ignore[reportReturnType]


class _LayerNorm(Function):
    """A single member's in one operation; of many, the norm of all at once, then their weights and biases."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, add: bool, *gradients: Tensor) -> Tensor:
        ctx.gradients, ctx.add = gradients, add
        if len(x) == 1:
            y, *statistics = torch.native_layer_norm(x, x.shape[-1:], weight[0], bias[0], EPSILON)
            ctx.save_for_backward(x, weight, bias, *statistics)
            return y
        normed, *statistics = torch.native_layer_norm(x, x.shape[-1:], None, None, EPSILON)
        ctx.save_for_backward(x, weight, normed, *statistics)
        return torch.addcmul(bias[:, None], normed, weight[:, None])

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = outputs
        x, weight, other, *statistics = ctx.saved_tensors
        backward = torch.ops.aten.native_layer_norm_backward
        if len(x) == 1:
            alone, all_three = (weight[0], other[0]), (True, True, True)
            gx, *parts = backward(g, x, x.shape[-1:], *statistics, *alone, all_three)
        else:
            only_x = (True, False, False)
            gx = backward(g * weight[:, None], x, x.shape[-1:], *statistics, None, None, only_x)[0]
            parts = [(g * other).sum(1), g.sum(1)]
        for buffer, gradient in zip(ctx.gradients, parts, strict=True):
            _write(buffer, gradient, ctx.add)
        return gx, None, None, None, None, None


def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor, weight_gradient: Tensor, bias_gradient: Tensor, add: bool = False
) -> Tensor:
    """Layer norm (Ba et al. 2016) with each member's own weight and bias [M, d] on x [M, T, d]."""
    return _LayerNorm.apply(x, weight, bias, add, weight_gradient, bias_gradient)  # pyright: ignore[reportReturnType]


class _Attend(Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, batch: Batch, heads: int, mask: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        k = qkv.shape[-1] // 3 // heads
        rows = _with_zero_row(qkv.view(-1, k).to(dtype))
        q, key, value = _gather(rows, batch.unpack)  # each [M·B·H, L, k]
        n, L, _ = q.shape
        scores = torch.baddbmm(batch.causal.to(dtype), q, key.mT, alpha=k**-0.5)
        weights = scores.float().softmax(-1)  # [M·B·H, L, L]
        kept = (weights if mask is None else weights * mask).to(dtype)
        y = _rows_and_zero_row(n * L, k, rows)
        torch.bmm(kept, value, out=y[:-1].view(n, L, k))
        ctx.save_for_backward(q, key, value, weights, kept, mask)
        ctx.batch = batch
        return _gather(y, batch.pack_one).view(*qkv.shape[:2], -1).float()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = outputs
        q, key, value, weights, kept, mask = ctx.saved_tensors
        n, L, k = q.shape
        gy = _gather(_with_zero_row(g.reshape(-1, k).to(q.dtype)), ctx.batch.unpack_one)[0]  # [M·B·H, L, k]
        rows = _rows_and_zero_row(3 * n * L, k, q)
        gq, gk, gv = rows[:-1].view(3, n, L, k)
        torch.bmm(kept.mT, gy, out=gv)
        gw = torch.bmm(gy, value.mT).float()
        if mask is not None:
            gw *= mask
        gs = torch.ops.aten._softmax_backward_data(gw, weights, -1, weights.dtype)
        gs *= k**-0.5
        gs = gs.to(q.dtype)
        torch.bmm(gs, key, out=gq)
        torch.bmm(gs.mT, q, out=gk)
        return _gather(rows, ctx.batch.pack).view(*g.shape[:2], -1).float(), None, None, None, None


def attend(
    qkv: Tensor, batch: Batch, heads: int, mask: Tensor | None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Causal softmax attention of every sequence: qkv [M, T, 3·d] → [M, T, d].

    ``mask`` [M·B·H, L, L] multiplies the weights (dropout). Padding stands behind every token that counts, so the
    causal mask is all the masking there is.
    """
    return _Attend.apply(qkv, batch, heads, mask, dtype)  # pyright: ignore[reportReturnType]


def _write(buffer: Tensor, gradient: Tensor, add: bool) -> None:
    if add:
        buffer += gradient
    else:
        buffer.copy_(gradient)


def _members(index: Tensor) -> Tensor:
    """[M, 1]: beside an index [M, T], the member that each entry is for."""
    return torch.arange(len(index), device=index.device)[:, None]


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    """rows[index] for a contiguous [R, k]; index_select copies whole rows, which indexing does not."""
    return rows.index_select(0, index.flatten()).view(*index.shape, -1)


def _with_zero_row(rows: Tensor) -> Tensor:
    return F.pad(rows, (0, 0, 0, 1))


def _rows_and_zero_row(size: int, width: int, like: Tensor) -> Tensor:
    """Room for ``size`` rows, and behind them the row of zeros that padding points to."""
    rows = torch.empty(size + 1, width, device=like.device, dtype=like.dtype)
    rows[-1].zero_()
    return rows
