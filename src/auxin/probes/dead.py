"""Tensors that were never set, that no gradient reaches, and those that begin at zero by design.

Gradients reach an output map of zeros at the first update, and what stands before it from the second on. So the model
runs with values of its own, zeros that have a gradient are moved against it, and it runs again, until no more are
reached.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call

from auxin.errors import ConfigError
from auxin.families.layers import LISTS, LayerStack, find_layers, pair_of
from auxin.families.matrices import is_zero
from auxin.families.preparation import hooks, prepared
from auxin.probes.findings import Diagnostic
from auxin.probes.inputs import Call, Reading, call_of
from auxin.probes.observe import Observation
from auxin.probes.redraws import library_twin
from auxin.probes.residual import is_norm
from auxin.probes.states import tensors_of
from auxin.probes.weights import Subject, owner

ABSURD = 1e6  # an entry that no scheme draws
FEW = 16  # entries of a matrix that are too few to be called all equal
SHOWN = 3  # names that a note lists
TOKENS = 16
"""Tokens that reach all parameters of most models; where they do not, as many as the caller reads."""
UPDATES = 8  # updates that are tried at most
LIBRARIES = ("torch.", "transformers.", "timm.")  # packages whose classes keep modules for other inputs
STEP = 0.02  # root mean square of what a zero tensor is moved by
LOST = 0.5  # share of the entries of a token that a layer has to change


def bad_entries(model: nn.Module) -> dict[str, int]:
    """How many entries of each parameter and buffer are NaN or infinite; masks, which are buffers, may hold −∞."""
    wrong = {name: p for name, p in model.named_parameters() if not all(map(math.isfinite, _range(p)))}
    counts = {name: int((~p.detach().isfinite()).sum()) for name, p in wrong.items()}
    for name, buffer in model.named_buffers():
        bound = buffer.ndim == 0 and not bool(buffer.isnan())  # a number alone may be one
        if buffer.is_floating_point() and not bound:
            counts[name] = int((buffer.isnan() | (buffer == float("inf"))).sum())
    return {name: count for name, count in counts.items() if count}


def _range(p: Tensor) -> tuple[float, float]:
    """Lowest and highest entry; NaN where one is, 0 of a tensor without entries."""
    lowest, highest = p.detach().aminmax() if p.numel() else torch.zeros(2)
    return float(lowest), float(highest)


def unset_tensors(model: nn.Module, bad: Mapping[str, int]) -> Iterator[Diagnostic]:
    """Parameters and buffers with ``bad_entries`` or absurdly large ones, and maps whose entries are all equal."""
    buffers = dict(model.named_buffers())
    for name, tensor in (*model.named_parameters(), *buffers.items()):
        if name in bad:
            what, why = (f"{name}, a buffer,", "") if name in buffers else (name, ", or overflowed")
            entries = f"{bad[name]:,} of {tensor.numel():,} entries NaN or infinite"
            yield Diagnostic("dead", owner(name), f"{what} has {entries}: never set{why}.")
    for name, p in model.named_parameters():
        if name in bad or not p.numel():  # register tokens, of which there are none
            continue
        lowest, highest = _range(p)
        a_map = p.ndim == 2 and min(p.shape) > 1 and name.endswith("weight")
        if (size := max(-lowest, highest)) > ABSURD:
            sentence = f"{name} has entries of up to {size:.3g}: memory that was never set."
            yield Diagnostic("dead", owner(name), sentence, size)
        elif lowest == highest != 0 and p.numel() >= FEW and a_map:
            sentence = f"{name} is {lowest:g} in every entry: all its outputs are alike."
            yield Diagnostic("dead", owner(name), sentence, lowest)


@dataclass
class Reach:
    """What one model's parameters have to do with its output."""

    updates: dict[str, int] = field(default_factory=dict)
    """The update, from 1, that first moves a parameter, by its name."""
    blocked: set[str] = field(default_factory=set)
    """Parameters whose gradient is zero after all updates that were tried."""
    unused: set[str] = field(default_factory=set)
    """Trainable parameters that the output does not depend on."""
    called: set[str] = field(default_factory=set)
    """Modules that ran."""
    notes: tuple[str, ...] = ()
    """Why it was not measured."""


def reach_of(model: nn.Module, reading: Reading, trainable: set[str]) -> Reach:
    """Run a model forward and back, with gradients of the trainable parameters; of all, where none is.

    Cost: a pass forward and back of 16 tokens, where they reach all; else of all tokens, once for each round of zeros.
    """
    few = replace(reading, batch=1, n_tokens=min(reading.n_tokens, TOKENS))
    if reading.inputs is None and few != reading:
        found = _reach_of(model, few, trainable)
        if not (found.blocked or found.unused or found.notes):
            return found
    return _reach_of(model, reading, trainable)


