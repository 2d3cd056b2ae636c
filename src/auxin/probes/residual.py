"""The residual stream by its equation: which modules' outputs are added to it, and by how much.

While a layer runs, every module's input and output passes by here. A branch is recognized by what it does: a later
input u (or the layer's output) that is α·s + β·c, with s the stream so far and c some module's output. Names of
modules and classes play no part, so any code that adds branches to a stream is understood: norms in front, after
or around, parallel branches, skips (DeepNorm) and strengths (LayerScale of one value, ReZero).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]

TOKENS = 6
"""Tokens on which equations are tried; a chance agreement of so many entries does not occur."""

PARALLEL, LATEST = 3, 12
"""Branches side by side that are looked for, among so many of the latest outputs."""


@dataclass(frozen=True)
class Event:
    """A module's output that may be added to the stream."""

    time: int
    module: str
    sample: Array
    norm: float
    """Mean squared norm of its tokens, per dimension."""


@dataclass(frozen=True)
class Addition:
    """u = skip·s + Σ strength·output, as it was found."""

    skip: float
    terms: tuple[tuple[float, Event], ...]
    norm: float
    """Of the sum u, per dimension."""


@dataclass
class LayerTrace:
    """Follows the stream through one run of one layer."""

    start: Array
    tolerance: float
    additions: list[Addition] = field(default_factory=list)
    _streams: list[Array] = field(default_factory=list)
    _candidates: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._streams = [self.start]

    def entered(self, value: Array, norm: float, most: int = 1) -> None:
        """A module's input: the stream as it was, or the sum of the stream and of at most so many branches."""
        handed_on = any(_residual(value, c.sample[None]) <= self.tolerance for c in self._candidates)
        if not handed_on and not self._known(value):
            found = self._explained(value, norm, most)
            if found is not None:
                self.additions.append(found)
                self._streams = [value]
                self._candidates = []

    def left(self, event: Event, entry: Array | None, is_norm: bool, adds: bool) -> None:
        """A module's output: a candidate, and where a norm has acted on the stream itself, perhaps the new stream.

        Where the module may add a branch itself (it ``adds``: it has parts, or takes the stream and the branch), the
        output may also be the sum.
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

    def _known(self, value: Array) -> bool:
        return any(_residual(value, s[None]) <= self.tolerance for s in self._streams)

    def _explained(self, value: Array, norm: float, most: int) -> Addition | None:
        """The fewest candidates that account for the value; of equal ones the outermost module."""
        distinct = self._distinct()
        for count in range(1, most + 1):
            distinct = distinct if count == 1 else distinct[-LATEST:]
            for stream in self._streams:
                for chosen in combinations(reversed(distinct), count):
                    basis = np.stack([stream, *(event.sample for event in chosen)])
                    if _residual(value, basis) <= self.tolerance:
                        weights = _weights(value, basis)
                        terms = [(float(w), e) for w, e in zip(weights[1:], chosen, strict=True)]
                        if self._counts(weights, basis, value):
                            terms.sort(key=lambda term: term[1].time)
                            return Addition(float(weights[0]), tuple(terms), norm)
        return None

    def _counts(self, weights: NDArray[Any], basis: Array, value: Array) -> bool:
        """Whether the stream and every branch has a part in the sum that rounding has not made up."""
        parts = np.abs(weights) * np.linalg.norm(basis, axis=1)
        return bool((parts > 2 * self.tolerance * np.linalg.norm(value)).all())

    def _distinct(self) -> list[Event]:
        """Candidates that differ: of modules that hand on one output (a dropout, a wrapper), the last."""
        kept: list[Event] = []
        for event in self._candidates:
            kept = [k for k in kept if not np.array_equal(k.sample, event.sample)]
            kept.append(event)
        return [event for event in kept if event.sample.any()]


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


@dataclass
class LayerRun:
    """One run of a layer while it goes on."""

    name: str
    trace: LayerTrace
    matrices: list[tuple[int, str, Any]] = field(default_factory=list)
    """Time, name and output's sample of the modules with a matrix that writes to the stream's dimension."""
    softmaxes: list[Softmax] = field(default_factory=list)

    def branches(self, model: nn.Module, index: int) -> Iterator[ObservedBranch]:
        """The branches of the finished layer; an attention matrix belongs to the next output that is added."""
        terms = [(addition, *term) for addition in self.trace.additions for term in addition.terms]
        since = 0
        for addition, strength, event in sorted(terms, key=lambda term: term[2].time):
            ran = [s for s in self.softmaxes if since < s.time <= event.time]
            attention = [s for s in ran if not s.cross] or ran
            writers = [m for m in self.matrices if since < m[0] <= event.time]
            since = event.time
            norm = strength**2 * event.norm
            kind = "mlp" if not ran else "cross" if attention[0].cross else "attention"
            spread = _mean([s.spread**2 for s in attention])
            yield ObservedBranch(
                layer=index,
                kind=kind,
                module=event.module,
                writer=_writer(model, event, writers),
                skip=addition.skip,
                strength=strength,
                norm=norm,
                share=norm / addition.norm if addition.norm else math.nan,
                entropy=_mean([s.entropy for s in attention]),
                spread=None if spread is None else math.sqrt(spread),
                mixed=_mean([s.mixed for s in attention]),
                mixed_raw=_mean([s.mixed_raw for s in attention]),
            )


def same(value: Array, other: Array, tolerance: float) -> bool:
    """Whether two samples are equal up to rounding."""
    return value.shape == other.shape and float(np.linalg.norm(value - other)) <= tolerance * float(
        np.linalg.norm(other)
    )


def _residual(value: Array, basis: Array) -> float:
    """‖value − its projection on the basis‖/‖value‖."""
    size = float(np.linalg.norm(value))
    if size == 0:
        return 0.0
    return float(np.linalg.norm(value - _weights(value, basis) @ basis)) / size


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


def mean_norm(x: Tensor) -> float:
    """Mean squared norm of a token, per dimension."""
    return x.detach().float().square().mean().item()


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


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
    """The norm after the branch, else the last module with a matrix that ran in it."""
    if is_norm(model.get_submodule(event.module)):
        return event.module
    if not matrices:
        return None
    name = matrices[-1][1]
    inside = isinstance(model.get_submodule(name), nn.MultiheadAttention)
    return f"{name}.out_proj" if inside else name
