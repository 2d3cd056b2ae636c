"""Maps of a condition (a time, a label), found by experiment: they scale and shift what branches read, and gate them.

DiT's adaLN is such (Peebles, Xie 2022). Replays in which the condition's maps give random numbers show which of their
outputs is a factor, a shift or a gate, and of which dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from auxin.families.configs import NoFamily
from auxin.probes.wiring import Wiring

EXACT = 1e-3
"""Difference up to which two numbers of a replay are one."""


class Replayed(Protocol):
    """What is known of a replay in which the stream was followed."""

    @property
    def states(self) -> Sequence[Tensor]:
        """[T, d] before the first layer and after every layer."""
        ...

    @property
    def reads(self) -> Sequence[Tensor]:
        """What the maps read, by number."""
        ...


@dataclass(frozen=True)
class Modulation:
    """What a condition does in a layer, by the number of a map in the pass."""

    factors: Mapping[int, float]
    """Root mean square of the factors on what a map reads."""
    gates: Mapping[int, float]
    """The same of the factors on what a map writes to the stream."""


def opened(
    wiring: Wiring,
    follow: Callable[[Mapping[int, Tensor]], Replayed],
    layers: Sequence[tuple[list[int], list[int]]],
) -> list[Modulation]:
    """The modulations of layers of (maps of tokens, maps of a condition).

    From then on replays are with gates of 1 and without factors and shifts, as of a network without a condition.
    Raises ``NoFamily``, naming the map that is not covered.
    """
    conditions = [number for _, numbers in layers for number in numbers]
    if not conditions:
        return [Modulation({}, {}) for _ in layers]
    shapes = {
        number: wiring.calls[number].output.shape for of in layers for numbers in of for number in numbers
    }
    generator = torch.Generator().manual_seed(4)
    rows = {number: torch.randn(shapes[number][1], generator=generator) for number in conditions}
    still = {number: torch.zeros(shape) for number, shape in shapes.items()}
    moved = {number: rows[number].expand(shapes[number]) for number in conditions}
    before, after = follow(still), follow(still | moved)
    written: dict[int, tuple[Tensor, Tensor]] = {}
    for place in range(max(len(numbers) for numbers, _ in layers)):
        chosen = {
            numbers[place]: torch.randn(shapes[numbers[place]], generator=generator)
            for numbers, _ in layers
            if place < len(numbers)
        }
        pair = [follow(still | chosen | given).states for given in ({}, moved)]
        for layer, (numbers, _) in enumerate(layers):
            if place < len(numbers):
                number = numbers[place]
                base, gate = (
                    _gate(chosen[number], states[layer], states[layer + 1], wiring, number) for states in pair
                )
                if bool(gate.any()):
                    written[number] = base, gate
    found = []
    for numbers, own in layers:
        names = ", ".join(wiring.calls[number].parameter for number in own)
        values = torch.cat([rows[number] for number in own]) if own else torch.empty(0)
        actual = torch.cat([wiring.calls[number].output for number in own], 1) if own else torch.empty(1, 0)
        held, factors, gates = torch.zeros(len(values)), {}, {}
        for number in numbers:
            slope, shift = _line(before.reads[number], after.reads[number], wiring, number)
            if (moving := _columns(shift, values, names)) is not None and bool(
                actual[:, moving].abs().max() > EXACT
            ):
                raise NoFamily(f"{names} shifts what {wiring.calls[number].parameter} reads")
            if (scaling := _columns(slope - 1, values, names)) is not None:
                factors[number] = _size(1 + actual[:, scaling])
            if number in written:
                base, gate = written[number]
                gating = _columns(gate - base, values, names)
                if gating is not None:
                    held[gating] = 1 - base
                    gates[number] = _size(base + actual[:, gating])
        for number, row in zip(own, held.split([shapes[number][1] for number in own]), strict=True):
            wiring.held[number] = row.expand(shapes[number])
        found.append(Modulation(factors, gates))
    return found


def _size(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _line(before: Tensor, after: Tensor, wiring: Wiring, number: int) -> tuple[Tensor, Tensor]:
    """Factor and shift by column, [d], of what a map reads; 1 and 0 of what does not vary over tokens."""
    x, y = before - before.mean(0), after - after.mean(0)
    size = x.square().sum(0)
    varied = size > EXACT**2 * size.max().clamp_min(1e-30)
    slope = torch.where(varied, (x * y).sum(0) / size.clamp_min(1e-30), 1.0)
    shift = torch.where(varied, after.mean(0) - slope * before.mean(0), 0.0)
    if bool(((slope * before + shift - after)[:, varied].abs() > EXACT * after.abs().max()).any()):
        raise NoFamily(
            f"a condition changes what {wiring.calls[number].parameter} reads, by no factor and shift"
        )
    return slope, shift


def _gate(given: Tensor, start: Tensor, end: Tensor, wiring: Wiring, number: int) -> Tensor:
    """Factor by column on what a map writes, [d]; zeros of one that does not write to the stream."""
    added = end - start
    if given.shape != added.shape or not bool(added.abs().max() > EXACT * start.abs().max()):
        return torch.zeros(added.shape[1])
    gate = (added * given).sum(0) / given.square().sum(0)
    if (gate * given - added).abs().max() > EXACT * added.abs().max():
        raise NoFamily(f"a condition changes what {wiring.calls[number].parameter} writes, by no gate")
    return gate


def _columns(found: Tensor, values: Tensor, names: str) -> Tensor | None:
    """Which of the values these numbers are; None where they are zero."""
    if not bool(found.abs().max() > EXACT):
        return None
    distance, index = (found[:, None] - values).abs().min(1)
    if bool((distance > EXACT * (1 + found.abs())).any()):
        raise NoFamily(f"what {names} does to branches is no factor, shift or gate")
    return index
