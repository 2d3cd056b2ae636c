"""What attention computes, watched while a model runs: its matrices, and statistics of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

MASKED = -1e4  # logits below this one are masked, whatever finite number a model masks with


class SoftmaxWatch(TorchDispatchMode):
    """Reports every attention matrix as it is computed: a softmax of products of queries and keys, [..., n, m].

    It may be over one logit more, a sink, left out (gpt-oss). A router's, of products with a parameter, is not.
    In self-attention queries and keys both depend on the stream, whose beginning requires gradients; in cross-attention
    one of them does. ``chosen`` hears of scores [..., E] and the largest ones' numbers: of experts, or groups of them.
    """

    SOFTMAXES = ("aten::_softmax", "aten::_safe_softmax")
    PRODUCTS = ("aten::bmm", "aten::baddbmm")

    def __init__(
        self,
        model: nn.Module,
        report: Callable[[Tensor, Tensor, bool], None],
        chosen: Callable[[Tensor, Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self._report, self._chosen = report, chosen
        self._parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self._products: list[tuple[int, int, int]] = []
        self._weights: tuple[int, int] | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch's own switch: the import of its compiler takes longer than most checks."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.name().split(".")[0]
        if name in self.PRODUCTS:
            factors = args[-2:]
            if (factors[0].numel(), factors[0].shape[-1]) == self._weights:  # of the values
                self._weights = None
            elif not any(f.untyped_storage().data_ptr() in self._parameters for f in factors):
                depending = sum(f.requires_grad for f in factors)
                self._products.append((result.numel(), result.shape[-1], depending))
        elif name in self.SOFTMAXES and args[0].ndim >= 3:
            logits = args[0]
            for sinks in (0, 1):
                scores, weights = (x[..., : x.shape[-1] - sinks].detach() for x in (logits, result))
                size = [scores.numel(), scores.shape[-1]]
                depending = max((d for *of, d in self._products if of == size), default=0)
                if depending and size[1] > 1:
                    self._report(scores, weights, depending == 1)
                    self._weights = (size[0], size[1])
                    break
            self._products = []
        elif name == "aten::topk" and self._chosen is not None and args[0].requires_grad and args[0].ndim > 1:
            self._chosen(args[0], result[1])
        return result


def mixtures(weights: Tensor, state: Tensor) -> tuple[float, float]:
    """Mean (A Ĉ Aᵀ)_ii and (A C Aᵀ)_ii of attention matrices A over a stream [B, n, d] or [n, B, d].

    C is the stream's Gram matrix, Ĉ that of its directions. NaN where the shapes leave open which token is which.
    """
    n = weights.shape[-1]
    if weights.shape[-2] != n:
        return math.nan, math.nan
    weights = weights.reshape(-1, n, n) if weights.ndim == 3 else weights.flatten(1, -3)
    x = state.detach()
    if x.shape[1] != n and x.shape[0] == n:
        x = x.transpose(0, 1)
    if x.shape[1] != n or state.shape[:2] == (n, n) or len(weights) % len(x):
        return math.nan, math.nan
    a = weights.reshape(len(x), -1, n, n).float()
    raw, unit = x.float() / x.shape[-1] ** 0.5, torch.nn.functional.normalize(x.float(), dim=-1)
    mixed, mixed_raw = (
        torch.einsum("bhij,bjk,bhik->", a, t @ t.mT, a).item() / (a.shape[0] * a.shape[1] * n)
        for t in (unit, raw)
    )
    return mixed, mixed_raw


def attention_statistics(logits: Tensor, weights: Tensor) -> tuple[float, float]:
    """Mean entropy of rows relative to that of uniform attention, and the spread of the logits in a row.

    Rows that see a single token are left out. The spread is the root of the mean variance over visible keys.
    """
    a, weights = logits.float(), weights.float()
    visible = a > MASKED
    count = visible.sum(-1)
    rows = count >= 2
    if not bool(rows.any()):
        return math.nan, math.nan
    entropy = torch.special.entr(weights).sum(-1)[rows] / count[rows].log()
    a = a.masked_fill(~visible, 0.0)
    mean = a.sum(-1, keepdim=True) / count[..., None].clamp_min(1)
    variance = ((a - mean).square() * visible).sum(-1)[rows] / count[rows]
    return entropy.mean().item(), variance.mean().sqrt().item()
