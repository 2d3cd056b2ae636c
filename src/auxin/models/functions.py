"""The stack's operations, each returning its value and the function that takes a gradient back through it.

That function maps the loss's gradient by the value to the one by the input and writes those of parameters into
given buffers: a matrix product writes there in place, where autograd would allocate and add, and nothing has to be
zeroed. Without a graph to build, an operation costs about half the interpreter's time. A backward pass overwrites
the buffers, or with ``add`` adds to them; it leaves the gradient it is given alone and returns new memory.

With ``dtype`` bfloat16 the factors and results of matrix products are rounded to it, and nothing else is:
activations between the operations, parameters and their gradients are float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from auxin.models.batch import IGNORE, Batch
from auxin.models.transformer import ACTIVATIONS

EPSILON = 1e-5  # of layer norm, PyTorch's default
Back = Callable[[Tensor], Tensor]

_aten = torch.ops.aten
_softmax_backward = _aten._softmax_backward_data.default
_norm_backward = _aten.native_layer_norm_backward.default


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weight_gradient: Tensor,
    bias_gradient: Tensor | None,
    add: bool = False,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
) -> tuple[Tensor, Callable[..., Tensor]]:
    """x·Wᵀ + b for every member: x [M, T, a], weight [M, b, a], bias [M, b] → [M, T, b].

    ``out`` [M, T, b] of ``dtype`` takes the result as it is rounded; so does ``out`` [M, T, a] of the way back.
    """
    x, weight = x.to(dtype), weight.to(dtype)
    if bias is None:
        y = torch.bmm(x, weight.mT, out=out)
    else:
        y = torch.baddbmm(bias[:, None].to(dtype), x, weight.mT, out=out)

    def back(g: Tensor, out: Tensor | None = None) -> Tensor:
        if bias_gradient is not None:
            _write(bias_gradient, g.sum(1, dtype=torch.float32), add)
        g = g.to(dtype)
        if dtype == torch.float32:
            weight_gradient.baddbmm_(g.mT, x, beta=float(add))
        else:
            _write(weight_gradient, torch.bmm(g.mT, x), add)
        gx = torch.bmm(g, weight, out=out)
        return gx.float() if out is None else gx

    return (y.float() if out is None else y), back


def embed(
    index: Tensor, table: Tensor, gradient: Tensor, scale: float, add: bool
) -> tuple[Tensor, Callable[[Tensor], None]]:
    """scale · table[index] for every member: index [M, T], table [M, V, d] → [M, T, d].

    With ``add`` the gradient is added to the buffer, which the tied output map has written before.
    """
    member = torch.arange(len(index), device=index.device)[:, None]

    def back(g: Tensor) -> None:
        if len(index) == 1 and index.is_cpu:
            if not add:
                gradient.zero_()
            gradient[0].index_add_(0, index[0], g[0], alpha=scale)
        else:  # as a product: a GPU would scatter in any order, or sort and wait for the host to check the indices
            row = torch.arange(gradient.shape[1], device=index.device)[:, None]
            chosen = (index[:, None] == row).float()  # [M, V, T]
            gradient.baddbmm_(chosen, g, beta=float(add), alpha=scale)

    return table[member, index] * scale, back


def layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor, weight_gradient: Tensor, bias_gradient: Tensor, add: bool = False
) -> tuple[Tensor, Back]:
    """Layer norm (Ba et al. 2016) with each member's own weight and bias [M, d] on x [M, T, d].

    A single member's is one operation; of many, the norm of all at once, then their weights and biases.
    """
    shape = x.shape[-1:]
    alone = (weight[0], bias[0]) if len(x) == 1 else None
    if alone:
        y, *statistics = torch.native_layer_norm(x, shape, *alone, EPSILON)
        normed = y
    else:
        normed, *statistics = torch.native_layer_norm(x, shape, None, None, EPSILON)
        y = torch.addcmul(bias[:, None], normed, weight[:, None])

    def back(g: Tensor) -> Tensor:
        if alone:
            gx, *parts = _norm_backward(g, x, shape, *statistics, *alone, [True, True, True])
        else:
            only_x = [True, False, False]
            gx = _norm_backward(g * weight[:, None], x, shape, *statistics, None, None, only_x)[0]
            parts = [(g * normed).sum(1), g.sum(1)]
        for buffer, gradient in zip((weight_gradient, bias_gradient), parts, strict=True):
            _write(buffer, gradient, add)
        return gx

    return y, back


def activate(x: Tensor, name: str) -> tuple[Tensor, Back]:
    """φ(x), element by element."""
    y = x.relu_() if name == "relu" else ACTIVATIONS[name](x)  # the way back through relu needs no x
    return y, lambda g: _DERIVATIVES[name](g, x, y)


_DERIVATIVES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda g, x, y: _aten.threshold_backward.default(g, y, 0),
    "gelu": lambda g, x, y: _aten.gelu_backward.default(g, x),
    "tanh": lambda g, x, y: _aten.tanh_backward.default(g, y),
    "erf": lambda g, x, y: g * (2 / math.sqrt(math.pi)) * torch.exp(-x.square()),
    "silu": lambda g, x, y: _aten.silu_backward.default(g, x),
    "linear": lambda g, x, y: g,
}
"""g·φ′(x) of every activation, from x and y = φ(x)."""


def attend(rows: Tensor, batch: Batch, shape: torch.Size, mask: Tensor | None) -> tuple[Tensor, Back]:
    """Causal softmax attention of every sequence: ``room`` with the packed qkv [M, T, 3·d] → ``shape`` [M, T, d].

    ``mask`` [M·B·H, L, L] multiplies the weights (dropout). Padding stands behind every token that counts, so the
    causal mask is all the masking there is. The way back takes a ``room`` with the packed gradient, too.
    """
    dtype, k = rows.dtype, rows.shape[1]
    q, key, value = _gather(rows, batch.unpack)  # each [M·B·H, L, k]
    n, L, _ = q.shape
    scores = torch.baddbmm(batch.causal.to(dtype), q, key.mT, alpha=k**-0.5)
    weights = scores.float().softmax(-1)  # [M·B·H, L, L]
    kept = (weights if mask is None else weights * mask).to(dtype)
    y = room(n * L, k, rows)
    torch.bmm(kept, value, out=y[:-1].view(n, L, k))

    def back(g: Tensor) -> Tensor:
        (gy,) = _gather(g, batch.unpack_one)  # [M·B·H, L, k]
        rows = room(3 * n * L, k, g)
        gq, gk, gv = rows[:-1].view(3, n, L, k)
        torch.bmm(kept.mT, gy, out=gv)
        gw = torch.bmm(gy, value.mT).float()
        if mask is not None:
            gw *= mask
        gs = _softmax_backward(gw, weights, -1, weights.dtype)
        gs *= k**-0.5
        gs = gs.to(dtype)
        torch.bmm(gs, key, out=gq)
        torch.bmm(gs.mT, q, out=gk)
        return _gather(rows, batch.pack).view(*shape[:2], -1)

    return _gather(y, batch.pack_one).view(shape), back


def cross_entropy(logits: Tensor, batch: Batch, tokens: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
    """[M]: each member's nats over its own targets divided by ``tokens`` [M]; back: the gradient by the logits."""
    scores = logits.flatten(0, 1).log_softmax(-1)
    targets = batch.targets.flatten()
    nats, total = _aten.nll_loss_forward.default(scores, targets, None, 0, IGNORE)

    def back() -> Tensor:
        g = tokens.reciprocal()[:, None].expand(batch.tokens.shape).reshape(-1)
        g = _aten.nll_loss_backward.default(g, scores, targets, None, 0, IGNORE, total)
        return _aten._log_softmax_backward_data.default(g, scores, -1, scores.dtype).view(logits.shape)

    return nats.view(batch.tokens.shape).sum(1) / tokens, back


def room(size: int, width: int, like: Tensor) -> Tensor:
    """Room for ``size`` rows, and behind them the row of zeros that padding points to."""
    rows = torch.empty(size + 1, width, device=like.device, dtype=like.dtype)
    rows[-1].zero_()
    return rows


def _write(buffer: Tensor, gradient: Tensor, add: bool) -> None:
    if add:
        buffer += gradient
    else:
        buffer.copy_(gradient)


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    """rows[index] for a contiguous [R, k]; index_select copies whole rows, which indexing does not."""
    return rows.index_select(0, index.flatten()).view(*index.shape, -1)
