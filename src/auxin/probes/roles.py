"""What the maps of a layer are for, found by experiment: which of them feed which, over which tokens, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auxin.architecture import MLP, Attention
from auxin.architecture.cross import CROSS
from auxin.families.configs import NoFamily
from auxin.families.description import ACTIVATIONS
from auxin.probes.heads import Heads, RoleColumns
from auxin.probes.wiring import MapCall, Wiring

EXACT = 1e-4
"""Relative error of single precision between two forms of one function; GELU's forms differ by more (SAME)."""
SAME = 2e-3
FUNCTIONS = ACTIVATIONS | {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "erf": torch.erf,
    "linear": lambda x: x,
}
GATES = {
    "gate first": lambda x: x.chunk(2, -1),
    "up first": lambda x: x.chunk(2, -1)[::-1],
    "gate and up in turn": lambda x: (x[..., ::2], x[..., 1::2]),
    "up and gate in turn": lambda x: (x[..., 1::2], x[..., ::2]),
}
"""How the gate and what it multiplies stand in a joint map."""


@dataclass(frozen=True, eq=False)
class Part:
    """A branch of a layer: its maps by role, and what it computes."""

    writer: int
    """Place, among the maps of the layer, of the one that writes to the stream."""
    readers: tuple[int, ...]
    """Places of those that read from it, then of those that read another stream."""
    roles: Mapping[str, RoleColumns]
    body: Attention | MLP
    causal: bool | None = None
    heads: tuple[int, int] = (0, 0)
    """Of queries, and of keys."""


