"""What is wrong with an initialization, one sentence each, with the module's name; causes hold their consequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

Kind = Literal["dead", "mismatch", "collapse", "explode", "loss"]
SAME = 0.2
"""Relative difference between factors that are told as one."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: Kind
    """dead: a tensor that no gradient reaches or that was never set; mismatch: not what is expected; collapse: tokens
    become one; explode: gradients grow or vanish; loss: worse than guessing."""
    module: str
    """Name of the first module that is responsible; the stack's where it is the design as a whole."""
    measured: float | None
    expected: float | None
    sentence: str
    layer: int | None = None
    """Number of the layer, from 0."""
    part: str = ""
    """What repeats from layer to layer: findings of one part and one sentence are told together."""
    consequences: tuple[Finding, ...] = ()
    """What was measured as well, and follows from this one or may."""

    @property
    def kinds(self) -> set[Kind]:
        """Its kind and those of its consequences."""
        return {self.kind, *(finding.kind for finding in self.consequences)}

    @property
    def severity(self) -> Literal["error", "warning"]:
        """error: something is not what was meant; warning: it may be meant, and be trouble all the same."""
        return "error" if self.kind in ("dead", "mismatch") else "warning"


def folded(causes: Sequence[Finding], effects: Sequence[Finding], depth: int) -> list[Finding]:
    """Causes first, those of one part told together, with the effects below them.

    An effect in a layer belongs to the first cause in that layer, one of the whole model to the first cause. Effects
    without a cause stand for themselves.
    """
    groups = _groups(causes)
    below: list[list[Finding]] = [[] for _ in groups]
    alone: list[Finding] = []
    for effect in effects:
        places = (
            i
            for i, group in enumerate(groups)
            if effect.layer is None or any(finding.layer == effect.layer for finding in group)
        )
        place = next(places, None)
        (alone if place is None else below[place]).append(effect)
    told = [
        replace(_first(group, depth), consequences=tuple(_first(g, depth) for g in _groups(effects)))
        for group, effects in zip(groups, below, strict=True)
    ]
    told += [_first(group, depth) for group in _groups(alone)]
    return sorted(told, key=_order)


def _groups(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that say the same of one part in several layers, together; in the order of their first layers."""
    groups: list[list[Finding]] = []
    for finding in sorted(findings, key=_order):
        group = next((group for group in groups if _alike(group[0], finding)), None)
        if group is None:
            groups.append([finding])
        else:
            group.append(finding)
    return groups


def _first(group: list[Finding], depth: int) -> Finding:
    """The first finding of a group, which counts the others."""
    first = group[0]
    if len(group) == 1:
        return first
    where = f" (in {len(group)} of {depth} layers, this is the first)"
    return replace(first, sentence=first.sentence.removesuffix(".") + f"{where}.")


def _order(finding: Finding) -> tuple[int, int]:
    return KINDS.index(finding.kind), -1 if finding.layer is None else finding.layer


def _alike(first: Finding, other: Finding) -> bool:
    """Whether two findings say the same of one part of two layers, by about the same factor."""
    if not first.part or (first.kind, first.part) != (other.kind, other.part) or first.layer == other.layer:
        return False
    ratios = [f.measured / f.expected if f.measured and f.expected else 1.0 for f in (first, other)]
    return abs(ratios[0] - ratios[1]) <= SAME * abs(ratios[1])
