"""The stack's operations, each returning its value and the function that takes a gradient back through it.

That function maps the loss's gradient by the value to the one by the input and writes those of parameters into
given buffers: a matrix product writes there in place, where autograd would allocate and add, and nothing has to be
zeroed. There is no graph to build or to walk, which takes as long as the products of a narrow model. A backward
pass overwrites the buffers, or with ``add`` adds to them; it leaves the gradient that it is given alone.

With ``dtype`` bfloat16 the factors and results of matrix products are rounded to it, and nothing else is:
activations between the operations, parameters and their gradients are float32.

Shapes in comments: M members, T packed tokens, B sequences, L longest, d width, H heads, k = d/H.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from auxin.models.batch import IGNORE, Batch
from auxin.models.mlp import ACTIVATIONS

EPSILON = 1e-5  # of layer norm, PyTorch's default
Back = Callable[[Tensor], Tensor]

_aten = torch.ops.aten


class LinearFunction:
    """x·Wᵀ + b for every member: weight [M, b, a], bias [M, b] or None, and their gradients' buffers."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        weight_gradient: Tensor,
        bias_gradient: Tensor | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.weight, self.bias = weight, None if bias is None else bias[:, None]
        self.weight_gradient, self.bias_gradient, self.dtype = weight_gradient, bias_gradient, dtype

    def __call__(
        self, x: Tensor, add: bool = False, out: Tensor | None = None
    ) -> tuple[Tensor, Callable[..., Tensor]]:
        """x [M, T, a] → [M, T, b].

        ``out`` [M, T, b] of ``dtype`` takes the result as it is rounded; so does that of the way back, [M, T, a].
        """
        dtype = self.dtype
        x, weight = x.to(dtype), self.weight.to(dtype)
        if self.bias is None:
            y = torch.bmm(x, weight.mT, out=out)
        else:
            y = torch.baddbmm(self.bias.to(dtype), x, weight.mT, out=out)

        def back(g: Tensor, out: Tensor | None = None) -> Tensor:
            if self.bias_gradient is not None:
                _write(self.bias_gradient, g.sum(1, dtype=torch.float32), add)
            g = g.to(dtype)
            if dtype == torch.float32:
                self.weight_gradient.baddbmm_(g.mT, x, beta=float(add))
            else:
                _write(self.weight_gradient, torch.bmm(g.mT, x), add)
            gx = torch.bmm(g, weight, out=out)
            return gx.float() if out is None else gx

        return (y.float() if out is None else y), back


class LayerNormFunction:
    """Layer norm (Ba et al. 2016) with each member's own weight and bias [M, d].

    A single member's is one operation; of many, the norm of all at once, then their weights and biases.
    """

    def __init__(self, weight: Tensor, bias: Tensor, weight_gradient: Tensor, bias_gradient: Tensor) -> None:
        self.shape = weight.shape[-1:]
        self.alone = (weight[0], bias[0]) if len(weight) == 1 else None
        self.weight, self.bias = weight[:, None], bias[:, None]
        self.gradients = (weight_gradient, bias_gradient)

    def __call__(self, x: Tensor, add: bool = False) -> tuple[Tensor, Back]:
        """x [M, T, d] → the same shape."""
        if self.alone:
            y, *statistics = torch.native_layer_norm(x, self.shape, *self.alone, EPSILON)
            normed = y
        else:
            normed, *statistics = torch.native_layer_norm(x, self.shape, None, None, EPSILON)
            y = torch.addcmul(self.bias, normed, self.weight)
        backward = _aten.native_layer_norm_backward.default

        def back(g: Tensor) -> Tensor:
            if self.alone:
                all_three = [True, True, True]
                gx, *parts = backward(g, x, self.shape, *statistics, *self.alone, all_three)
            else:
                only_x = [True, False, False]
                gx = backward(g * self.weight, x, self.shape, *statistics, None, None, only_x)[0]
                parts = [(g * normed).sum(1), g.sum(1)]
            for buffer, gradient in zip(self.gradients, parts, strict=True):
                _write(buffer, gradient, add)
            return gx

        return y, back


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


def activate(x: Tensor, name: str) -> tuple[Tensor, Back]:
    """φ(x), element by element; relu overwrites x, which its way back does not need."""
    y = x.relu_() if name == "relu" else ACTIVATIONS[name](x)
    return y, lambda g: _DERIVATIVES[name](g, x, y)


_DERIVATIVES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda g, x, y: _aten.threshold_backward.default(g, y, 0),
    "gelu": lambda g, x, y: _aten.gelu_backward.default(g, x),
    "tanh": lambda g, x, y: _aten.tanh_backward.default(g, y),
    "erf": lambda g, x, y: g * (2 / math.sqrt(math.pi)) * torch.exp(-x.square()),
    "silu": lambda g, x, y: _aten.silu_backward.default(g, x),
    "quick_gelu": lambda g, x, y: _quick_gelu_backward(g, torch.sigmoid(1.702 * x), y),
    "relu2": lambda g, x, y: g * 2 * x.clamp_min(0),
    "linear": lambda g, x, y: g,
}
"""g·φ′(x) of every activation, from x and y = φ(x)."""


