"""The stream and the logits among what modules take and give, and statistics of states [B, n, d]."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.preparation import hooks, restored
from auxin.probes.attention import MASKED


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
        same = like is not None and (x.shape[-1:], x.numel()) == (like.shape[-1:], like.numel())
        if x.ndim == 3 if like is None else same and x.ndim in (2, 3):
            yield x


def stream_of(value: Any, like: Tensor | None = None) -> Tensor | None:
    """The first of ``streams_of``."""
    return next(streams_of(value, like), None)


@contextlib.contextmanager
def following(layers: Iterable[nn.Module], *, wake: bool = False) -> Iterator[list[Tensor]]:
    """The stream before the first of these layers and after each, as they run.

    ``wake``: its beginning requires gradients meanwhile, by which attention is told from routers.
    """
    states: list[Tensor] = []
    woken: list[Tensor] = []

    def begin(_: nn.Module, args: Any, kwargs: Any) -> None:
        x = stream_of((args, kwargs))
        if not states and x is not None:
            states.append(x)
            if wake and not x.requires_grad:
                woken.append(x.requires_grad_())

    def end(_: nn.Module, __: Any, output: Any) -> None:
        states.extend(list(streams_of(output))[:1])

    with restored(lambda: asleep(woken)), hooks() as hook:
        for layer in layers:
            hook(layer.register_forward_pre_hook(begin, with_kwargs=True))
            hook(layer.register_forward_hook(end))
        yield states


def asleep(woken: Iterable[Tensor]) -> None:
    """Undo what was done to tensors that may be the caller's."""
    for x in woken:
        x.requires_grad_(False)


def norm_and_cosine(
    states: Iterable[Tensor], kept: Tensor, equal: Tensor | None
) -> dict[str, NDArray[np.float64]]:
    """Norm² per dimension and mean cosine of states [B, n, d], in turn."""
    rows = [(mean_square(x, kept) / x.shape[-1], mean_cosine(x, kept, equal)) for x in states]
    return dict(zip(("norm", "cosine"), np.array(rows).T.copy(), strict=True))


def mean_square(x: Tensor, kept: Tensor) -> float:
    """Mean of ‖x‖² over the kept tokens of x [B, n, d]."""
    return x.detach().double().square().sum(-1)[kept.to(x.device)].mean().item()


def mean_cosine(x: Tensor, kept: Tensor, equal: Tensor | None = None) -> float:
    """Mean cosine over pairs of kept tokens of a sequence, NaN where there are none; x [B, n, d].

    ``equal``, bool [B, n, n], marks pairs to leave out. Without it (‖s‖² − n)/(n(n − 1)), s the sum of the directions.
    """
    kept = kept.to(x.device)
    directions = nn.functional.normalize(x.detach().double(), dim=-1) * kept[..., None]
    if equal is not None:
        pairs = kept[:, :, None] & kept[:, None] & ~equal.to(x.device)
        pairs.diagonal(dim1=1, dim2=2).fill_(False)
        return (directions @ directions.mT)[pairs].mean().item() if bool(pairs.any()) else float("nan")
    count = kept.sum(1).double()
    pairs = (count * (count - 1)).sum().item()
    squared = directions.sum(1).square().sum().item() - directions.square().sum().item()
    return squared / pairs if pairs else float("nan")


def mean_gap(x: Tensor) -> float:
    """Mean of 1 − cosine over pairs of tokens, from differences to keep its precision; x [B, n, d]."""
    directions = nn.functional.normalize(x.detach().double(), dim=-1)
    differences = directions - directions.mean(1, keepdim=True)
    return differences.square().sum((1, 2)).mean().item() / (x.shape[1] - 1)


def reaching(entry: Tensor, start: Tensor) -> Tensor:
    """Which entries of ``start`` [·, ·, d] one entry [d] of a later state depends on: bool [·, ·], by one pass back."""
    weights = torch.linspace(-1, 1, len(entry), device=entry.device, dtype=entry.dtype)
    (gradient,) = torch.autograd.grad(entry @ weights, start, retain_graph=True, allow_unused=True)
    return (torch.zeros_like(start) if gradient is None else gradient).abs().sum(-1) > 0


def mixed_axes(output: Tensor, start: Tensor) -> set[int]:
    """The axes (0 and 1) along which the entries of ``output`` [·, ·, d] depend on others of ``start``.

    One is that of tokens, because sequences of a batch do not see each other.
    """
    if output.shape[:2] != start.shape[:2]:
        return set()
    reached = reaching(output[-1, -1], start)
    reached[-1, -1] = False
    return {axis for axis, others in ((0, reached[:, -1]), (1, reached[-1])) if bool(others.any())}


