"""The layers of a recorded pass: their maps of tokens, those of a condition, and those that read another stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from auxin.families.configs import NoFamily
from auxin.families.layers import LayerStack
from auxin.families.preparation import restored
from auxin.probes.modulation import Modulation, opened
from auxin.probes.roles import Site
from auxin.probes.tracing import Tracer
from auxin.probes.wiring import Wiring


@dataclass(frozen=True, eq=False)
class Followed:
    """A replay in which the stream was followed."""

    states: list[Tensor]
    """[T, d] before the first layer and after every layer."""
    terms: list[list[Any]]
    """Branches by layer."""
    reads: list[Tensor]
    shape: tuple[int, int]


def followed(
    model: nn.Module, stack: LayerStack, wiring: Wiring, changes: Mapping[int, Tensor], whole: bool = True
) -> Followed:
    """A replay; ``whole``: whether branches have to account for the stream."""
    tracer = Tracer(model, stack)
    with restored(tracer.restore), tracer.following():
        read = wiring.replay(changes)
    tracer.finish(read[len(wiring.calls) :])
    if (whole and not tracer.closed) or len(tracer.ran) != len(stack.layers):
        raise NoFamily("its branches do not account for the stream, or layers run several times")
    shape = tuple(tracer.states[0].shape[:2])
    states = [s.detach().flatten(0, 1).cpu() for s in tracer.states]
    terms = [[b for b in tracer.branches if b.layer == i] for i in range(len(tracer.ran))]
    return Followed(states, terms, read, (shape[0], shape[1]))


def sites_of(model: nn.Module, stack: LayerStack, wiring: Wiring) -> tuple[list[Site], list[Modulation]]:
    """The layers with their maps of tokens, and what maps of a condition do in them."""
    by_layer: list[list[int]] = [[] for _ in stack.layers]
    for number, call in enumerate(wiring.calls):
        layer, _ = stack.place(call.parameter)
        if layer is not None:
            by_layer[layer].append(number)
    for name in wiring.others:
        if stack.place(name)[0] is not None:
            raise NoFamily(f"{name} is no map of tokens")
    seen = followed(model, stack, wiring, {})
    total, rows = seen.states[0].shape[0], [len(call.inputs) for call in wiring.calls]
    layers = []
    for name, numbers in zip(stack.layers, by_layer, strict=True):
        conditions = [number for number in numbers if rows[number] == min(seen.shape) < total]
        layers.append(([number for number in numbers if number not in conditions], conditions))
        if not layers[-1][0]:
            raise NoFamily(f"no map of {name} ran")
    modulations = opened(wiring, partial(followed, model, stack, wiring, whole=False), layers)
    return list(_with_memory(wiring, [numbers for numbers, _ in layers], seen)), modulations


def _with_memory(wiring: Wiring, layers: Sequence[Sequence[int]], seen: Followed) -> Iterator[Site]:
    """The layers, and which of their maps read another stream: what no layer writes reaches them.

    That holds of those with which the first layer begins, too; there the second one's places are taken.
    """
    total, held = seen.states[0].shape[0], wiring.replay({})
    reads = wiring.replay(noise_everywhere(wiring, layers))
    still = [frozenset(p for p, n in enumerate(numbers) if reads[n].equal(held[n])) for numbers in layers]
    still = [places if len(places) < len(n) else frozenset() for places, n in zip(still, layers, strict=True)]
    alike = len(layers) > 1 and len(layers[0]) == len(layers[1])
    for layer, (numbers, memory) in enumerate(zip(layers, still, strict=True)):
        other = {place for place, number in enumerate(numbers) if len(wiring.calls[number].inputs) != total}
        for place in other - memory:
            raise NoFamily(f"{wiring.calls[numbers[place]].parameter} is no map of all tokens")
        memory = memory if layer else still[1] if alike else frozenset(other)
        yield Site(wiring, tuple(numbers), seen.shape, memory)


def noise_everywhere(wiring: Wiring, layers: Sequence[Sequence[int]]) -> dict[int, Tensor]:
    """Random outputs of all maps of layers, the same in every layer."""
    found: dict[int, Tensor] = {}
    for numbers in layers:
        for place, number in enumerate(numbers):
            generator = torch.Generator().manual_seed(place)
            found[number] = torch.randn(wiring.calls[number].output.shape, generator=generator)
    return found
