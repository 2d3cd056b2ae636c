"""A model's weights beside the scheme that they should be drawn from."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from statistics import median

import torch
from torch import Tensor, nn

from auxin.architecture.recipe import WRITERS, Recipe
from auxin.probes.families.laws import chance
from auxin.probes.families.modules import Matrix
from auxin.probes.families.sources import Described
from auxin.probes.findings import Finding
from auxin.probes.gains import gain_of
from auxin.probes.inputs import vocabulary_of
from auxin.probes.stack import Stack
from auxin.probes.thresholds import Thresholds
from auxin.probes.tracing import is_norm

MAY_BE_ZERO = ("pos", "cls", "mask", "token_type", "register", "lora", "relative")
"""Words in the names of tables that many models start at zero."""
ABSURD = 1e6
"""An entry that no scheme draws."""
FEW = 16
"""Entries of a tensor that are too few to be called all equal."""


def dead_tensors(model: nn.Module) -> Iterator[Finding]:
    """Parameters that are not finite, and weights of maps that are zero or whose entries are all equal."""
    for name, p in model.named_parameters():
        module = name.rpartition(".")[0] or name
        values = p.detach()
        finite = values.isfinite()
        if not bool(finite.all()):
            count = int((~finite).sum())
            said = f"{name} has {count:,} of {p.numel():,} entries NaN or infinite: never set, or overflowed."
            yield Finding("dead", module, None, None, said)
        elif p.ndim >= 2 and p.numel() >= FEW and name.endswith("weight") and not _may_be_zero(name):
            lowest, highest = values.aminmax()
            if lowest == highest:
                value = lowest.item()
                what = "zero" if value == 0 else f"{value:g}"
                said = f"{name} is {what} in every entry: no signal passes it, or all alike."
                yield Finding("dead", module, value, None, said)
            elif (size := max(-lowest.item(), highest.item())) > ABSURD:
                said = f"{name} has entries of up to {size:.3g}: memory that was never set."
                yield Finding("dead", module, size, None, said)


def _may_be_zero(name: str) -> bool:
    return any(word in name.lower() for word in MAY_BE_ZERO)


def scheme_mismatches(described: Described, stack: Stack, limits: Thresholds) -> Iterator[Finding]:
    """Maps of layers whose standard deviation is not their scheme's, beyond chance."""
    recipe = described.recipe
    shapes = Counter(m.parameter for m in described.matrices)
    for matrix in described.matrices:
        found, expected = matrix.std, recipe.std(matrix.role, matrix.layer)
        allowed = limits.std + chance(matrix.entries.numel())
        if math.isfinite(found) and found > 0 and expected > 0 and abs(found / expected - 1) > allowed:
            rows = f", its {matrix.role} part," if shapes[matrix.parameter] > 1 else ""
            why = _reason(found, expected, matrix, recipe)
            usual = f"{recipe.name} ({recipe.scheme.words}) has {expected:.4g}"
            sentence = f"{matrix.module}{rows} has std {found:.4g} where {usual}: {why}."
            yield Finding("mismatch", matrix.module, found, expected, sentence, matrix.layer, matrix.role)


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


def table_mismatches(model: nn.Module, recipe: Recipe, limits: Thresholds) -> Iterator[Finding]:
    """Token embeddings and an untied output map that are not as their scheme draws them."""
    expected = recipe.embedding.std
    if expected is None:
        return
    names = {id(module): name for name, module in model.named_modules()}
    table = vocabulary_of(model)
    tables: list[tuple[str, Tensor, nn.Module]] = []
    if table is not None:
        rows = table.weight
        if table.padding_idx is not None:
            rows = rows[torch.arange(len(rows), device=rows.device) != table.padding_idx]
        tables.append((names[id(table)], rows, table))
    getter = getattr(model, "get_output_embeddings", None)
    head = getter() if callable(getter) else getattr(model, "lm_head", None)
    tied = table is not None and isinstance(head, nn.Linear) and head.weight is table.weight
    if isinstance(head, nn.Linear) and not tied:
        tables.append((names[id(head)], head.weight, head))
    for name, weight, module in tables:
        found = weight.detach().float().square().mean().sqrt().item()
        allowed = limits.std + chance(weight.numel())
        if not math.isfinite(found) or found == 0 or abs(found / expected - 1) <= allowed:
            continue
        why = f"{found / expected:.3g} times as much"
        if abs(found - 1) < 0.02 and module is table:
            why += ", and what nn.Embedding leaves by itself"
        if tied and module is table:
            why += f"; it is tied to the output map, so logits have {(found / expected) ** 2:.3g} times the variance"
        sentence = f"{name} has std {found:.4g} where {recipe.name} has {expected:.4g}: {why}."
        yield Finding("mismatch", name, found, expected, sentence)


def gain_mismatches(model: nn.Module, limits: Thresholds) -> Iterator[Finding]:
    """Norms that do not start at gain 1."""
    for name, module in model.named_modules():
        gains = gain_of(module)
        if gains is not None and bool(gains.isfinite().all()):
            gain = gains.mean().item()
            if abs(gain - 1) > limits.gain:
                sentence = f"{name} multiplies by {gain:.4g} where norms start at 1."
                yield Finding("mismatch", name, gain, 1.0, sentence)


def unlike_layers(stack: Stack) -> Iterator[Finding]:
    """Norms that single layers lack, or have in place of nothing, beside the others."""
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
                if not norms.get(layer, False):
                    instead = dict(module.named_modules()).get(part)
                    there = "is missing" if instead is None else f"is {type(instead).__name__}"
                    name = f"{layer}.{part}"
                    said = f"{name} {there} where the other layers have {usual}."
                    yield Finding("mismatch", name, None, None, said, index, part)


def odd_layers(stack: Stack, limits: Thresholds, told: Mapping[str, object]) -> Iterator[Finding]:
    """Parameters of single layers whose size is not that of the same ones in the other layers."""
    sizes: dict[str, dict[str, tuple[int, float, int]]] = defaultdict(dict)
    for index, (layer, module) in enumerate(stack.layers.items()):
        for name, p in module.named_parameters():
            if p.ndim >= 2 or (not name.endswith("bias") and p.numel() > 1):
                size = p.detach().float().square().mean().sqrt().item()
                sizes[name][layer] = (index, size, p.numel())
    for part, each in sizes.items():
        finite = [size for _, size, _ in each.values() if math.isfinite(size)]
        if len(finite) < 3:
            continue
        usual = median(finite)
        odd = []
        for layer, (index, size, count) in each.items():
            allowed = limits.layer * (1 + chance(count))
            if usual > 0 and math.isfinite(size) and not 1 / allowed <= size / usual <= allowed:
                odd.append((layer, index, size))
        if len(odd) <= max(1, len(each) // 4):
            for layer, index, size in odd:
                module = f"{layer}.{part}".rpartition(".")[0]
                if module not in told and size > 0:
                    said = (
                        f"{layer}.{part} has size {size:.4g} (rms) where the other layers have {usual:.4g}."
                    )
                    yield Finding("mismatch", module, size, usual, said, index, part)


def copied_layers(stack: Stack) -> bool:
    """Whether all layers start with the same values, as nn.TransformerEncoder's copies do."""
    layers = list(stack.layers.values())
    if len(layers) < 2:
        return False
    first = [p for p in layers[0].parameters() if p.ndim >= 2]
    second = [p for p in layers[1].parameters() if p.ndim >= 2]
    return len(first) == len(second) > 0 and all(
        a is not b and a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )
