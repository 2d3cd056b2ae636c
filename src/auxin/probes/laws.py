"""Parameter by parameter: a model compared with the laws of a reference."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from auxin.families.laws import chance
from auxin.families.layers import LayerStack
from auxin.probes.dead import owner, place_of, same_parts
from auxin.probes.findings import Finding
from auxin.probes.reference import Law, Reference, Statistics, ties_of
from auxin.probes.thresholds import Thresholds

FEW = 32
"""Random entries of which nothing but a tenfold size is told from chance."""
MEAN, ZEROS, KURTOSIS = 0.05, 0.02, 0.4
"""Differences of a mean (in standard deviations), of a share of zeros and of a kurtosis that count, beside chance."""
SAME = 0.02
"""Relative difference of numbers that all draws share: half precision rounds by 0.4%."""


def law_mismatches(
    model: nn.Module,
    here: Mapping[str, Statistics],
    reference: Reference,
    stack: LayerStack,
    limits: Thresholds,
    branch: float = 1.0,
) -> Iterator[Finding]:
    """The model's tensors with the statistics ``here`` that are not as the reference's, beyond chance.

    What is zero where the reference is random is left to the layers' own comparison: in all layers it is a design.
    With ``branch``, a tensor may be so many times as large.
    """
    buffers = {name for name, _ in model.named_buffers()}
    for name, found in here.items():
        law = reference.laws.get(name)
        if law is None or found.shape != law.shape or (found.size == 0 and law.fixed is None):
            continue
        difference = _difference(found, law, reference.draws, limits, branch)
        if difference is not None:
            measured, expected = difference
            what = f"{name}, a buffer," if name in buffers else name
            why = "" if name in buffers else _reason(found.size, law, len(stack.layers))
            layer, part = place_of(name, stack) or (None, "")
            sentence = f"{what} {measured} where {reference.name} {expected}{why}."
            yield Finding("mismatch", owner(name), found.size, law.size, sentence, layer, part)


def redrawn(
    here: Mapping[str, Statistics], reference: Reference, names: Collection[str], limits: Thresholds
) -> bool:
    """Whether most of these parameters are not as the reference's: the model was drawn again by another scheme."""
    pairs = [(here.get(n), reference.laws[n]) for n in names if n in reference.laws]
    other = [
        found is None or _difference(found, law, reference.draws, limits) is not None for found, law in pairs
    ]
    return sum(other) > len(other) / 2


def settled(
    model: nn.Module, here: Mapping[str, Statistics], reference: Reference, limits: Thresholds
) -> set[str]:
    """Modules whose own tensors are all as the reference's: other comparisons of them say nothing."""
    agreeing: dict[str, bool] = {}
    for name, _ in model.named_parameters():
        law, found = reference.laws.get(name), here.get(name)
        same = (
            law is not None
            and found is not None
            and found.shape == law.shape
            and (found.size > 0 or law.size == 0)
            and _difference(found, law, reference.draws, limits) is None
        )
        agreeing[owner(name)] = agreeing.get(owner(name), True) and same
    return {module for module, same in agreeing.items() if same}


def _difference(
    found: Statistics, law: Law, draws: int, limits: Thresholds, branch: float = 1.0
) -> tuple[str, str] | None:
    """What is not as it should be, and how it should be, in words; None where nothing is."""
    count = math.prod(found.shape)
    size = f"has size {found.size:.4g} (rms)", f"has {law.size:.4g}"
    if law.fixed is not None:
        allowed = SAME * (law.fixed.abs() + law.size) + 1e-7
        return None if bool(((found.entries - law.fixed).abs() <= allowed).all()) else size
    if law.size == 0:
        return None if found.size == 0 else size
    scatter = math.sqrt(1 + 1 / draws)
    allowed = 1 + limits.std + scatter * chance(count)
    allowed = max(allowed, 10.0) if count < FEW else allowed
    ratio = found.size / law.size
    if all(not 1 / allowed <= ratio / factor <= allowed for factor in (1.0, branch)):
        return size
    if count < FEW:
        return None
    deviation = math.sqrt(max(law.size**2 - law.mean**2, 0.0))
    if branch == 1 and abs(found.mean - law.mean) > deviation * (MEAN + scatter * 6 / math.sqrt(count)):
        return f"has mean {found.mean:.4g}", f"has {law.mean:.4g}"
    share = max(found.zeros, law.zeros, 1 / count)
    if abs(found.zeros - law.zeros) > ZEROS + scatter * 6 * math.sqrt(share / count):
        return f"is zero in {found.zeros:.1%} of its entries", f"has {law.zeros:.1%}"
    usual = abs(law.kurtosis) < 3  # of heavier tails the kurtosis is not to be told from so few entries
    if usual and abs(found.kurtosis - law.kurtosis) > KURTOSIS + scatter * 6 * math.sqrt(24 / count):
        return f"is {shape_of(found.kurtosis)}", f"is {shape_of(law.kurtosis)}"
    return None