def _reach_of(model: nn.Module, reading: Reading, trainable: set[str]) -> Reach:
    found = Reach()
    with prepared(model), hooks() as hook:
        call = call_of(model, reading)
        floats = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
        wanted = trainable or floats.keys()
        leaves = {name: p.detach().requires_grad_() for name, p in floats.items() if name in wanted}
        for name, module in model.named_modules():
            hook(module.register_forward_hook(lambda *_, name=name: found.called.add(name)))
        try:
            _updates(model, call, leaves, found)
        except Exception as error:  # of the user's code, or of torch where a tensor cannot be exchanged
            reason = " ".join(str(error).split())[:120]
            return Reach(notes=(f"gradients of parameters were not measured: {reason}",))
    found.unused = trainable - found.updates.keys() - found.blocked
    return found


def _updates(model: nn.Module, call: Call, leaves: dict[str, Tensor], found: Reach) -> None:
    zero = {name for name, leaf in leaves.items() if is_zero(leaf)}
    for number in range(1, UPDATES + 1):
        reached = _gradients(model, call, leaves, zero)
        found.updates |= {n: number for n, g in reached.items() if g is not False and n not in found.updates}
        found.blocked = reached.keys() - found.updates.keys()
        moving = {name: g for name, g in reached.items() if isinstance(g, Tensor)}
        if not found.blocked or not moving:
            return
        for name, gradient in moving.items():
            size = gradient.float().square().mean().sqrt().clamp_min(1e-30)
            leaves[name] = (leaves[name].detach() - (STEP * gradient / size).to(gradient)).requires_grad_()
        zero -= moving.keys()


def _gradients(
    model: nn.Module, call: Call, leaves: Mapping[str, Tensor], keep: set[str]
) -> dict[str, Tensor | bool]:
    """The gradient of a random combination of the outputs: whether it is not zero; of tensors in ``keep`` itself."""
    reached: dict[str, Tensor | bool] = {}

    def note(name: str, gradients: tuple[Tensor, ...]) -> tuple[None]:
        (gradient,) = gradients
        if not is_zero(gradient):
            reached[name] = gradient if name in keep else True
        reached.setdefault(name, False)
        return (None,)  # nothing keeps it: one at a time is held

    with hooks() as hook:
        # the ends are kept: hooks of one that is dropped are not called
        ends = {name: get_gradient_edge(leaf).node for name, leaf in leaves.items()}
        for name, end in ends.items():
            hook(end.register_prehook(partial(note, name)))
        functional_call(_Pass(model), {f"model.{name}": leaf for name, leaf in leaves.items()}, (call,))
    return reached


class _Pass(nn.Module):
    """Forward and back in one call, so that what is computed again on the way back sees the same parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, call: Call) -> None:
        """Adds up a random combination of the outputs and differentiates it."""
        args = tuple(a.detach() if isinstance(a, Tensor) else a for a in call.args)
        kwargs = {n: a.detach() if isinstance(a, Tensor) else a for n, a in call.kwargs.items()}
        generator = torch.Generator().manual_seed(0)
        total = sum(
            (y.float() * torch.randn(y.shape, generator=generator).to(y.device)).sum()
            for y in tensors_of(self.model(*args, **kwargs))
            if y.is_floating_point() and y.requires_grad
        )
        if isinstance(total, Tensor):
            total.backward()


def unreached(reach: Reach, stack: LayerStack, ran: Sequence[str]) -> Iterator[Diagnostic]:
    """Modules that run and whose weights no gradient reaches; in layers that ran, also those that are never used.

    Of numbered siblings (experts) one has to be reached, of a module's tensors too: those of keys' biases are zero.
    """
    layers = list(stack.layers)
    alive: set[tuple[int | None, str]] = set()
    lifeless: dict[tuple[int | None, str], str] = {}
    for name in (*reach.updates, *sorted(reach.blocked | reach.unused)):
        layer, part = stack.place(owner(name))
        groups = [(layer, re.sub(r"\d+", "#", part))]  # of what runs, ln_2 has a gradient where ln_1 has one
        if layer is not None:
            groups.append((layer, _numbered(stack.layers[layers[layer]], part)))
        if name in reach.updates:
            alive.update(groups)
        elif name in reach.blocked or (layer is not None and layers[layer] in ran):
            lifeless.setdefault(groups[0] if owner(name) in reach.called else groups[-1], name)
    for (layer, part), name in lifeless.items():
        if (layer, part) not in alive:
            module = owner(name)
            what = "is never used" if module not in reach.called and name not in reach.blocked else "runs"
            sentence = f"{module} {what}: no gradient reaches its weights, now or after the first updates."
            yield Diagnostic("dead", module, sentence, layer=layer, part=part)


def _numbered(layer: nn.Module, part: str) -> str:
    """A part's name without the numbers of siblings of one class and size, which are experts."""
    steps = part.split(".")
    named = list(steps)
    for i, step in enumerate(steps):
        if step.isdigit():
            siblings = layer.get_submodule(".".join(steps[:i])).children()
            sizes = {(type(m), sum(p.numel() for p in m.parameters())) for m in siblings}
            named[i] = "#" if len(sizes) == 1 else step
    return ".".join(named)