class NotFinite(ConfigError):
    """A value on the way is not finite; ``module`` is the first one whose output has one."""

    def __init__(self, module: str, message: str) -> None:
        super().__init__(message)
        self.module = module


def norm_of(x: Tensor) -> float:
    """Mean squared norm of a token, per dimension."""
    return x.detach().float().square().mean().item()


def finite_norm(name: str, x: Tensor) -> float:
    """Mean squared norm of a token, per dimension; ``NotFinite`` where an entry is not finite."""
    norm = norm_of(x)
    if not math.isfinite(norm) and not bool(x.isfinite().all()):
        raise NotFinite(name, f"{name} gives values that are not finite")
    return norm


class _Found(Exception):
    """Ends the run at the first module."""


def wrong(x: Tensor) -> bool:
    """Whether a tensor has NaN or +∞ among its entries; −∞ is no fault, masks are made of it."""
    return bool((x.isnan() | (x == torch.inf)).any())


def first_not_finite(model: nn.Module, run: Callable[[], Any]) -> NotFinite | None:
    """The first module of a run whose output has NaN or infinite entries, and which of its tensors is not finite."""
    first: list[tuple[str, nn.Module, Tensor]] = []

    def look(name: str, module: nn.Module, _: Any, output: Any) -> None:
        for x in tensors_of(output):
            if (x.is_floating_point() or x.is_complex()) and wrong(x):
                first.append((name, module, x))
                raise _Found

    with hooks() as hook:
        for name, module in model.named_modules():
            hook(module.register_forward_hook(partial(look, name)))
        with contextlib.suppress(Exception):  # what else it raises, it raises after the first module
            run()
    if not first:
        return None
    name, module, x = first[0]
    tensors = [("parameter", *item) for item in module.named_parameters()]
    tensors += [("buffer", *item) for item in module.named_buffers()]
    culprit = next((f"{what} {f'{name}.{n}'.removeprefix('.')}" for what, n, t in tensors if wrong(t)), None)
    kind, dtype = "NaN" if bool(x.isnan().any()) else "infinite", str(x.dtype).removeprefix("torch.")
    overflows = f"it overflows {dtype}, which ends at {torch.finfo(x.dtype).max:.3g}"
    why = f"its {culprit} is not finite" if culprit else f"no tensor of its own is; {overflows}"
    what = name or type(module).__name__
    return NotFinite(name, f"{what} is the first module to give {kind} values: {why}")


LOGITS = ("logits", "prediction_logits", "lm_logits")  # what models of transformers call them


@dataclass(frozen=True, kw_only=True)
class Logits:
    """What is known of a model's logits; None for a model without."""

    logit_std: float | None = None
    """Spread of the logits over the vocabulary, root mean square."""
    excess_loss: float | None = None
    """Mean cross-entropy of a uniformly random next token, minus ln V; of the logits that the model returns."""
    vocabulary: int | None = None
    output_map: str | None = None
    """Name of the linear map that computes the logits."""


def named_logits(output: Any) -> Tensor | None:
    """The tensor that a model calls its logits."""
    get = output.get if isinstance(output, Mapping) else lambda name: getattr(output, name, None)
    named = [x for x in map(get, LOGITS) if isinstance(x, Tensor)]
    return next((x for x in named if x.is_floating_point() and x.ndim >= 2), None)


def logits_of(output: Any, heads: Mapping[str, torch.Size], width: int, vocabulary: int | None) -> Logits:
    """Statistics of a model's logits; raises ``NotFinite`` where they are NaN or infinite.

    Logits are what the model calls so, else its first output if that has a vocabulary's length, or the shape of what a
    linear map after the layers (``heads``) gave, and not the stream's width. Words that are masked do not count.
    """
    logits = named_logits(output)
    if logits is None:
        logits = next((x for x in tensors_of(output) if x.is_floating_point() and x.ndim >= 2), None)
        if logits is not None and logits.shape[-1] != vocabulary:
            size = logits.shape[-1], logits.numel()
            mapped = any((shape[-1], shape.numel()) == size for shape in heads.values())
            logits = logits if mapped and size[0] != width else None
    if logits is None:
        return Logits()
    head = next((n for n in reversed(list(heads)) if heads[n][-1] == logits.shape[-1]), None)
    logits = logits.detach().double()
    if wrong(logits):
        raise NotFinite(head or "", "logits are not finite")
    words = logits > MASKED
    count = words.sum(-1)
    mean = logits.masked_fill(~words, 0.0).sum(-1) / count
    variance = (logits - mean[..., None]).masked_fill(~words, 0.0).square().sum(-1) / count
    return Logits(
        logit_std=variance.mean().sqrt().item(),
        excess_loss=(logits.logsumexp(-1) - mean - count.log()).mean().item(),
        vocabulary=int(count.max()),
        output_map=head,
    )
