"""A model made ready to be measured, watched while it runs, and left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from auxin.errors import ConfigError

MASKED = -1e4
"""Logits below this one are masked, whatever finite number a model masks with."""


@contextmanager
def prepared(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode, frozen parameters, gradients on, nothing compiled, attention in its plain form.

    Modes, ``requires_grad`` and torch's random state are as before afterwards; gradients are never touched.
    Raises ``ConfigError`` naming the first tensor without data (device meta).
    """
    every = {id(m): m for root in modules for m in root.modules()}
    parameters = {id(p): (n, p) for root in modules for n, p in root.named_parameters()}
    for name, p in parameters.values():
        if p.is_meta:
            raise ConfigError(
                f"parameter {name} is on device 'meta', without data; allowed: weights that are filled (to_empty, "
                "then the model's own initialization)"
            )
    modes = [(module, module.training) for module in every.values()]
    needing = [p for _, p in parameters.values() if p.requires_grad]
    cuda = [p.device for _, p in parameters.values() if p.is_cuda][:1]
    try:
        for module, _ in modes:
            module.training = False
        for p in needing:
            p.requires_grad_(False)
        with (
            torch.random.fork_rng(devices=cuda),
            torch.inference_mode(False),
            torch.enable_grad(),
            sdpa_kernel(SDPBackend.MATH),
            torch.compiler.set_stance("force_eager"),
        ):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for p in needing:
            p.requires_grad_(True)


def stream_of(value: Any, like: Tensor | None = None) -> Tensor | None:
    """The first tensor [·, ·, d] of floats in an output: itself, or in a tuple, dict or dataclass.

    With ``like``, the first that has its numbers of tokens and dimensions, flattened to [·, d] or not.
    """
    if isinstance(value, Tensor):
        if like is None:
            return value if value.ndim == 3 and value.is_floating_point() else None
        same = value.ndim in (2, 3) and value.shape[-1] == like.shape[-1] and value.numel() == like.numel()
        return value if same and value.is_floating_point() else None
    if isinstance(value, Mapping):
        items: Any = value.values()
    elif isinstance(value, (tuple, list)):
        items = value
    elif is_dataclass(value) and not isinstance(value, type):
        items = (getattr(value, f.name) for f in fields(value))
    else:
        return None
    return next((x for item in items if (x := stream_of(item, like)) is not None), None)


class SoftmaxWatch(TorchDispatchMode):
    """Tells of every attention matrix as it is computed: a softmax of logits [..., n, n]."""

    SOFTMAXES = ("aten::_softmax", "aten::_safe_softmax")

    def __init__(self, tell: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self.tell = tell

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.name().split(".")[0] in self.SOFTMAXES:
            logits = args[0]
            if logits.ndim >= 3 and logits.shape[-1] == logits.shape[-2] > 1:
                self.tell(logits.detach(), result.detach())
        return result


def mixtures(weights: Tensor, state: Tensor) -> tuple[float, float]:
    """Mean (A Ĉ Aᵀ)_ii and (A C Aᵀ)_ii of attention matrices A over a stream [B, n, d] or [n, B, d].

    C is the stream's Gram matrix, Ĉ that of its directions. NaN where the shapes do not tell which token is which.
    """
    n = weights.shape[-1]
    weights = weights.reshape(-1, n, n) if weights.ndim == 3 else weights.flatten(1, -3)
    x = state.detach()
    if x.shape[1] != n and x.shape[0] == n:
        x = x.transpose(0, 1)
    if x.shape[1] != n or state.shape[:2] == (n, n) or len(weights) % len(x):
        return float("nan"), float("nan")
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
        return float("nan"), float("nan")
    entropy = torch.special.entr(weights).sum(-1)[rows] / count[rows].log()
    a = a.masked_fill(~visible, 0.0)
    mean = a.sum(-1, keepdim=True) / count[..., None].clamp_min(1)
    variance = ((a - mean).square() * visible).sum(-1)[rows] / count[rows]
    return entropy.mean().item(), variance.mean().sqrt().item()
