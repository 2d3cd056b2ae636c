"""A model's weights compared with the scheme that they should be drawn from, and layers with each other."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from statistics import median

import numpy as np
import torch
from scipy.stats import theilslopes
from torch import nn

from auxin.architecture.initialization import Map
from auxin.architecture.recipe import WRITERS, Recipe
from auxin.families.laws import chance
from auxin.families.layers import LayerStack
from auxin.families.modules import Matrix
from auxin.families.sources import Described, config_of
from auxin.families.table import BY_TYPE
from auxin.probes.dead import owner, place_of, same_parts, size_of
from auxin.probes.findings import Finding
from auxin.probes.gains import gain_of
from auxin.probes.inputs import vocabulary_of
from auxin.probes.thresholds import Thresholds
from auxin.probes.tracing import is_norm

OTHER_TABLES = 3.0
"""Factor between the std of a table that is added to the tokens' and theirs, where the scheme is only recognized."""


def scheme_mismatches(described: Described, stack: LayerStack, limits: Thresholds) -> Iterator[Finding]:
    """Maps of layers whose standard deviation is not their scheme's, beyond chance."""
    recipe = described.recipe
    shapes = Counter(m.parameter for m in described.matrices)
    growing = _divided_by_layer(described, limits)
    for matrix in described.matrices:
        if matrix.role in growing:
            continue
        found, expected = matrix.std, recipe.std(matrix.role, matrix.layer)
        allowed = limits.std + chance(matrix.entries.numel())
        if math.isfinite(found) and found > 0 and expected > 0 and abs(found / expected - 1) > allowed:
            rows = f", its {matrix.role} part," if shapes[matrix.parameter] > 1 else ""
            why = _reason(found, expected, matrix, recipe)
            usual = f"{recipe.name} ({recipe.scheme.words}) has {expected:.4g}"
            sentence = f"{matrix.module}{rows} has std {found:.4g} where {usual}: {why}."
            yield Finding("mismatch", matrix.module, found, expected, sentence, matrix.layer, matrix.role)


def _divided_by_layer(described: Described, limits: Thresholds) -> set[str]:
    """Output maps that are divided by √(2l) in layer l, from 1, as Megatron and torchtitan draw them.

    A scheme that was recognized from most maps does not say otherwise; a family's does.
    """
    recipe = described.recipe
    fits: dict[str, list[bool]] = defaultdict(list)
    for matrix in described.matrices if described.recognized else ():
        if matrix.role in WRITERS:
            expected = recipe.std(matrix.role, matrix.layer)
            if recipe.scheme.depth_scaled:
                expected *= math.sqrt(2 * recipe.depth)
            ratio = matrix.std / expected * math.sqrt(2 * (matrix.layer + 1))
            fits[matrix.role].append(abs(ratio - 1) <= limits.std + chance(matrix.entries.numel()))
    return {role for role, each in fits.items() if sum(each) >= 0.75 * len(each)}


def _reason(found: float, expected: float, matrix: Matrix, recipe: Recipe) -> str:
    """What may have happened, by the size of the ratio."""
    ratio, root = found / expected, math.sqrt(2 * recipe.depth)
    fan_in = matrix.entries.shape[1]
    writer = matrix.role in WRITERS

    def near(value: float) -> bool:
        return abs(ratio / value - 1) < 0.06

    times = f"{ratio:.3g} times as much" if ratio > 1 else f"1/{1 / ratio:.3g} of it"
    if writer and recipe.scheme.depth_scaled and near(root):
        return f"{times}, so the scaling by 1/√(2·{recipe.depth}) has been left out"
    if writer and recipe.scheme.depth_scaled and near(1 / root):
        return f"{times}, so it has been scaled by 1/√(2·{recipe.depth}) twice"
    if near(1 / root):
        return f"{times}, so it has been scaled by 1/√(2·{recipe.depth}), which is not meant for this matrix"
    if abs(found * math.sqrt(3 * fan_in) - 1) < 0.05:
        return f"{times}, and what nn.Linear leaves by itself: it was not initialized again"
    if near(math.sqrt(fan_in)) or abs(found - 1) < 0.03:
        return f"{times}, so a division by √fan_in = √{fan_in} has been forgotten"
    return times


def table_mismatches(
    model: nn.Module, described: Described, stack: LayerStack, trainable: Container[str], limits: Thresholds
) -> Iterator[Finding]:
    """Tables of tokens, positions and types, and an untied output map, that are not as their scheme draws them."""
    recipe, guessed = described.recipe, described.recognized
    expected = recipe.embedding.std
    if expected is None:
        return
    table = vocabulary_of(model)
    getter = getattr(model, "get_output_embeddings", None)
    head = getter() if callable(getter) else getattr(model, "lm_head", None)
    tied = table is not None and isinstance(head, nn.Linear) and head.weight is table.weight
    for name, module in model.named_modules():
        if any(name.startswith(layer) for layer in stack.layers) or _foreign(model, name, recipe):
            continue
        if isinstance(module, nn.Embedding) and f"{name}.weight" in trainable:
            rows = module.weight
            if module.padding_idx is not None:
                rows = rows[torch.arange(len(rows), device=rows.device) != module.padding_idx]
            allowed = OTHER_TABLES if guessed and module is not table else 1 + limits.std
        elif module is head and isinstance(module, nn.Linear) and not tied:
            rows, allowed = module.weight, 1 + limits.std
        else:
            continue
        found = rows.detach().float().square().mean().sqrt().item()
        laws = [expected]
        if module is head and guessed:  # where maps are drawn by a law, a head may be drawn by it, too
            laws.append(recipe.scheme.weight(Map(rows.shape[1], rows.shape[0])).std)
        allowed += chance(rows.numel())
        if (
            not math.isfinite(found)
            or any(1 / allowed <= found / law <= allowed for law in laws)
            or found == 0
        ):
            continue
        why = f"{found / expected:.3g} times as much"
        if abs(found - 1) < 0.02 and module is not head:
            why += ", and what nn.Embedding leaves by itself"
        if tied and module is table:
            why += f"; it is tied to the output map, so logits have {(found / expected) ** 2:.3g} times the variance"
        sentence = f"{name} has std {found:.4g} where {recipe.name} has {expected:.4g}: {why}."
        yield Finding("mismatch", name, found, expected, sentence)


