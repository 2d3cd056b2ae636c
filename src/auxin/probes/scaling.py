"""What a model is like at one width and depth: signals at initialization, and what first updates change."""

from __future__ import annotations

import contextlib
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.description import describe
from auxin.families.layers import LayerStack, find_layers, unwrapped
from auxin.families.preparation import as_config_error, prepared
from auxin.probes.attention import SoftmaxWatch
from auxin.probes.inputs import Call, Reading, call_of
from auxin.probes.observe import observe, run
from auxin.probes.prediction import Tokens, predict
from auxin.probes.states import following, named_logits, tensors_of
from auxin.values import check

LEAST = 1e-7  # relative change of the output below which an update has no effect: its gradient was 0
VECTORS = "gains and biases"
DRAWS = 16  # attention matrices a layer of a prediction
Loss = Callable[[Any], Tensor]


def measured(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    reading: Reading,
    loss: Loss | None,
    steps: int,
) -> dict[str, tuple[str, float]]:
    """Sizes at initialization and effects of the updates of the first steps: by quantity its kind and its value.

    ``branch …`` is √(Σ‖b‖²/‖x₀‖²) over layers of what a kind of branch adds, ``stream`` the root mean square after the
    last layer, ``attention logits`` their spread. ``update …`` is the relative change of the stream after the last
    layer where the updates of one group of parameters are applied to the initial model; of groups after the layers, the
    change of the logits. A group without any effect is left out.
    """
    model = unwrapped(model).eval()
    stack = find_layers(model, reading.layers)
    found = dict(_initial(model, reading))
    call = call_of(model, reading)
    check(stack.called, f"layers of {type(model).__name__}", "lists of parts", "modules with a forward")
    parameters = dict(model.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    stream, logits, heads = _outputs(model, stack, call)
    if heads:
        found["heads"] = "heads", heads
    if logits is not None:
        found["logits"] = "logits", _size(logits)
    _train(model, optimizer, call, loss or partial(_random_loss, reading.seed), steps)
    tables = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Embedding)}
    after = {name: p.detach().clone() for name, p in parameters.items()}
    for name, p in parameters.items():
        p.data.copy_(before[name])
    for group, names in groups(parameters, stack).items():
        for name in names:
            parameters[name].data.copy_(after[name])
        last, end, _ = _outputs(model, stack, call)
        changed = _size(last - stream) / max(_size(stream), 1e-30)
        kind = "inputs" if group == VECTORS or set(names) & tables else "hidden"
        if changed <= LEAST and logits is not None and end is not None:
            kind, changed = "readout", _size(end - logits)
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


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, call: Call, loss: Loss, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        what = f"{type(model).__name__} does not train on {call.described}"
        with as_config_error(what, "a loss of its output"):
            value = loss(run(model, call))
            value.backward()
        check(bool(value.isfinite()), "loss", value.item(), "a finite number, at a rate that trains")
        optimizer.step()


def _random_loss(seed: int, output: Any) -> Tensor:
    """Cross-entropy of random words, always the same; of an output without words the product with a random one."""
    generator, logits = torch.Generator().manual_seed(seed), _logits(output)
    if logits is None:
        x = next(tensors_of(output))
        return (x * torch.randn((*x.shape[:-1], 1), generator=generator).to(x)).mean()
    words = torch.randint(logits.shape[-1], logits.shape[:-1], generator=generator).to(logits.device)
    return nn.functional.cross_entropy(logits.flatten(0, -2).float(), words.flatten())


def _logits(output: Any) -> Tensor | None:
    """What a model calls its logits, or the tensor that is all it returns; None of a dataclass without."""
    named = output if isinstance(output, Tensor) else named_logits(output)
    plain = tensors_of(output if isinstance(output, tuple) else ())
    return next((x for x in plain if x.is_floating_point()), None) if named is None else named


def _outputs(model: nn.Module, stack: LayerStack, call: Call) -> tuple[Tensor, Tensor | None, float]:
    """The stream after the last layer, the logits, and the attention matrices of a sequence (0 without)."""
    shapes: list[torch.Size] = []
    look = lambda logits, _, cross: None if cross else shapes.append(logits.shape)
    with (
        prepared(model),
        following(stack.layers.values(), wake=True) as states,
        SoftmaxWatch(model, look),
    ):
        logits = _logits(run(model, call))
    if len(states) <= len(stack.layers):
        raise ConfigError(f"layers of {type(model).__name__} return no stream; allowed: layers that do")
    stream = states[-1].detach().double()
    tokens = stream.numel() / stream.shape[-1]
    heads = math.prod(shapes[0][:-1]) / tokens if shapes else 0.0
    return stream, None if logits is None else logits.detach().double(), heads


def _size(x: Tensor) -> float:
    """Root mean square."""
    return x.square().mean().sqrt().item()
