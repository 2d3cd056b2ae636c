"""Hooks that follow the residual stream through a model's layers while it runs once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.probes.residual import PARALLEL, ROUNDING, Event, LayerTrace, mean_norm, sample
from auxin.probes.stack import Stack
from auxin.probes.watching import attention_statistics, mixtures, stream_of
from auxin.values import check


@dataclass(frozen=True)
class Branch:
    """What one branch adds to the stream."""

    layer: int
    """Which run of a layer, from 0."""
    kind: str
    """attention (a softmax over tokens ran in it) or mlp."""
    module: str
    """Name of the module whose output is added."""
    writer: str | None
    """Name of the module whose matrix made that output, or of a norm behind it."""
    skip: float
    strength: float
    """The sum is skip·stream + strength·output."""
    norm: float
    """Norm² of what is added, per dimension."""
    share: float
    """That of the sum's."""
    entropy: float | None = None
    """Mean entropy of attention, relative to uniform attention's; None without attention."""
    spread: float | None = None
    """Root mean variance of a row's logits."""
    mixed: float | None = None
    """Mean (A Ĉ Aᵀ)_ii: norm² of what attention makes of the stream's directions, Ĉ their cosines."""
    mixed_raw: float | None = None
    """The same of the stream itself."""


@dataclass
class _Layer:
    """One run of a layer while it goes on."""

    name: str
    trace: LayerTrace
    matrices: list[tuple[int, str, Any]] = field(default_factory=list)
    """Time, name and output's sample of the modules with a matrix that writes to the stream's dimension."""
    softmaxes: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    """Time, entropy, spread of the logits, and what the weights make of the stream (``mixed``)."""