@dataclass(frozen=True, eq=False)
class Site:
    """A layer of a recorded pass, in which experiments are made."""

    wiring: Wiring
    calls: tuple[int, ...]
    """Numbers of its maps in the pass."""
    shape: tuple[int, ...]
    """Of the stream without its width."""
    memory: frozenset[int] = frozenset()
    """Places of the maps that read another stream."""
    factors: Mapping[int, float] = field(default_factory=dict)
    """Root mean square of a condition's factors on what a map reads, by the map's number in the pass."""
    gates: Mapping[int, float] = field(default_factory=dict)
    """The same of the factors on what a map writes to the stream."""

    @property
    def maps(self) -> list[MapCall]:
        """Its maps."""
        return [self.wiring.calls[i] for i in self.calls]

    def name(self, place: int) -> str:
        """The parameter of a map."""
        return self.maps[place].parameter

    def noise(self, place: int) -> Tensor:
        """A random output of the map, of the size of its own."""
        output = self.maps[place].output
        generator = torch.Generator().manual_seed(place)
        size = output.square().mean().sqrt()
        return torch.randn(output.shape, generator=generator) * (size if size > 0 else 1.0)

    def read(self, changes: Mapping[int, Tensor], place: int) -> Tensor:
        """What a map reads where other maps of the layer give other outputs."""
        given = {self.calls[p]: output for p, output in changes.items()}
        return self.wiring.replay(given, self.calls[place])[self.calls[place]]

    def parts(self) -> list[Part]:
        """The branches in the order in which they are written; raises ``NoFamily`` naming what is not covered."""
        known = self.wiring.replay({})
        feeds: list[set[int]] = []
        writers = []
        for place, call in enumerate(self.calls):
            found = self.wiring.replay({call: self.noise(place)})
            changed = {i for i, (x, y) in enumerate(zip(found, known, strict=True)) if not torch.equal(x, y)}
            feeds.append({p for p, other in enumerate(self.calls) if other in changed})
            if any(i > self.calls[-1] for i in changed):
                writers.append(place)
        readers: dict[int, list[int]] = {writer: [] for writer in writers}
        for place, fed in enumerate(feeds):
            if place in readers:
                continue
            if len(fed) != 1 or not fed <= set(writers):
                others = ", ".join(self.name(p) for p in sorted(fed)) or "nothing"
                raise NoFamily(f"{self.name(place)} feeds {others}, and not one output map")
            readers[fed.pop()].append(place)
        return [self._part(writer, tuple(places)) for writer, places in readers.items()]

    def _part(self, writer: int, readers: tuple[int, ...]) -> Part:
        own = tuple(place for place in readers if place not in self.memory)
        other = tuple(place for place in readers if place in self.memory)
        if not readers:
            raise NoFamily(f"{self.name(writer)} is a branch of one map")
        if not own:
            raise NoFamily(f"{self.name(other[0])} does not read the stream")
        for group in (own, other):
            inputs = [self.maps[place].inputs for place in group]
            if any(x.shape != inputs[0].shape or not torch.allclose(x, inputs[0]) for x in inputs):
                raise NoFamily(f"{self.name(group[-1])} reads something else than {self.name(group[0])}")
        if other or len(self._rows(writer, readers)) > 1:
            return self._attention(writer, (*own, *other), other)
        return self._mlp(writer, readers)

    def _rows(self, writer: int, readers: tuple[int, ...], columns: Tensor | None = None) -> set[int]:
        """Rows of what the writer reads that depend on the first row of the readers' outputs, or of columns of one."""
        given = {place: self.noise(place) for place in range(len(self.calls)) if place != writer}
        before = self.read(given, writer)
        for place in readers:
            given[place] = given[place].clone()
            given[place][0, slice(None) if columns is None else columns] += 1
        return set((self.read(given, writer) != before).any(1).nonzero().flatten().tolist())

    # attention

    def _attention(self, writer: int, readers: tuple[int, ...], other: tuple[int, ...]) -> Part:
        """``other``: those of the readers that read another stream."""
        rows, widths = ({p: self.maps[p].output.shape[axis] for p in readers} for axis in (0, 1))
        value, count = self._values(writer, widths)
        taken = {(value.place, int(c)) for c in value.index.flatten()}
        query, key = self._queries_and_keys(writer, widths, taken, (count, len(value.index)))
        number = torch.arange(self.shape[0] * self.shape[1]).view(self.shape)
        tokens = number[0] if self._rows(writer, readers) <= set(number[0].tolist()) else number[:, 0]
        source, prefix = None, ""
        if other:
            if 1 not in self.shape:
                raise NoFamily("attention to another stream is seen in one sequence alone")
            tokens, source, prefix = number.flatten(), torch.arange(rows[other[0]]), CROSS
        read = lambda changes: self.read(changes, writer)
        attention, causal = Heads(read, widths, query, key, value, tokens, rows, source).described()
        roles = {"query": query, "key": key, "value": value, "out": self._whole(writer)}
        roles = {f"{prefix}{role}": columns for role, columns in roles.items()}
        return Part(writer, readers, roles, attention, causal, (count, len(key.index)))

    def _values(self, writer: int, widths: Mapping[int, int]) -> tuple[RoleColumns, int]:
        """The values' columns by head of keys, and the number of heads of queries."""
        total, rows = sum(widths.values()), {p: self.maps[p].output.shape[0] for p in widths}
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
        distinct = torch.linspace(-2, 2, total)[order].split(list(widths.values()))
        outputs = {p: x.expand(rows[p], -1) for p, x in zip(widths, distinct, strict=True)}
        found = self.read(outputs, writer)
        values, places = torch.cat(distinct).sort()
        nearest = torch.bucketize(found[0], (values[1:] + values[:-1]) / 2)
        if ((found - values[nearest]).abs() > 1 / total).any():
            raise NoFamily(f"what {self.name(writer)} reads is no mean of values")
        column = places[nearest]
        ends = np.cumsum(list(widths.values()))
        owner = int(np.searchsorted(ends, int(column[0]), side="right"))
        place = list(widths)[owner]
        column = column - (0 if owner == 0 else int(ends[owner - 1]))
        if int(column.min()) < 0 or int(column.max()) >= widths[place]:
            raise NoFamily(f"what {self.name(writer)} reads comes from several maps")
        generator = torch.Generator().manual_seed(2)
        outputs = {p: torch.randn(rows[p], width, generator=generator) for p, width in widths.items()}
        outputs[place][:, column] = torch.randn(rows[place], 1, generator=generator)
        marked = self.read(outputs, writer)
        new = (marked[:, 1:] - marked[:, :-1]).abs().max(0).values > EXACT
        count = int(new.sum()) + 1
        if len(column) % count or not bool(new[torch.arange(1, count) * (len(column) // count) - 1].all()):
            raise NoFamily(f"the heads of what {self.name(writer)} reads are not found")
        by_head = column.view(count, -1)
        groups = [h for h in range(count) if h == 0 or not torch.equal(by_head[h], by_head[h - 1])]
        if count % len(groups) or len(by_head[groups].unique()) < by_head[groups].numel():
            raise NoFamily(f"the heads of what {self.name(writer)} reads are not found")
        return RoleColumns(place, by_head[groups]), count

    def _queries_and_keys(
        self, writer: int, widths: Mapping[int, int], taken: set[tuple[int, int]], heads: tuple[int, int]
    ) -> tuple[RoleColumns, RoleColumns]:
        """Columns that other tokens' rows depend on are keys, or those that read another stream; else queries."""
        found: dict[str, list[tuple[int, Tensor]]] = {"query": [], "key": []}
        (count, groups), crossing = heads, not self.memory.isdisjoint(widths)
        for place, width in widths.items():
            free = torch.tensor([c for c in range(width) if (place, c) not in taken])
            if crossing:
                if len(free):
                    found["key" if place in self.memory else "query"].append((place, free))
                continue
            runs = free.tensor_split([i for i in range(1, len(free)) if free[i] != free[i - 1] + 1])
            whole = len(self._rows(writer, (place,), free)) if len(free) else 0
            if len(free) and whole <= 1 and len(widths) > 1:
                found["query"].append((place, free))
                continue
            share = (
                count // groups + 1
            )  # parts, of which one is of keys where queries and keys stand together
            for run in runs if len(free) else ():
                for piece in run.split(len(run) // share if len(run) % share == 0 else len(run)):
                    role = "query" if len(self._rows(writer, (place,), piece)) <= 1 else "key"
                    found[role].append((place, piece))
        columns = []
        for role, number in zip(found, heads, strict=True):
            places = {place for place, _ in found[role]}
            index = torch.cat([piece for _, piece in found[role]]) if places else torch.empty(0)
            if len(places) != 1 or len(index) % number:
                raise NoFamily(f"the {role} of what {self.name(writer)} reads is not found")
            columns.append(RoleColumns(places.pop(), index.view(number, -1)))
        if columns[0].index.shape[1] != columns[1].index.shape[1]:
            raise NoFamily(f"queries and keys of what {self.name(writer)} reads are of unlike width")
        return columns[0], columns[1]

    # MLP

    def _mlp(self, writer: int, readers: tuple[int, ...]) -> Part:
        outputs = {p: self._spread(p) for p in readers}
        found = self.read(outputs, writer)
        for roles in self._mlp_roles(readers, self.maps[writer].inputs.shape[1]):
            given = {role: outputs[of.place][:, of.index[0]] for role, of in roles.items()}
            gated = "gate" in roles
            name = _named(found, *given.values()) if gated else _named(found, given["up"], torch.ones(()))
            if name is not None:
                return Part(writer, readers, {**roles, "down": self._whole(writer)}, MLP(name, gated=gated))
        raise NoFamily(f"what {self.name(writer)} reads is no MLP's: {', '.join(FUNCTIONS)}, gated or not")

    def _mlp_roles(self, readers: tuple[int, ...], width: int) -> Iterator[dict[str, RoleColumns]]:
        """What the maps of an MLP of so many hidden units may be: gates before what they multiply."""
        widths = [self.maps[place].output.shape[1] for place in readers]
        if widths == [width]:
            yield {"up": self._whole(readers[0])}
        elif widths == [2 * width]:
            for cut in GATES.values():
                gate, up = (RoleColumns(readers[0], index[None]) for index in cut(torch.arange(2 * width)))
                yield {"gate": gate, "up": up}
        elif widths == [width, width]:
            for gate, up in (readers, readers[::-1]):
                yield {"gate": self._whole(gate), "up": self._whole(up)}

    def _spread(self, place: int) -> Tensor:
        """Random outputs of a map, in which functions differ."""
        output = self.maps[place].output
        return 3 * torch.randn(output.shape, generator=torch.Generator().manual_seed(place))

    def _whole(self, place: int) -> RoleColumns:
        return RoleColumns(place, torch.arange(self.maps[place].output.shape[1])[None])


def _named(found: Tensor, given: Tensor, factor: Tensor) -> Any:
    """Name of the function φ with found = φ(given)·factor; None where it is none of these."""
    errors = {name: float((f(given) * factor - found).abs().max()) for name, f in FUNCTIONS.items()}
    best, allowed = min(errors, key=errors.__getitem__), SAME * factor.abs().max() + EXACT * found.abs().max()
    return best if errors[best] <= float(allowed) else None