def shape_of(kurtosis: float) -> str:
    """A distribution's name by its kurtosis: −1.2 uniform, −0.6 a Gaussian cut at 2σ, 0 Gaussian."""
    if kurtosis < -0.9:
        return "uniform"
    if kurtosis < -0.3:
        return "a cut Gaussian"
    return "Gaussian" if kurtosis < 0.5 else "of heavy tails"


def _reason(found: float, law: Law, depth: int) -> str:
    """By the size of the ratio, what may have happened."""
    if not law.size:
        return ""
    ratio, root = found / law.size, math.sqrt(2 * depth)
    fan_in = law.shape[-1]

    def near(value: float, other: float) -> bool:
        return abs(value / other - 1) < 0.06

    times = f": {ratio:.3g} times as much" if ratio > 1 else f": 1/{1 / max(ratio, 1e-30):.3g} of it"
    if len(law.shape) > 1 and near(found, 1.0):
        return f"{times}, and what nn.Embedding leaves by itself"
    if len(law.shape) > 1 and near(found, 1 / math.sqrt(3 * fan_in)):
        return f"{times}, and what nn.Linear leaves by itself"
    if near(ratio, root):
        return f"{times}, so a scaling by 1/√(2·{depth}) may have been left out"
    if near(ratio, 1 / root):
        return f"{times}, so it may have been scaled by 1/√(2·{depth})"
    return times if abs(ratio - 1) > 0.06 else ""


def missing_norms(model: nn.Module, reference: Reference, stack: LayerStack) -> Iterator[Finding]:
    """Norms that the reference has and the model lacks, or has something else in place of."""
    modules = dict(model.named_modules())
    for name, kind in reference.norms.items():
        instead = modules.get(name)
        if instead is None or isinstance(instead, nn.Identity):
            there = "is missing" if instead is None else "is Identity"
            layer, part = place_of(name, stack) or (None, "")
            sentence = f"{name} {there} where {reference.name} has {kind}."
            yield Finding("mismatch", name, None, None, sentence, layer, part)


def tie_mismatches(model: nn.Module, reference: Reference) -> Iterator[Finding]:
    """Parameters that are one tensor here and two in the reference, or the other way round."""
    here, names = ties_of(model), {n for n, _ in model.named_parameters(remove_duplicate=False)}
    for name, other in reference.ties.items():
        if name in names and other in names and name not in here:
            sentence = f"{name} is not tied to {other}, as in {reference.name}."
            yield Finding("mismatch", owner(name), None, None, sentence)
    for name, other in here.items():
        if name in reference.laws and other in reference.laws and name not in reference.ties:
            sentence = f"{name} is tied to {other}, unlike in {reference.name}."
            yield Finding("mismatch", owner(name), None, None, sentence)


def copies(stack: LayerStack) -> Iterator[Finding]:
    """Layers that have the matrices of another one; nothing where all layers are copies."""
    first: dict[int, dict[int, list[str]]] = {}
    parts = {part: members for part, members in same_parts(stack).items() if members[0][2].ndim >= 2}
    varied = {part: members for part, members in parts.items() if _varied(members[0][2])}
    for part, members in varied.items():
        if all(_equal(members[0][2], p) for _, _, p in members[1:]):
            continue
        for place, (index, _, p) in enumerate(members):
            source = next((i for i, _, other in members[:place] if _equal(other, p)), None)
            if source is not None:
                first.setdefault(index, {}).setdefault(source, []).append(part)
    names = list(stack.layers)
    for index, sources in first.items():
        for source, same in sources.items():
            whole = len(same) == len(varied)
            name = names[index] if whole else owner(f"{names[index]}.{same[0]}")
            sentence = (
                f"{name} has the weights of {names[source]} in {len(same)} of {len(varied)} matrices: a copy."
            )
            yield Finding("mismatch", name, None, None, sentence, index, f"copy of {source}")


def _varied(p: Tensor) -> bool:
    return p.numel() >= FEW and bool((p != p.flatten()[0]).any())


def _equal(p: Tensor, other: Tensor) -> bool:
    return p is not other and p.flatten()[:8].equal(other.flatten()[:8]) and torch.equal(p, other)
