"""What is wrong with a model's start, each in one sentence with the module's name."""

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
    """dead: a tensor that no signal passes or that was never set; mismatch: not what was meant; collapse: tokens
    become one; explode: gradients grow or vanish; loss: the start is worse than guessing."""
    module: str
    """Name of the first module that is responsible; the stack's where it is the design as a whole."""
    measured: float | None
    expected: float | None
    sentence: str
    layer: int | None = None
    """Number of the layer, from 0."""
    part: str = ""
    """What repeats from layer to layer: findings of one part and one sentence are told together."""

    @property
    def severity(self) -> Literal["error", "warning"]:
        """error: something is not what was meant; warning: it may be meant, and be trouble all the same."""
        return "error" if self.kind in ("dead", "mismatch") else "warning"


def together(findings: Sequence[Finding], depth: int) -> list[Finding]:
    """One finding of those that say the same of one part in several layers: the first, which counts the others."""
    groups: list[list[Finding]] = []
    for finding in findings:
        group = next((group for group in groups if _alike(group[0], finding)), None)
        if group is None:
            groups.append([finding])
        else:
            group.append(finding)
    told: list[Finding] = []
    for group in groups:
        first = group[0]
        if len(group) > 1:
            where = f" (in {len(group)} of {depth} layers, this is the first)"
            first = replace(first, sentence=first.sentence.removesuffix(".") + f"{where}.")
        told.append(first)
    order = {kind: i for i, kind in enumerate(KINDS)}
    return sorted(told, key=lambda f: (order[f.kind], -1 if f.layer is None else f.layer))


def _alike(first: Finding, other: Finding) -> bool:
    """Whether two findings say the same of one part of two layers, by about the same factor."""
    if not first.part or (first.kind, first.part) != (other.kind, other.part) or first.layer == other.layer:
        return False
    ratios = [f.measured / f.expected if f.measured and f.expected else 1.0 for f in (first, other)]
    return abs(ratios[0] / ratios[1] - 1) < SAME