def _foreign(model: nn.Module, name: str, recipe: Recipe) -> bool:
    """Whether a module stands in a tower of another family."""
    config = config_of(model, name)
    family = None if config is None else BY_TYPE.get(config.model_type)
    return config is not None and (family is None or family.name != recipe.name)


def gain_mismatches(model: nn.Module, stack: LayerStack, limits: Thresholds) -> Iterator[Finding]:
    """Norms that do not multiply by 1; a gain of 0 in every layer is a design."""
    gains = {
        name: gain.mean().item() for name, m in model.named_modules() if (gain := gain_of(m)) is not None
    }
    places = {name: place_of(name, stack) for name in gains}
    zero = defaultdict(list)
    for name, place in places.items():
        if place is not None:
            zero[place[1]].append(abs(gains[name]) < 1e-6)
    for name, gain in gains.items():
        layer, part = places[name] or (None, "")
        design = layer is not None and len(zero[part]) > 1 and all(zero[part])
        if math.isfinite(gain) and abs(gain - 1) > limits.gain and not design:
            sentence = f"{name} multiplies by {gain:.4g} where norms begin at 1."
            yield Finding("mismatch", name, gain, 1.0, sentence, layer, part)


def unlike_layers(stack: LayerStack, *, ends: bool) -> Iterator[Finding]:
    """Norms that single layers lack, or have in place of nothing, where the others have them.

    Without ``ends``, the first and the last layer may lack one, as some designs do.
    """
    if len(stack.layers) < 3:
        return
    have: dict[str, dict[str, bool]] = defaultdict(dict)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for layer, module in stack.layers.items():
        for name, inner in module.named_modules():
            have[name][layer] = is_norm(inner)
            kinds[name][type(inner).__name__] += 1
    for part, norms in have.items():
        number = sum(norms.values())
        total = len(stack.layers)
        if 0 < number < total and total - number <= max(1, total // 6):
            usual = kinds[part].most_common(1)[0][0]
            for index, (layer, module) in enumerate(stack.layers.items()):
                if not norms.get(layer, False) and (ends or 0 < index < total - 1):
                    instead = dict(module.named_modules()).get(part)
                    there = "is missing" if instead is None else f"is {type(instead).__name__}"
                    name = f"{layer}.{part}"
                    said = f"{name} {there} where the other layers have {usual}."
                    yield Finding("mismatch", name, None, None, said, index, part)


def odd_layers(stack: LayerStack, limits: Thresholds) -> Iterator[Finding]:
    """Parameters of single layers whose size is not that of the same ones in the other layers.

    The others' size is one, or follows a power of the layer's number (1/√(2l)), whichever leaves fewer layers odd.
    """
    for part, members in same_parts(stack).items():
        sized = [(i, layer, size_of(p), p.numel()) for i, layer, p in members if p.numel() > 1]
        sized = [each for each in sized if math.isfinite(each[2]) and each[2] > 0]
        if len(sized) < 3:
            continue
        odd = min((_odd(sized, usual, limits) for usual in _usual(sized)), key=len)
        if len(odd) <= max(1, len(sized) // 4):
            for (index, layer, size, _), usual in odd:
                name = f"{layer}.{part}".removeprefix(".")
                said = f"{name} has size {size:.4g} (rms) where the other layers have {usual:.4g}."
                yield Finding("mismatch", owner(name), size, usual, said, index, part)


Sized = tuple[int, str, float, int]
"""A layer's number and name, the rms of its parameter, and how many entries it has."""


def _usual(sized: Sequence[Sized]) -> Iterator[list[float]]:
    """What sizes the layers should have: the same, or a power of their number."""
    yield [median(size for _, _, size, _ in sized)] * len(sized)
    if len(sized) > 3:
        places = np.log1p([index for index, _, _, _ in sized])
        slope, intercept, *_ = theilslopes(np.log([size for _, _, size, _ in sized]), places)
        yield [float(np.exp(intercept + slope * place)) for place in places]


def _odd(sized: Sequence[Sized], usual: Sequence[float], limits: Thresholds) -> list[tuple[Sized, float]]:
    odd = []
    for each, expected in zip(sized, usual, strict=True):
        allowed = limits.layer * (1 + chance(each[3]))
        if not 1 / allowed <= each[2] / expected <= allowed:
            odd.append((each, expected))
    return odd


def copied_layers(stack: LayerStack) -> bool:
    """Whether all layers start with the same values, as nn.TransformerEncoder's copies do."""
    layers = list(stack.layers.values())
    if len(layers) < 2:
        return False
    first = [p for p in layers[0].parameters() if p.ndim >= 2]
    second = [p for p in layers[1].parameters() if p.ndim >= 2]
    return len(first) == len(second) > 0 and all(
        a is not b and a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )
