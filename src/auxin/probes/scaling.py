"""What a model is like at one width and depth: signals at initialization, and what first updates change."""

from __future__ import annotations

import contextlib
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.description import describe
from auxin.families.layers import LayerStack, find_layers, unwrapped
from auxin.families.preparation import as_config_error, hooks, prepared
from auxin.probes.attention import SoftmaxWatch
from auxin.probes.inputs import Call, Reading, call_of
from auxin.probes.observe import observe, run
from auxin.probes.prediction import Tokens, predict
from auxin.probes.readout import LOGITS
from auxin.probes.states import stream_of, tensors_of
from auxin.values import check

LEAST = 1e-7
"""Relative change of the output below which an update has no effect: its gradient was 0."""
VECTORS = "gains and biases"
DRAWS = 16
"""Attention matrices a layer of a prediction."""


@dataclass(frozen=True)
class Snapshot:
    """What is compared before and after updates."""

    stream: Tensor
    """After the last layer."""
    logits: Tensor | None
    heads: float
    """Attention matrices of a sequence; 0 without."""


def measured(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    reading: Reading,
    loss: Callable[[Any], Tensor] | None,
    steps: int,
) -> dict[str, tuple[str, float]]:
    """Sizes at initialization and effects of the updates of the first steps: by quantity its kind and its value.

    ``branch …`` is √(Σ‖b‖²/‖x₀‖²) over layers of what a kind of branch adds, ``stream`` the root mean square after the
    last layer, ``logits`` theirs, ``attention logits`` their spread. ``update …`` is the change of the stream after the
    last layer (root mean square, relative to it) where the total update of one group of parameters is applied to the
    initial model; of groups after the layers, the change of the logits. A group without any effect is left out.
    """
    model = unwrapped(model).eval()
    stack = find_layers(model, reading.layers)
    found = dict(_initial(model, reading))
    call = call_of(model, reading, torch.Generator().manual_seed(reading.seed))
    view = _View(model, stack, call)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    start = view.output()
    if start.heads:
        found["heads"] = "heads", start.heads
    if start.logits is not None:
        found["logits"] = "logits", _size(start.logits)
    _train(model, optimizer, call, loss, steps, reading.seed)
    parameters = dict(model.named_parameters())
    tables = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Embedding)}
    after = {name: p.detach().clone() for name, p in parameters.items()}
    for name, p in parameters.items():
        p.data.copy_(before[name])
    for group, names in groups(parameters, stack).items():
        for name in names:
            parameters[name].data.copy_(after[name])
        end = view.output()
        changed = _size(end.stream - start.stream) / max(_size(start.stream), 1e-30)
        kind = "inputs" if group == VECTORS or set(names) & tables else "hidden"
        if changed <= LEAST and start.logits is not None and end.logits is not None:
            kind, changed = "readout", _size(end.logits - start.logits)
        if changed > LEAST:
            found[f"update of {group}"] = kind, changed
        for name in names:
            parameters[name].data.copy_(before[name])
    return {name: (kind, value) for name, (kind, value) in found.items() if value > 0}


