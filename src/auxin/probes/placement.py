"""Where norms stand around the branches of a layer, from what the stream, the branches and the maps held in one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from auxin.architecture import Norm
from auxin.families.configs import NoFamily

CLOSE = 1e-3  # relative residual up to which one tensor is a norm of another
SPREAD = 2.0  # factor between tokens' norm² from which on ε can be told from the gain


@dataclass(frozen=True, eq=False)
class Term:
    """A branch of a layer as it ran: all are [T, d]."""

    module: str
    reads: Tensor
    """By its first maps."""
    written: Tensor
    """By its last map."""
    added: Tensor
    """Its output, after a norm if there is one; the sum is skip·stream + strength·this."""
    skip: float
    strength: float


@dataclass(frozen=True, eq=False)
class Relation:
    """b = factor·a, or row by row factor·N(a)."""

    kind: str
    """same, rms or layer."""
    factor: Tensor
    """[T]."""
    norm2: Tensor
    """[T], of a, per dimension; of ``layer``, about its mean."""

    @property
    def is_norm(self) -> bool:
        """Whether b is a norm of a."""
        return self.kind != "same"


@dataclass(frozen=True, eq=False)
class Placement:
    """Relations around a branch: before it, after it, and of the stream after the sum."""

    before: Relation
    after: Relation
    stream: Relation

    def times(self, factor: float) -> Placement:
        """With another size of what the branch reads; raises ``NoFamily`` where it is the stream itself."""
        if factor == 1:
            return self
        if not self.before.is_norm:
            raise NoFamily("a condition scales what a branch reads of the stream itself")
        return replace(self, before=replace(self.before, factor=factor * self.before.factor))


def relation(a: Tensor, b: Tensor) -> Relation | None:
    """What b [T, d] is of a; None for something else."""
    a, b = a.double(), b.double()
    centred = a - a.mean(-1, keepdim=True)
    whole = (a * b).sum() / a.square().sum().clamp_min(1e-300)
    if (b - whole * a).norm() <= CLOSE / 10 * b.norm():
        return Relation("same", whole.expand(len(a)), a.square().mean(-1))
    for kind, x in (("rms", a), ("layer", centred)):
        norm2 = x.square().mean(-1)
        unit = x / norm2.sqrt().clamp_min(1e-300)[:, None]
        factor = (b * unit).mean(-1)
        if (b - factor[:, None] * unit).norm() <= CLOSE * b.norm():
            return Relation(kind, factor, norm2)
    return None


def placements(stream: Tensor, terms: Sequence[Term], end: Tensor) -> tuple[list[Placement], bool]:
    """The norms around the branches of a layer that maps a stream to ``end``, and whether branches are parallel.

    Raises ``NoFamily`` naming the branch around which something else happens.
    """
    side = len(terms) > 1 and all(relation(stream, term.reads) is not None for term in terms)
    found = _parallel(stream, terms, end) if side else _serial(stream, terms, end)
    if found is None:
        raise NoFamily(f"what stands around {', '.join(term.module for term in terms)} is no norm")
    return found, side


def _parallel(stream: Tensor, terms: Sequence[Term], end: Tensor) -> list[Placement] | None:
    total = terms[0].skip * stream + sum(term.strength * term.added for term in terms)
    last = relation(total, end)
    found = [(relation(stream, term.reads), relation(term.written, term.added)) for term in terms]
    whole = [Placement(b, a, last) for b, a in found if b and a and last]
    return whole if len(whole) == len(terms) else None


def _serial(stream: Tensor, terms: Sequence[Term], end: Tensor) -> list[Placement] | None:
    """Where what the next branch reads is a norm of the sum, that may be the stream, or what is before the branch."""
    first, *others = terms
    before, after = relation(stream, first.reads), relation(first.written, first.added)
    if before is None or after is None:
        return None
    total = first.skip * stream + first.strength * first.added
    if not others:
        last = relation(total, end)
        return [Placement(before, after, last)] if last else None
    for candidate in (total, others[0].reads):
        last, rest = relation(total, candidate), _serial(candidate, others, end)
        if last is not None and rest is not None:
            return [Placement(before, after, last), *rest]
    return None


def norm_of(relations: Sequence[Relation]) -> Norm | None:
    """The norm of which these are, one from each layer; None where most are none."""
    norms = [r for r in relations if r.is_norm]
    if 2 * len(norms) <= len(relations):
        return None
    kinds = [r.kind for r in norms]
    fitted = [fit for r in norms if (fit := _fit(r)) is not None]
    gain = math.sqrt(median(g for g, _ in fitted)) if fitted else 1.0
    gain = 1.0 if abs(gain - 1) < 0.02 else gain
    rough = lambda r: max(0.0, float((r.norm2 * (gain**2 / r.factor.square() - 1)).median()))
    epsilon = median(e for _, e in fitted) if fitted else median(map(rough, norms))
    smallest = min(float(r.norm2.min()) for r in norms)
    epsilon = float(f"{epsilon:.1g}") if epsilon > 1e-5 * smallest else 0.0
    return Norm(max(sorted(set(kinds)), key=kinds.count), gain=gain, epsilon=epsilon)  # pyright: ignore[reportArgumentType]


def _fit(r: Relation) -> tuple[float, float] | None:
    """Gain² and ε by 1/factor² = (1 + ε/norm²)/gain², where tokens differ enough in norm²."""
    if not bool((r.factor > 0).all()) or r.norm2.max() < SPREAD * r.norm2.min():
        return None
    x = torch.stack([torch.ones_like(r.norm2), 1 / r.norm2], 1)
    level, slope = torch.linalg.lstsq(x, 1 / r.factor.square()[:, None]).solution.flatten().tolist()
    return (1 / level, max(slope / level, 0.0)) if level > 0 else None
