"""A model made ready to be measured, watched while it runs, and left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from auxin.errors import ConfigError
from auxin.probes.residual import ROUNDING

MASKED = -1e4
"""Logits below this one are masked, whatever finite number a model masks with."""


@contextmanager
def restored(restore: Callable[[], None]) -> Iterator[None]:
    """Call ``restore`` at the end, and once more where Ctrl-C interrupts it: nothing is left half done."""
    try:
        yield
    finally:
        try:
            restore()
        except BaseException:
            restore()
            raise


@contextmanager
def prepared(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode, frozen parameters, gradients on, nothing compiled, attention in its plain form.

    Modes, ``requires_grad`` and torch's random state are as before afterwards; gradients are never touched.
    Raises ``ConfigError`` naming the first tensor that cannot be read, and for scripted modules.
    """
    for root in modules:
        check_readable(root)
    modes = [(m, m.training) for m in {id(m): m for root in modules for m in root.modules()}.values()]
    parameters = list({id(p): p for root in modules for p in root.parameters()}.values())
    needing = [p for p in parameters if p.requires_grad]
    cuda = [p.device for p in parameters if p.is_cuda][:1]
    fast = torch.backends.mha.get_fastpath_enabled()  # torch's own encoder would make nested tensors

    def restore() -> None:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes:
            module.training = training
        for p in needing:
            p.requires_grad_(True)

    with restored(restore):
        torch.backends.mha.set_fastpath_enabled(False)
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


def check_readable(model: nn.Module) -> None:
    """Raise ``ConfigError`` for a scripted module, and for weights without data or of a type that is no float."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ConfigError(
                f"{name or type(module).__name__} is scripted, and its parts cannot be followed; allowed: the module "
                "that was scripted or traced"
            )
        if callable(getattr(type(module), "weight", None)):
            raise ConfigError(f"weight of {name} is quantized and packed; allowed: weights that are tensors")
    for name, p in (*model.named_parameters(), *model.named_buffers()):
        what = f"{'parameter' if isinstance(p, nn.Parameter) else 'buffer'} {name}"
        if is_lazy(p):
            raise ConfigError(f"{what} has no shape yet; allowed: a lazy module after its first run")
        if p.is_meta:
            raise ConfigError(
                f"{what} is on device 'meta', without data; allowed: weights that are filled (to_empty, then the "
                "model's own initialization)"
            )
        if isinstance(p, nn.Parameter) and p.dtype not in ROUNDING:
            floats = ", ".join(str(dtype) for dtype in ROUNDING)
            raise ConfigError(f"{what} is {p.dtype}; allowed: {floats}")


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, dicts and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
        return
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, (tuple, list)):
        items = value
    elif is_dataclass(value) and not isinstance(value, type):
        items = (getattr(value, f.name) for f in fields(value))
    for item in items:
        yield from tensors_of(item)


def streams_of(value: Any, like: Tensor | None = None) -> Iterator[Tensor]:
    """The tensors [·, ·, d] of floats in an output: itself, or in a tuple, dict or dataclass.

    With ``like``, those that have its numbers of tokens and dimensions, flattened to [·, d] or not.
    """
    for x in tensors_of(value):
        if not x.is_floating_point():
            continue
        if (
            x.ndim == 3
            if like is None
            else x.ndim in (2, 3) and (x.shape[-1], x.numel()) == (like.shape[-1], like.numel())
        ):
            yield x


def stream_of(value: Any, like: Tensor | None = None) -> Tensor | None:
    """The first of ``streams_of``."""
    return next(streams_of(value, like), None)


class SoftmaxWatch(TorchDispatchMode):
    """Tells of every attention matrix as it is computed: a softmax of products of queries and keys, [..., n, m].

    The router of a mixture of experts takes a softmax of products with a parameter; that is none. Queries and keys
    are told by what depends on the stream, whose beginning requires gradients: both do in self-attention, one of
    them in cross-attention.
    """

    SOFTMAXES = ("aten::_softmax", "aten::_safe_softmax")
    PRODUCTS = ("aten::bmm", "aten::baddbmm")

    def __init__(self, model: nn.Module, tell: Callable[[Tensor, Tensor, bool], None]) -> None:
        super().__init__()
        self.tell = tell
        self._parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self._products: list[tuple[int, int, int]] = []
        self._weights: tuple[int, int] | None = None

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
            depending = [d for *size, d in self._products if size == [logits.numel(), logits.shape[-1]]]
            if max(depending, default=0) and logits.shape[-1] > 1:
                self.tell(logits.detach(), result.detach(), max(depending) == 1)
                self._weights = (logits.numel(), logits.shape[-1])
            self._products = []
        return result


def mixtures(weights: Tensor, state: Tensor) -> tuple[float, float]:
    """Mean (A Ĉ Aᵀ)_ii and (A C Aᵀ)_ii of attention matrices A over a stream [B, n, d] or [n, B, d].

    C is the stream's Gram matrix, Ĉ that of its directions. NaN where the shapes do not tell which token is which.
    """
    n = weights.shape[-1]
    if weights.shape[-2] != n:
        return float("nan"), float("nan")
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