def groups(parameters: Mapping[str, nn.Parameter], stack: LayerStack) -> dict[str, list[str]]:
    """Names of parameters by what they are in every layer: matrices by their name, all else together."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, p in parameters.items():
        layer, inner = stack.place(name)
        inner = re.sub(r"\d+", "*", inner) if layer is not None else inner
        found[inner if p.ndim >= 2 else VECTORS].append(name)
    return found


def _initial(model: nn.Module, reading: Reading) -> Iterator[tuple[str, tuple[str, float]]]:
    seen = observe(model, reading)
    yield "stream", ("stream", math.sqrt(seen.norm[-1]))
    tokens = Tokens.observed(seen)
    with contextlib.suppress(ConfigError):  # of no family that is known
        recipe = describe(model).recipe
        if tokens is not None and seen.closed:
            predicted = predict(recipe.drawn, tokens, DRAWS).norm[-1]
            yield "stream, by theory", ("theory", math.sqrt(predicted))
    added: dict[str, float] = defaultdict(float)
    for branch in seen.branches:
        added[branch.kind] += branch.norm / branch.skip**2 if branch.skip else math.nan
    for kind, square in added.items():
        yield f"branch {kind}", ("branch", math.sqrt(square / seen.norm[0]))
    spreads = [branch.spread for branch in seen.branches if branch.kind == "attention" and branch.spread]
    if spreads:
        yield "attention logits", ("attention", math.sqrt(sum(s**2 for s in spreads) / len(spreads)))


def _train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    call: Call,
    loss: Callable[[Any], Tensor] | None,
    steps: int,
    seed: int,
) -> None:
    loss = loss or _Random(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        with as_config_error(
            f"{type(model).__name__} does not train on {call.described}", "a loss of its output"
        ):
            value = loss(run(model, call))
            value.backward()
        check(bool(value.isfinite()), "loss", value.item(), "a finite number, at a rate that trains")
        optimizer.step()


class _Random:
    """Cross-entropy of random words, always the same; of an output without words the product with a random one."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, output: Any) -> Tensor:
        generator, logits = torch.Generator().manual_seed(self._seed), logits_of(output)
        if logits is None:
            x = next(tensors_of(output))
            return (x * torch.randn((*x.shape[:-1], 1), generator=generator).to(x)).mean()
        words = torch.randint(logits.shape[-1], logits.shape[:-1], generator=generator).to(logits.device)
        return nn.functional.cross_entropy(logits.flatten(0, -2).float(), words.flatten())


def logits_of(output: Any) -> Tensor | None:
    """What a model calls its logits, or the tensor that is all it returns; None of a dataclass without."""
    if isinstance(output, Tensor):
        return output
    get = output.get if isinstance(output, Mapping) else lambda name: getattr(output, name, None)
    named = [x for x in map(get, LOGITS) if isinstance(x, Tensor)]
    plain = [x for x in tensors_of(output) if x.is_floating_point()] if isinstance(output, tuple) else []
    return next(iter([*named, *plain]), None)


class _View:
    """Runs a model and keeps what is compared."""

    def __init__(self, model: nn.Module, stack: LayerStack, call: Call) -> None:
        self._model, self._call = model, call
        self._layers = list(stack.layers.values())
        check(stack.called, f"layers of {type(model).__name__}", "lists of parts", "modules with a forward")

    def output(self) -> Snapshot:
        """Of the present weights."""
        shapes: list[torch.Size] = []
        states: list[Tensor] = []

        def begin(_: nn.Module, args: Any, kwargs: Any) -> None:
            x = stream_of((args, kwargs))
            if x is not None and not x.requires_grad:
                x.requires_grad_()  # by which attention is told from routers

        with (
            prepared(self._model),
            self._keeping(begin, states),
            SoftmaxWatch(
                self._model, lambda logits, _, cross: None if cross else shapes.append(logits.shape)
            ),
        ):
            output = run(self._model, self._call)
        logits = logits_of(output)
        tokens = states[-1].numel() / states[-1].shape[-1]
        heads = math.prod(shapes[0][:-1]) / tokens if shapes else 0.0
        return Snapshot(states[-1], None if logits is None else logits.detach().double(), heads)

    @contextmanager
    def _keeping(self, begin: Callable[..., None], states: list[Tensor]) -> Iterator[None]:
        def end(_: nn.Module, __: Any, output: Any) -> None:
            x = stream_of(output)
            if x is None:
                raise ConfigError(
                    f"layers of {type(self._model).__name__} return no stream; allowed: layers that do"
                )
            states.append(x.detach().double())

        with hooks() as hook:
            hook(self._layers[0].register_forward_pre_hook(begin, with_kwargs=True))
            for layer in self._layers:
                hook(layer.register_forward_hook(end))
            yield


def _size(x: Tensor) -> float:
    """Root mean square."""
    return x.square().mean().sqrt().item()