def rounded_away(subject: Subject, seen: Observation, reach: Reach) -> Iterator[Diagnostic]:
    """Layers that add less than half a unit in the last place to most entries of every token, x + f(x) = x."""
    place, names = subject.stack.place, list(subject.stack.layers)
    late = {place(name)[0] for name, update in reach.updates.items() if update > 1}
    whole = {place(name)[0] for name in reach.updates} - late
    for name, changed in zip(seen.layers, seen.changed, strict=True):
        layer = names.index(name)
        if changed < LOST and layer in whole:
            sentence = (
                f"{name} leaves {1 - changed:.0%} of the stream's entries as they are: what it adds is too small for "
                f"the resolution of {seen.dtype}, and is rounded away."
            )
            yield Diagnostic("dead", name, sentence, layer=layer, part="rounded")


def unreached_by_class(found: Sequence[Diagnostic], subject: Subject, reading: Reading) -> set[str]:
    """Of modules that are not reached, those that are not in a fresh model of a library's class either."""
    fresh = library_twin(subject.model) if found else None
    if fresh is None:
        return set()
    names = list(subject.stack.layers)
    try:
        stack = find_layers(fresh, names)
        reach = reach_of(fresh, replace(reading, layers=stack), subject.trainable)
    except ConfigError:  # its layers have other names
        return set()
    parts = {finding.part for finding in unreached(reach, stack, names)}
    return {finding.module for finding in found if finding.part in parts}


def unused_outside(reach: Reach, subject: Subject) -> tuple[list[Diagnostic], list[str]]:
    """Modules outside the layers, in one's own code that ran, that are never used: norms; else a note."""
    modules = dict(subject.model.named_modules())
    layers = [f"{layer}." for stack in (subject.stack, *pair_of(subject.model)) for layer in stack.layers]
    idle: list[str] = []
    for module in dict.fromkeys(owner(name) for name in sorted(reach.unused)):
        parent = module.rpartition(".")[0]
        while isinstance(modules[parent], (*LISTS, nn.ModuleDict)) and parent not in reach.called and parent:
            parent = parent.rpartition(".")[0]
        own = not type(modules[parent]).__module__.startswith(LIBRARIES)
        outside = module in modules and not module.startswith(tuple(layers))
        if outside and own and module not in reach.called and parent in reach.called:
            idle.append(module)
    why = "is never used: it is outside the layers, and no gradient reaches its weights."
    if all(is_norm(modules[name]) for name in idle):
        return [Diagnostic("dead", name, f"{name} {why}", part=name) for name in idle], []
    return [], [f"{', '.join(idle[:SHOWN])}: never used on such inputs"]


def zero_by_design(subject: Subject, reach: Reach, named: Container[str], *, identity: bool) -> Iterator[str]:
    """A note on what begins at zero on purpose, and what the first update does then; none where nothing is held back.

    ``named``: modules with a finding already. ``identity``: the layers change nothing.
    """
    late = sum(update > 1 for update in reach.updates.values())
    place = subject.stack.place
    blocked = not any(update == 1 and place(name)[0] is not None for name, update in reach.updates.items())
    parts: Counter[str] = Counter()
    outside: list[str] = []
    for name in _zeros(subject.model) if late else ():
        parameters = [n for n, _ in subject.model.named_parameters() if name in (n, owner(n))]
        if name in named or owner(name) in named or not any(p in reach.updates for p in parameters):
            continue
        layer, part = place(name)
        if layer is not None:
            parts[part] += 1
        elif blocked:  # a head of zeros; position tables of zeros hold nothing back
            outside.append(name)
    depth = len(subject.stack.layers)
    zero = [*(f"{part} ({count} of {depth} layers)" for part, count in parts.items()), *outside]
    if zero:
        names = ", ".join(zero[:SHOWN]) + (f" and {len(zero) - SHOWN} more" if len(zero) > SHOWN else "")
        network = "branches begin at zero: the network is the identity at initialization; " * identity
        total, last = len(reach.updates), max(reach.updates.values())
        yield (
            f"{network}zero by design: {names}; the first update moves {total - late} of {total} tensors, gradients "
            f"reach all of them from update {last} on"
        )


def _zeros(model: nn.Module) -> Iterator[str]:
    """Modules whose own parameters are all zero; of others, single ones that are zero and no bias."""
    for name, module in model.named_modules():
        direct = dict(module.named_parameters(recurse=False))
        zero = [n for n, p in direct.items() if is_zero(p)]
        if direct and len(zero) == len(direct) and next(module.children(), None) is None:
            yield name
        else:
            yield from (f"{name}.{n}".removeprefix(".") for n in zero if "bias" not in n)
