"""What is wrong with an initialization: one sentence each, causes first, their consequences below them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

from auxin.values import Value

Kind = Literal["dead", "mismatch", "collapse", "explode", "loss"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SAME = 0.2  # relative difference between factors that are reported as one


@dataclass(frozen=True, kw_only=True)
class Thresholds(Value):
    """From where on a difference or a design is a finding; docs/check.md has the rate of false alarms.

    >>> Thresholds(cosine=0.9).cosine
    0.9
    """

    std: float = 0.06
    """Relative difference between a matrix's standard deviation and its scheme's, beside six standard errors of the
    entries' own chance. The slips that people report differ by 25% and more."""
    gain: float = 0.05
    """Difference of a norm's mean gain, or of a skip or branch strength, from what it should be; relative."""
    spread: float = 1.6
    """Factor between the spread of attention's logits and that of its weights' random products. Over fresh models of
    width 64 the largest seen was 1.28; a forgotten or doubled 1/√d_h is a factor of 4 or more."""
    branch: float = 1.3
    """Factor between the norm² of what a branch adds and that which its own weights make of its input, beside what
    chance does at the model's width. A missing norm is a factor of the stream's norm²."""
    layer: float = 1.25
    """Factor between a layer's matrix and the same one of the other layers, where no scheme is known."""
    cosine: float = 0.99
    """Mean cosine of tokens after the last layer: beyond, they are one token to whatever follows."""
    gradient: float = 30.0
    """Growth or decay of squared gradients from the last layer to the middle one: a thousandfold over all, if it goes
    on so. In a new Llama of 32 layers of width 4096 nearly all of a predicted 540-fold growth is in the other half."""
    excess_loss: float = 2.0
    """Loss above that of a uniform guess, in nats, before any training."""

    ranges = {  # noqa: RUF012
        "std": (0, 10), "gain": (0, 10), "spread": (1, 1e6), "branch": (1, 1e6), "layer": (1, 1e6), "cosine": (0, 1),
        "gradient": (1, 1e30), "excess_loss": (0, 1e6),
    }  # fmt: skip


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong."""

    kind: Kind
    """dead: a tensor that no gradient reaches or that was never set; mismatch: not what is expected; collapse: tokens
    become one; explode: gradients grow or vanish; loss: worse than guessing."""
    module: str
    """Name of the first module that is responsible; the stack's where it is the design as a whole."""
    sentence: str
    measured: float | None = None
    expected: float | None = None
    layer: int | None = None
    """Number of the layer, from 0."""
    part: str = ""
    """What repeats from layer to layer: findings about one part by one factor are reported as one."""
    consequences: tuple[Diagnostic, ...] = ()
    """What was measured as well, and follows from this one or may."""

    @property
    def kinds(self) -> set[Kind]:
        """Its kind and those of its consequences."""
        return {self.kind, *(finding.kind for finding in self.consequences)}

    @property
    def severity(self) -> Literal["error", "warning"]:
        """error: something is not what was intended; warning: it may be intended, and be trouble all the same."""
        return "error" if self.kind in ("dead", "mismatch") else "warning"


def folded(causes: Sequence[Diagnostic], effects: Sequence[Diagnostic], depth: int) -> list[Diagnostic]:
    """Causes first, those of one part as one, with the effects below them; effects without a cause stand alone.

    An effect in a layer belongs to the first cause in that layer, one of the whole model to the first cause.
    """
    groups = _groups(causes)
    below: list[list[Diagnostic]] = [[] for _ in groups]
    alone: list[Diagnostic] = []
    for effect in effects:
        homes = (
            home
            for home, group in zip(below, groups, strict=True)
            if effect.layer is None or any(cause.layer == effect.layer for cause in group)
        )
        next(homes, alone).append(effect)
    first = lambda findings: [_first(group, depth) for group in _groups(findings)]
    pairs = zip(groups, below, strict=True)
    found = [replace(_first(group, depth), consequences=tuple(first(effects))) for group, effects in pairs]
    return sorted(found, key=_order) + first(alone)


def _groups(findings: Sequence[Diagnostic]) -> list[list[Diagnostic]]:
    """Findings about one part in several layers, together; in the order of their first layers."""
    groups: list[list[Diagnostic]] = []
    for finding in sorted(findings, key=_order):
        group = next((group for group in groups if _alike(group[0], finding)), None)
        if group is None:
            groups.append(group := [])
        group.append(finding)
    return groups


def _first(group: list[Diagnostic], depth: int) -> Diagnostic:
    """The first finding of a group, which counts the others."""
    return replace(group[0], sentence=counted(group[0].sentence, len(group), depth))


def counted(sentence: str, count: int, depth: int) -> str:
    """A sentence about the first of so many layers."""
    where = f" (in {count} of {depth} layers, this is the first)" if count > 1 else ""
    return f"{sentence.removesuffix('.')}{where}."


def wrapped(sentences: Iterable[str]) -> list[str]:
    """Lines of at most 80 columns."""
    wrap = partial(textwrap.wrap, width=80, subsequent_indent="  ", break_on_hyphens=False)
    return [line for sentence in sentences for line in wrap(sentence)]


def _order(finding: Diagnostic) -> tuple[int, int]:
    return KINDS.index(finding.kind), -1 if finding.layer is None else finding.layer


def _alike(first: Diagnostic, other: Diagnostic) -> bool:
    """Whether two findings are about one part of two layers, by about the same factor."""
    if not first.part or (first.kind, first.part) != (other.kind, other.part) or first.layer == other.layer:
        return False
    ratios = [f.measured / f.expected if f.measured and f.expected else 1.0 for f in (first, other)]
    return abs(ratios[0] - ratios[1]) <= SAME * abs(ratios[1])
