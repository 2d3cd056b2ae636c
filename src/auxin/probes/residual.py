"""The residual stream by its equation: which modules' outputs are added to it, and by how much.

While a layer runs, every module's input and output passes by here. A branch is recognized by what it does: a later
input u (or the layer's output) that is α·s + β·c, with s the stream so far and c some module's output. Names play no
part, so norms in front, after or around, parallel branches, skips (DeepNorm) and strengths (ReZero) are understood.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auxin.theory.states import Array

TOKENS = 6  # tokens on which equations are tried; a chance agreement of so many entries does not occur
PARALLEL, LATEST = 3, 12  # branches side by side that are looked for, among so many of the latest outputs


@dataclass(frozen=True)
class Event:
    """A module's output that may be added to the stream."""

    time: int
    module: str
    sample: Array
    norm: float
    """Mean squared norm of its tokens, per dimension."""


Term = tuple[Event, float, float, float]
"""An output, its strength, the skip's, and the norm² of the sum u = skip·s + Σ strength·output, per dimension."""


@dataclass(frozen=True)
class ObservedBranch:
    """What one branch adds to the stream."""

    layer: int
    """Which run of a layer, from 0."""
    kind: str
    """attention (a softmax over the stream's tokens ran in it), cross (over other tokens alone) or mlp."""
    module: str
    """Name of the module whose output is added."""
    writer: str | None
    """Name of the module whose matrix made that output, or of a norm after it."""
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

    def to_dict(self) -> dict[str, Any]:
        """What users see of it, as plain values; None for what is not a number."""
        shown = {name: value for name, value in vars(self).items() if not name.startswith("mixed")}
        return {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in shown.items()}


@dataclass(frozen=True)
class Softmax:
    """An attention matrix that was computed; ``cross`` where it was over other tokens than the stream's."""

    time: int
    cross: bool
    entropy: float
    spread: float
    mixed: float
    mixed_raw: float


class LayerTrace:
    """Follows the stream through one run of one layer."""

    def __init__(self, name: str, start: Array, tolerance: float) -> None:
        self.name, self.tolerance = name, tolerance
        self.terms: list[Term] = []
        self.matrices: list[tuple[int, str]] = []
        """Time and name of the modules with a matrix that writes to the stream's dimension."""
        self.softmaxes: list[Softmax] = []
        self._streams, self._candidates = [start], list[Event]()

    def entered(self, value: Array, norm: float, most: int = 1) -> None:
        """A module's input: the stream as it was, or the sum of the stream and of at most so many branches."""
        handed_on = any(_residual(value, c.sample[None]) <= self.tolerance for c in self._candidates)
        if handed_on or self._known(value):
            return
        if found := self._sum(value, norm, most):
            self.terms += found
            self._streams, self._candidates = [value], []

    def left(self, event: Event, entry: Array | None, is_norm: bool, adds: bool) -> None:
        """A module's output: a candidate, and where a norm has acted on the stream itself, perhaps the new stream.

        Where the module ``adds`` a branch itself (it has parts, or takes stream and branch), it may also be the sum.
        """
        if adds:
            self.entered(event.sample, event.norm)
        if is_norm and entry is not None and self._known(entry):
            self._streams.append(event.sample)
        if not self._known(event.sample) or is_norm:
            self._candidates.append(event)

    def ended(self, value: Array, norm: float) -> bool:
        """The layer's output; whether it is accounted for."""
        if not self._known(value):
            self.entered(value, norm, most=PARALLEL)
        return self._known(value)

    def branches(self, model: nn.Module, index: int) -> Iterator[ObservedBranch]:
        """The branches of the finished layer; an attention matrix belongs to the next output that is added."""
        since = 0
        for event, strength, skip, whole in sorted(self.terms, key=lambda term: term[0].time):
            ran = [s for s in self.softmaxes if since < s.time <= event.time]
            attention = [s for s in ran if not s.cross] or ran
            writers = [name for time, name in self.matrices if since < time <= event.time]
            since = event.time
            norm = strength**2 * event.norm
            names = ("entropy", "mixed", "mixed_raw") if attention else ()
            statistics = {name: fmean(getattr(s, name) for s in attention) for name in names}
            if attention:
                statistics["spread"] = math.sqrt(fmean(s.spread**2 for s in attention))
            yield ObservedBranch(
                layer=index,
                kind="mlp" if not ran else "cross" if attention[0].cross else "attention",
                module=event.module,
                writer=_writer(model, event, writers),
                skip=skip,
                strength=strength,
                norm=norm,
                share=norm / whole if whole else math.nan,
                **statistics,
            )

    def _known(self, value: Array) -> bool:
        return any(_residual(value, s[None]) <= self.tolerance for s in self._streams)

    def _sum(self, value: Array, norm: float, most: int) -> list[Term]:
        """The fewest candidates that account for the value, if any; of equal ones the outermost module."""
        distinct: list[Event] = []  # of modules that hand on one output (a dropout, a wrapper), the last
        for event in self._candidates:
            others = [d for d in distinct if not np.array_equal(d.sample, event.sample)]
            last = others[-1].sample[None] if others and others[-1] is distinct[-1] else None
            if last is None or _residual(event.sample, last) > self.tolerance:
                distinct = [*others, event]  # LayerScale of one value is the strength of what it multiplies
        distinct = [event for event in distinct if event.sample.any()]
        for count in range(1, most + 1):
            distinct = distinct if count == 1 else distinct[-LATEST:]
            for stream in self._streams:
                for chosen in combinations(reversed(distinct), count):
                    basis = np.stack([stream, *(event.sample for event in chosen)])
                    if _residual(value, basis) > self.tolerance:
                        continue
                    weights = _weights(value, basis)
                    parts = np.abs(weights) * np.linalg.norm(basis, axis=1)
                    if (
                        parts > 2 * self.tolerance * np.linalg.norm(value)
                    ).all():  # none is made up by rounding
                        skip, *strengths = map(float, weights)
                        return [(e, s, skip, norm) for e, s in zip(chosen, strengths, strict=True)]
        return []


