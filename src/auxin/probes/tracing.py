"""Hooks that follow the residual stream through a model's layers while it runs once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.layers import LayerStack
from auxin.families.preparation import ROUNDING, hooks
from auxin.probes.attention import attention_statistics, mixtures
from auxin.probes.residual import PARALLEL, Event, LayerTrace, ObservedBranch, Softmax, is_norm, same, sample
from auxin.probes.routing import MOST, Routing
from auxin.probes.states import asleep, finite_norm, norm_of, stream_of, streams_of
from auxin.values import check


class Tracer:
    """Records the stream before and after every layer, and its branches, while the model runs in ``following``.

    ``sources`` are the tensors whose gradients are the stream's: the states, or where layers return branch and residual
    as a pair, whose sum the state is, the branch.
    """

    def __init__(self, model: nn.Module, stack: LayerStack, table: nn.Embedding | None = None) -> None:
        self.model, self.stack, self.table = model, stack, table
        self.tokens: Tensor | None = None
        """Ids that the table of tokens has read."""
        self.states: list[Tensor] = []
        self.sources: list[Tensor] = []
        self.ran: list[str] = []
        self.branches: list[ObservedBranch] = []
        self.notes: list[str] = []
        self.causal: bool | None = None
        self.memory: Tensor | None = None
        """What the first layer takes beside the stream, of its width: what its attention to another stream reads."""
        self.heads: dict[str, torch.Size] = {}
        """Shapes of the outputs of linear maps after the layers."""
        self._layer: LayerTrace | None = None
        self._woken: list[Tensor] = []
        self._paired = False
        self._time = 0
        self.routings: list[Routing] = []
        self._entries: dict[str, list[tuple[Any, bool]]] = {}
        self._read_last: tuple[str, Tensor] | None = None
        self._broken: list[str] = []
        self._unexplained: list[str] = []
        layers = stack.layers.items()
        self._layer_of = {n: name for name, layer in layers for n, _ in layer.named_modules(prefix=name)}

    @contextmanager
    def following(self) -> Iterator[None]:
        """A context in which the model runs."""
        with hooks() as hook:
            for name, module in self.model.named_modules():
                if name in self.stack.layers and self.stack.called:
                    hook(module.register_forward_pre_hook(partial(self._begin, name), with_kwargs=True))
                    hook(module.register_forward_hook(partial(self._end, name)))
                elif name in self._layer_of:
                    hook(module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True))
                    hook(module.register_forward_hook(partial(self._leave, name)))
                elif isinstance(module, nn.Linear):
                    hook(module.register_forward_hook(partial(self._outside, name)))
                elif self.table is not None and getattr(module, "weight", None) is self.table.weight:
                    hook(module.register_forward_pre_hook(self._read, with_kwargs=True))
                if not self.stack.called and name and name not in self._layer_of:
                    hook(module.register_forward_pre_hook(self._after, with_kwargs=True))
            yield

    def restore(self) -> None:
        """Undo what was done to a tensor that may be the caller's."""
        asleep(self._woken)

    def finish(self, output: Any) -> None:
        """Close the last layer, and refuse what is no residual stream."""
        if self._layer is not None:
            final = list(streams_of(output, self.states[0]))
            if not final:
                raise ConfigError(
                    f"where the stream ends after {self._layer.name} cannot be seen; allowed: a module (a final norm, "
                    "an output map) that reads it, or layers that are modules with a forward"
                )
            self._close(final)
        first = next(iter(self.stack.layers))
        check(len(self.ran) > 0, f"layer {first}", "never run", "layers that run on these inputs")
        missing = [name for name in self.stack.layers if name not in self.ran]
        if missing:
            self.notes.append(f"{len(missing)} of the layers did not run ({missing[0]} …)")
        unknown = {
            "what is added to the stream was not found in": self._unexplained,
            "the stream changes before": self._broken,
        }
        self.notes += [f"{what} {', '.join(dict.fromkeys(of))[:200]}" for what, of in unknown.items() if of]

    @property
    def closed(self) -> bool:
        """Whether the branches that were found account for the stream from the first layer to the last."""
        return not self._unexplained and not self._broken

    def _read(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """The table of tokens is read: the last time before the first layer, by the stack's own tokens."""
        ids = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
        if ids is None or ids.numel() == 0 or self.states or not isinstance(module, nn.Embedding):
            return
        size, largest = module.num_embeddings, int(ids.max())
        check(largest < size, "largest token id", largest, f"below the model's vocabulary of {size}")
        self.tokens = ids if ids.ndim == 2 else None

    # the stream at the border of layers that are modules

    def _begin(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        found = list(streams_of((args, kwargs), self.states[0] if self.states else None))
        what = f"input of {name} ({type(module).__name__})"
        check(bool(found), what, _shape(args), "a float tensor [B, n, d]")
        if not self.states:
            width = found[0].shape[-1]
            self.memory = next((x for x in found[1:] if x.shape[-1] == width), None)
        self._open(name, self._state(found))

    def _end(self, name: str, module: nn.Module, _: Any, output: Any) -> None:
        found, what = list(streams_of(output)), f"output of {name} ({type(module).__name__})"
        allowed = "a float tensor [B, n, d], alone or in a tuple, dict or dataclass"
        check(bool(found) and self._layer is not None, what, _shape(output), allowed)
        self._close(found)

    def _state(self, found: list[Tensor]) -> Tensor:
        return found[0] + found[1] if self._paired and len(found) > 1 else found[0]

    def _open(self, name: str, x: Tensor) -> None:
        value, tolerance = sample(x), ROUNDING.get(x.dtype, 1e-4)
        finite_norm(name, x)
        if not self.states:  # the graph starts here
            if not x.requires_grad:
                self._woken.append(x.requires_grad_())
            self.states.append(x)
            self.sources.append(x)
        elif not same(value, sample(self.states[-1]), tolerance):
            self._broken.append(name)
        self._layer = LayerTrace(name, value, tolerance)
        self._entries = {}

    def _close(self, outputs: list[Tensor]) -> None:
        """The layer's output is the stream, or where two tensors sum up to it, the last branch and the residual."""
        layer, self._layer = self._layer, None
        assert layer is not None
        x, shape = outputs[0], tuple(self.states[0].shape)
        other = "stages of unlike width are not followed; name one with layers="
        allowed = f"the stream's shape {shape}: {other}"
        check(tuple(x.shape) == shape, f"stream after {layer.name}", tuple(x.shape), allowed)
        sums = [x + other for other in outputs[1:2] if other.shape == x.shape]
        ends = (end for end in (x, *sums) if layer.ended(sample(end), finite_norm(layer.name, end)))
        end = next(ends, None)
        if end is None:
            self._unexplained.append(layer.name)
        elif end is not x:
            self._paired, x = True, end
        self.ran.append(layer.name)
        self.states.append(x)
        self.sources.append(outputs[0])
        self.branches += layer.branches(self.model, len(self.ran) - 1)

    # what happens inside a layer; one that is a mere list of its parts begins with the first part that runs

    def _after(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        x = stream_of(args)
        if self._layer is not None and x is not None and x.shape == self.states[0].shape:
            self._close([x])

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        part = None if self.stack.called else stream_of(args)
        if part is not None and (self._layer is None or self._layer.name != self._layer_of[name]):
            if self._layer is not None:
                self._close([part])
            self._open(self._layer_of[name], part)
        found = [] if self._layer is None else list(streams_of((args, kwargs), self.states[0]))
        if self._layer is None or not found:
            return
        value, self._read_last = sample(found[0]), (name, found[0])
        self._entries.setdefault(name, []).append((value, len(found) > 1))
        self._layer.entered(value, finite_norm(name, found[0]), PARALLEL if is_norm(module) else 1)

    def _leave(self, name: str, module: nn.Module, _: Any, output: Any) -> None:
        self._time += 1
        layer = self._layer
        found = [] if layer is None else list(streams_of(output, self.states[0]))
        if layer is None or not found:
            return
        entries = self._entries.get(name)
        entry, several = entries.pop() if entries else (None, False)
        event = Event(self._time, name, sample(found[0]), finite_norm(name, found[0]))
        layer.left(event, entry, is_norm(module), adds=several or next(module.children(), None) is not None)
        for other in found[1:2]:  # a norm that adds the residual, and returns the sum as well
            layer.entered(sample(other), norm_of(other))
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.MultiheadAttention) or (isinstance(weight, Tensor) and weight.ndim == 2):
            layer.matrices.append((self._time, name))

    def softmax(self, logits: Tensor, weights: Tensor, cross: bool) -> None:
        """An attention matrix has been computed, over other tokens than the stream's where it is ``cross``."""
        self._time += 1
        if self._layer is None:
            return
        if not cross and weights.shape[-1] == weights.shape[-2]:
            causal = not bool(weights.triu(1).any())
            self.causal = causal if self.causal is None else self.causal and causal
        mixed = (math.nan, math.nan) if cross else mixtures(weights, self.states[-1])
        statistics = attention_statistics(logits, weights)
        self._layer.softmaxes.append(Softmax(self._time, cross, *statistics, *mixed))

    def chosen(self, scores: Tensor, numbers: Tensor) -> None:
        """Experts are chosen for every token, or groups of them: of both, these are fewer."""
        count = scores.shape[-1]
        shape = tuple(self.states[0].shape[:2]) if self.states else ()
        if self._layer is None or self._read_last is None or count == max(shape):  # it chooses among tokens
            return
        if numbers[..., 0].numel() != math.prod(shape):
            return
        layer, (name, read) = len(self.ran), self._read_last
        before = [r for r in self.routings if r.layer == layer]
        if all(count >= r.count for r in before):
            self.routings = [r for r in self.routings if r.layer != layer]
            reads = read.detach().reshape(-1, read.shape[-1])[:MOST].float().cpu()
            chosen = numbers.detach().reshape(-1, numbers.shape[-1])[:MOST].cpu()
            self.routings.append(Routing(layer, name, chosen, count, reads, grouped=bool(before)))

    def _outside(self, name: str, module: nn.Linear, _: Any, output: Tensor) -> None:
        if self.ran and self._layer is None:
            self.heads[name] = output.shape

    @contextmanager
    def replaced(self, start: Tensor, follow: Callable[[Tensor], None]) -> Iterator[None]:
        """The model runs with another stream at its start; ``follow`` sees the stream there and after every layer."""
        begun = False

        def begin(module: nn.Module, args: Any, kwargs: Any) -> Any:
            nonlocal begun
            if begun:
                return None
            begun = True
            follow(start)
            old = stream_of((args, kwargs))
            exchange = lambda value: start if value is old else value
            return tuple(map(exchange, args)), {name: exchange(value) for name, value in kwargs.items()}

        def end(module: nn.Module, _: Any, output: Any) -> None:
            found = list(streams_of(output))
            if found:
                follow(self._state(found))

        with hooks() as hook:
            for layer in self.stack.layers.values():
                hook(layer.register_forward_hook(end))
                hook(layer.register_forward_pre_hook(begin, with_kwargs=True))
            yield


def _shape(value: Any) -> object:
    """What to say of a value that should be a stream."""
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
