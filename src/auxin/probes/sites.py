"""The layers of a recorded pass: their maps of tokens, of a condition, and those that read another stream.

Maps of a condition (a time, a label) scale and shift what branches read, and gate them, as DiT's adaLN does (Peebles,
Xie 2022). Replays in which they give random numbers show which output is a factor, a shift or a gate, and where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from auxin.families.configs import NoFamily
from auxin.probes.roles import Site
from auxin.probes.wiring import Replay, Wiring

EXACT = 1e-3  # difference up to which two numbers of a replay are one
Numbers = Sequence[Sequence[int]]
"""Of the maps in the pass, by layer."""


def sites_of(wiring: Wiring) -> list[Site]:
    """The layers with their maps of tokens, and what maps of a condition do in them."""
    place = wiring.stack.place
    by_layer: list[list[int]] = [[] for _ in wiring.stack.layers]
    for number, call in enumerate(wiring.calls):
        layer, _ = place(call.parameter)
        if layer is not None:
            by_layer[layer].append(number)
    for name in wiring.others:
        if place(name)[0] is not None:
            raise NoFamily(f"{name} is no map of tokens")
    seen = wiring.follow({})
    total, rows = seen.states[0].shape[0], [len(call.inputs) for call in wiring.calls]
    conditions = [[n for n in numbers if rows[n] == min(seen.shape) < total] for numbers in by_layer]
    layers = [[n for n in numbers if n not in of] for numbers, of in zip(by_layer, conditions, strict=True)]
    for name, numbers in zip(wiring.stack.layers, layers, strict=True):
        if not numbers:
            raise NoFamily(f"no map of {name} ran")
    sites = [Site(wiring, tuple(numbers), seen.shape) for numbers in layers]
    if any(conditions):
        sites = _modulated(sites, conditions)
    return list(_with_memory(sites, seen))


def _with_memory(sites: Sequence[Site], seen: Replay) -> Iterator[Site]:
    """With those of the maps that read another stream: what no layer writes reaches them."""
    wiring, layers = sites[0].wiring, [site.calls for site in sites]
    total, held = seen.states[0].shape[0], wiring.replay({})
    reads = wiring.replay(noise_everywhere(sites))
    still = [frozenset(p for p, n in enumerate(numbers) if reads[n].equal(held[n])) for numbers in layers]
    still = [places if len(places) < len(n) else frozenset() for places, n in zip(still, layers, strict=True)]
    alike = len(layers) > 1 and len(layers[0]) == len(layers[1])
    for layer, (site, memory) in enumerate(zip(sites, still, strict=True)):
        other = {
            place for place, number in enumerate(site.calls) if len(wiring.calls[number].inputs) != total
        }
        for place in other - memory:
            raise NoFamily(f"{site.name(place)} is no map of all tokens")
        memory = memory if layer else still[1] if alike else frozenset(other)
        yield replace(site, memory=memory)


def noise_everywhere(sites: Sequence[Site]) -> dict[int, Tensor]:
    """Random outputs of all maps of layers, the same in every layer."""
    found: dict[int, Tensor] = {}
    for site in sites:
        for place, number in enumerate(site.calls):
            generator = torch.Generator().manual_seed(place)
            found[number] = torch.randn(site.maps[place].output.shape, generator=generator)
    return found


def _modulated(sites: Sequence[Site], conditions: Numbers) -> list[Site]:
    """With the factors and gates of maps of a condition; from then on replays are as of a network without one."""
    wiring = sites[0].wiring
    shapes = {n: call.output.shape for n, call in enumerate(wiring.calls)}
    numbers = [number for of in conditions for number in of]
    generator = torch.Generator().manual_seed(4)
    rows = {number: torch.randn(shapes[number][1], generator=generator) for number in numbers}
    still = {n: torch.zeros(shapes[n]) for n in (*(n for site in sites for n in site.calls), *numbers)}
    moved = {number: rows[number].expand(shapes[number]) for number in numbers}
    before, after = (wiring.follow(still | given, whole=False) for given in ({}, moved))
    written: dict[int, tuple[Tensor, Tensor]] = {}
    for place in range(max(len(site.calls) for site in sites)):
        chosen = {
            site.calls[place]: torch.randn(shapes[site.calls[place]], generator=generator)
            for site in sites
            if place < len(site.calls)
        }
        pair = [wiring.follow(still | chosen | given, whole=False).states for given in ({}, moved)]
        for layer, site in enumerate(sites):
            if place < len(site.calls):
                number = site.calls[place]
                ends = (states[layer : layer + 2] for states in pair)
                base, gate = (_gate(chosen[number], start, end, wiring, number) for start, end in ends)
                if bool(gate.any()):
                    written[number] = base, gate
    found = []
    for site, own in zip(sites, conditions, strict=True):
        names = ", ".join(wiring.calls[number].parameter for number in own)
        values = torch.cat([rows[number] for number in own]) if own else torch.empty(0)
        actual = torch.cat([wiring.calls[number].output for number in own], 1) if own else torch.empty(1, 0)
        held, factors, gates = torch.zeros(len(values)), {}, {}
        for number in site.calls:
            slope, shift = _line(before.reads[number], after.reads[number], wiring, number)
            moving = _columns(shift, values, names)
            if moving is not None and bool(actual[:, moving].abs().max() > EXACT):
                raise NoFamily(f"{names} shifts what {wiring.calls[number].parameter} reads")
            if (scaling := _columns(slope - 1, values, names)) is not None:
                factors[number] = _size(1 + actual[:, scaling])
            if number in written:
                base, gate = written[number]
                if (gating := _columns(gate - base, values, names)) is not None:
                    held[gating] = 1 - base
                    gates[number] = _size(base + actual[:, gating])
        for number, row in zip(own, held.split([shapes[number][1] for number in own]), strict=True):
            wiring.held[number] = row.expand(shapes[number])
        found.append(replace(site, factors=factors, gates=gates))
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
        name = wiring.calls[number].parameter
        raise NoFamily(f"a condition changes what {name} reads, by no factor and shift")
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