def same(value: Array, other: Array, tolerance: float) -> bool:
    """Whether two samples are equal up to rounding."""
    size = float(np.linalg.norm(other))
    return value.shape == other.shape and float(np.linalg.norm(value - other)) <= tolerance * size


def _residual(value: Array, basis: Array) -> float:
    """‖value − its projection on the basis‖/‖value‖."""
    size = float(np.linalg.norm(value))
    return float(np.linalg.norm(value - _weights(value, basis) @ basis)) / size if size else 0.0


def _weights(value: Array, basis: Array) -> Array:
    """Of the projection on a few long rows, by their Gram matrix: a hundred times faster than by the rows."""
    scale = np.maximum(np.linalg.norm(basis, axis=1), 1e-300)
    unit = basis / scale[:, None]
    return np.linalg.lstsq(unit @ unit.T, unit @ value, rcond=None)[0] / scale


def sample(x: Tensor) -> Array:
    """Some tokens of x [·, ·, d], one after the other."""
    rows = x.detach().reshape(-1, x.shape[-1])
    chosen = torch.linspace(0, len(rows) - 1, min(TOKENS, len(rows)), device=rows.device).round().long()
    return rows[chosen].double().flatten().cpu().numpy()


def is_norm(module: nn.Module) -> bool:
    """Whether a module has at most one number a dimension, and is called a norm: LayerNorm, RMSNorm, DyT."""
    few = all(p.ndim <= 1 for p in module.parameters())
    name = type(module).__name__.lower()
    return few and ("norm" in name or name in ("dyt", "derf"))


def _writer(model: nn.Module, event: Event, matrices: list[str]) -> str | None:
    """The norm after the branch, else the last module with a matrix that ran in it."""
    if is_norm(model.get_submodule(event.module)):
        return event.module
    if not matrices:
        return None
    inside = isinstance(model.get_submodule(matrices[-1]), nn.MultiheadAttention)
    return f"{matrices[-1]}.out_proj" if inside else matrices[-1]