class Tracer:
    """Records the stream before and behind every layer, and its branches; a context in which the model runs."""

    def __init__(self, model: nn.Module, stack: Stack) -> None:
        self.model, self.stack = model, stack
        self.replaceable = stack.called
        self.states: list[Tensor] = []
        self.ran: list[str] = []
        self.branches: list[Branch] = []
        self.notes: list[str] = []
        self.causal: bool | None = None
        self._layer: _Layer | None = None
        self._time = 0
        self._entries: dict[str, list[Any]] = {}
        self._unexplained: list[str] = []
        self._logits: tuple[str, Tensor] | None = None
        self._handles: list[Any] = []
        self._owner = {
            f"{name}.{inner}".removesuffix("."): name
            for name, layer in stack.layers.items()
            for inner, _ in layer.named_modules()
        }

    def __enter__(self) -> Self:
        hook = self._handles.append
        for name, module in self.model.named_modules():
            if name in self.stack.layers and self.stack.called:
                hook(module.register_forward_pre_hook(partial(self._begin, name), with_kwargs=True))
                hook(module.register_forward_hook(partial(self._end, name)))
            elif name in self._owner:
                hook(module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True))
                hook(module.register_forward_hook(partial(self._leave, name)))
            elif isinstance(module, nn.Linear):
                hook(module.register_forward_hook(partial(self._outside, name)))
            if not self.stack.called and name and name not in self._owner:
                hook(module.register_forward_pre_hook(partial(self._behind, name), with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def finish(self, output: Any) -> None:
        """Close the last layer, and refuse what is no residual stream."""
        if self._layer is not None:
            final = stream_of(output)
            if final is None:
                raise ConfigError(
                    f"the end of the stream behind {self._layer.name} is not to be told; allowed: a module (a "
                    "final norm, an output map) that reads it, or layers that are modules with a forward"
                )
            self._close(final)
        first = next(iter(self.stack.layers))
        check(len(self.ran) > 0, f"layer {first}", "never run", "layers that run on these inputs")
        missing = [name for name in self.stack.layers if name not in self.ran]
        if missing:
            self.notes.append(f"{len(missing)} of the layers did not run ({missing[0]} …)")
        if self._unexplained:
            names = ", ".join(dict.fromkeys(self._unexplained))
            self.notes.append(f"what is added to the stream was not found in {names[:200]}")

    # the stream at the border of layers that are modules

    def _begin(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        x = stream_of((args, kwargs))
        allowed = "a float tensor [B, n, d]"
        check(x is not None, f"input of {name} ({type(module).__name__})", _shape(args), allowed)
        assert x is not None
        if not self.states:  # the graph starts here
            self.states.append(x if x.requires_grad else x.requires_grad_())
        self._open(name, x)

    def _end(self, name: str, module: nn.Module, _: Any, output: Any) -> None:
        x = stream_of(output)
        if x is None or self._layer is None:
            raise ConfigError(
                f"output of {name} ({type(module).__name__}) is {_shape(output)}; allowed: a float tensor [B, n, d], "
                "alone or in a tuple, dict or dataclass"
            )
        self._close(x)

    # the same where a layer is a mere list of its parts: it begins with the first part that runs

    def _behind(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        x = stream_of(args)
        if self._layer is not None and x is not None and x.shape == self.states[0].shape:
            self._close(x)

    def _begin_parts(self, owner: str, x: Tensor) -> None:
        if self._layer is not None and self._layer.name == owner:
            return
        if self._layer is not None:
            self._close(x)
        if not self.states:
            self.states.append(x if x.requires_grad else x.requires_grad_())
        self._open(owner, x)

    def _open(self, name: str, x: Tensor) -> None:
        self._layer = _Layer(name, LayerTrace(sample(x), ROUNDING.get(x.dtype, 1e-4)))
        self._entries = {}

    def _close(self, x: Tensor) -> None:
        layer, self._layer = self._layer, None
        assert layer is not None
        shape = tuple(self.states[0].shape)
        allowed = (
            f"the stream's shape {shape}: stages of unlike width are not followed; name one with layers="
        )
        check(tuple(x.shape) == shape, f"stream behind {layer.name}", tuple(x.shape), allowed)
        self.ran.append(layer.name)
        self.states.append(x)
        if not layer.trace.ended(sample(x), mean_norm(x)):
            self._unexplained.append(layer.name)
        self.branches += self._found(layer, len(self.ran) - 1)

    # what happens inside a layer

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not self.stack.called and (part := stream_of(args)) is not None:
            self._begin_parts(self._owner[name], part)
        if self._layer is None:
            return
        x = stream_of((args, kwargs), self.states[0])
        if x is None:
            return
        value = sample(x)
        self._entries.setdefault(name, []).append(value)
        self._layer.trace.entered(value, mean_norm(x), PARALLEL if is_norm(module) else 1)

    def _leave(self, name: str, module: nn.Module, _: Any, output: Any) -> None:
        self._time += 1
        layer = self._layer
        x = None if layer is None else stream_of(output, self.states[0])
        if layer is None or x is None:
            return
        value = sample(x)
        entries = self._entries.get(name)
        event = Event(self._time, name, value, mean_norm(x))
        adds = next(module.children(), None) is not None
        layer.trace.left(event, entries.pop() if entries else None, is_norm(module), adds)
        if matrix_of(module) is not None:
            layer.matrices.append((self._time, name, value))

    def softmax(self, logits: Tensor, weights: Tensor) -> None:
        """An attention matrix has been computed."""
        causal = not bool(weights.triu(1).any())
        self.causal = causal if self.causal is None else self.causal and causal
        self._time += 1
        if self._layer is not None:
            found = *attention_statistics(logits, weights), *mixtures(weights, self.states[-1])
            self._layer.softmaxes.append((self._time, *found))

    def _found(self, layer: _Layer, index: int) -> Iterator[Branch]:
        """The branches of a finished layer; an attention matrix belongs to the next output that is added."""
        terms = [(addition, *term) for addition in layer.trace.additions for term in addition.terms]
        since = 0
        for addition, strength, event in sorted(terms, key=lambda term: term[2].time):
            attention = [s for s in layer.softmaxes if since < s[0] <= event.time]
            writers = [m for m in layer.matrices if since < m[0] <= event.time]
            since = event.time
            count = len(attention)
            norm = strength**2 * event.norm
            yield Branch(
                layer=index,
                kind="attention" if attention else "mlp",
                module=event.module,
                writer=_writer(self.model, event, writers),
                skip=addition.skip,
                strength=strength,
                norm=norm,
                share=norm / addition.norm if addition.norm else math.nan,
                entropy=sum(s[1] for s in attention) / count if count else None,
                spread=math.sqrt(sum(s[2] ** 2 for s in attention) / count) if count else None,
                mixed=sum(s[3] for s in attention) / count if count else None,
                mixed_raw=sum(s[4] for s in attention) / count if count else None,
            )

    # behind the layers

    def _outside(self, name: str, module: nn.Linear, _: Any, output: Tensor) -> None:
        if (
            self.ran
            and self._layer is None
            and (self._logits is None or output.shape[-1] >= self._logits[1].shape[-1])
        ):
            self._logits = name, output.detach()

    def output_statistics(self) -> dict[str, Any]:
        """Spread of the logits and loss at the start, of the last and widest map behind the layers."""
        if self._logits is None:
            return {"logit_std": None, "excess_loss": None, "vocabulary": None, "output_map": None}
        name, logits = self._logits
        logits = logits.double()
        mean = logits.mean(-1)
        excess = logits.logsumexp(-1) - mean - math.log(logits.shape[-1])
        std = logits.var(-1, correction=0).mean().sqrt().item()
        return {
            "logit_std": std,
            "excess_loss": excess.mean().item(),
            "vocabulary": logits.shape[-1],
            "output_map": name,
        }

    @contextmanager
    def replaced(self, start: Tensor, follow: Callable[[Tensor], None]) -> Iterator[None]:
        """The model runs with another stream at its start; ``follow`` sees the stream there and behind every layer."""
        begun = False

        def begin(module: nn.Module, args: Any, kwargs: Any) -> Any:
            nonlocal begun
            if begun:
                return None
            begun = True
            follow(start)
            x = stream_of((args, kwargs))
            return _with(args, kwargs, x, start)

        def end(module: nn.Module, _: Any, output: Any) -> None:
            x = stream_of(output)
            if x is not None:
                follow(x)

        handles = [layer.register_forward_hook(end) for layer in self.stack.layers.values()]
        handles += [
            layer.register_forward_pre_hook(begin, with_kwargs=True) for layer in self.stack.layers.values()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def is_norm(module: nn.Module) -> bool:
    """Whether a module has at most one number a dimension, and is called a norm: LayerNorm, RMSNorm, DyT."""
    few = all(p.ndim <= 1 for p in module.parameters())
    name = type(module).__name__.lower()
    return few and ("norm" in name or name in ("dyt", "derf"))


def matrix_of(module: nn.Module) -> Tensor | None:
    """The matrix that a module applies last: its own weight, or that of nn.MultiheadAttention's output map."""
    if isinstance(module, nn.MultiheadAttention):
        return module.out_proj.weight
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) and weight.ndim == 2 else None


def _writer(model: nn.Module, event: Event, matrices: list[tuple[int, str, Any]]) -> str | None:
    """The norm behind the branch, else the last module with a matrix that ran in it."""
    if is_norm(model.get_submodule(event.module)):
        return event.module
    if not matrices:
        return None
    name = matrices[-1][1]
    inside = isinstance(model.get_submodule(name), nn.MultiheadAttention)
    return f"{name}.out_proj" if inside else name


def _with(args: Any, kwargs: Any, old: Any, new: Tensor) -> tuple[Any, Any]:
    """The arguments with one tensor replaced by another."""
    exchange = lambda value: new if value is old else value
    return tuple(map(exchange, args)), {name: exchange(value) for name, value in kwargs.items()}


def _shape(value: Any) -> object:
    """What to say of a value that should be a stream."""
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