def _quick_gelu_backward(g: Tensor, sigmoid: Tensor, y: Tensor) -> Tensor:
    """g·(σ + 1.702·xσ(1 − σ)), y = xσ."""
    return g * (sigmoid + 1.702 * y * (1 - sigmoid))


class AttentionFunction:
    """Causal softmax attention of every sequence of a batch, in memory that all layers use in turn.

    Linear layers see packed tokens, attention padded sequences; what is copied from one to the other ends with a
    row of zeros, which padding points to. Padding stands behind every token that counts, so the causal mask is all
    the masking there is.
    """

    def __init__(self, batch: Batch, heads: int, width: int, dtype: torch.dtype) -> None:
        (M, T), (B, L), k, device = batch.tokens.shape, batch.shape, width // heads, batch.tokens.device
        n = M * B * heads
        self._causal = torch.full((L, L), -torch.inf, dtype=dtype, device=device).triu(1)
        self._scale = k**-0.5
        self._unpack, self._unpack_one = (_unpack_heads(batch, heads, parts) for parts in (3, 1))
        self._pack, self._pack_one = (_pack_heads(batch, heads, parts) for parts in (3, 1))

        def room(*shape: int) -> tuple[Tensor, Tensor]:
            """Rows of k, the last of them zero; and the others in that shape."""
            rows = torch.empty(math.prod(shape) // k + 1, k, dtype=dtype, device=device)
            rows[-1].zero_()
            return rows, rows[:-1].view(shape)

        self._qkv, self.qkv = room(M, T, 3 * width)
        self._y, self._padded_y = room(n, L, k)
        self._gy, self.gradient = room(M, T, width)
        self._gqkv, self._padded_gqkv = room(3, n, L, k)

    def __call__(self, mask: Tensor | None) -> tuple[Tensor, Callable[[], Tensor]]:
        """What was put in ``qkv`` [M, T, 3·d] → [M, T, d]; back: of what was put in ``gradient`` [M, T, d].

        ``mask`` [M·B·H, L, L] multiplies the weights (dropout).
        """
        # queries, keys and values [M·B·H, L, k], weights [M·B·H, L, L]
        q, key, value = self._qkv.index_select(0, self._unpack).view_as(self._padded_gqkv)
        scores = torch.baddbmm(self._causal, q, key.mT, alpha=self._scale)
        weights = scores.float().softmax(-1)
        kept = (weights if mask is None else weights * mask).to(q.dtype)
        torch.bmm(kept, value, out=self._padded_y)

        def back() -> Tensor:
            gy = self._gy.index_select(0, self._unpack_one).view_as(self._padded_y)
            gq, gk, gv = self._padded_gqkv
            torch.bmm(kept.mT, gy, out=gv)
            gw = torch.bmm(gy, value.mT).float()
            if mask is not None:
                gw *= mask
            gs = _aten._softmax_backward_data.default(gw, weights, -1, weights.dtype)
            gs = gs.mul_(self._scale).to(q.dtype)
            torch.bmm(gs, key, out=gq)
            torch.bmm(gs.mT, q, out=gk)
            return self._gqkv.index_select(0, self._pack).view_as(self.qkv)

        return self._y.index_select(0, self._pack_one).view_as(self.gradient), back


def _unpack_heads(batch: Batch, heads: int, parts: int) -> Tensor:
    """[parts·M·B·H·L]: where what a padded place holds stands in a packed [M·T, parts, H] array, or its end."""
    (M, T), (B, L), device = batch.tokens.shape, batch.shape, batch.tokens.device
    member, head, part = (torch.arange(size, device=device) for size in (M, heads, parts))
    slots = batch.slots.view(M, B, 1, L)
    index = (slots + T * member[:, None, None, None]) * parts + part.view(-1, 1, 1, 1, 1)
    index = index * heads + head[:, None]  # [parts, M, B, H, L]
    return index.where(slots < T, M * T * parts * heads).flatten()


def _pack_heads(batch: Batch, heads: int, parts: int) -> Tensor:
    """[M·T·parts·H]: where a token's heads stand in a padded [parts, M·B·H, L] array, or its end."""
    (M, _), (B, L), device = batch.tokens.shape, batch.shape, batch.tokens.device
    member, head, part = (torch.arange(size, device=device) for size in (M, heads, parts))
    places = batch.places[..., None, None]  # [M, T, 1, 1]
    row = places // L + B * member[:, None, None, None]
    size = M * B * heads * L
    index = (row * heads + head) * L + places % L + size * part[:, None]
    return index.where(places < B * L, size * parts).flatten()


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


def _write(buffer: Tensor, gradient: Tensor, add: bool) -> None:
    if add:
        buffer += gradient
    else:
        buffer.copy_(gradient)
