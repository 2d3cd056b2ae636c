"""The layers of a model compared with each other."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from statistics import median

import numpy as np
import torch
from scipy.stats import theilslopes
from torch import nn

from auxin.families.layers import LayerStack
from auxin.families.matrices import chance, is_zero, size_of
from auxin.probes.findings import Diagnostic, Thresholds
from auxin.probes.laws import equal, equal_pairs, varied
from auxin.probes.residual import is_norm
from auxin.probes.weights import owner


def parts_of(stack: LayerStack) -> dict[str, list[tuple[int, str, nn.Parameter]]]:
    """The layers' parameters by their place in a layer and their shape: number of the layer, name, parameter."""
    shapes: dict[tuple[str, tuple[int, ...]], list[tuple[int, str, nn.Parameter]]] = defaultdict(list)
    for index, (layer, module) in enumerate(stack.layers.items()):
        for part, p in module.named_parameters():
            shapes[part, tuple(p.shape)].append((index, f"{layer}.{part}".removeprefix("."), p))
    return {part: members for (part, _), members in shapes.items() if len(members) > 1}


def unlike_layers(stack: LayerStack, *, ends: bool) -> Iterator[Diagnostic]:
    """Norms that single layers lack, where the others have them; without ``ends`` the outer layers may."""
    total = len(stack.layers)
    have: dict[str, set[str]] = defaultdict(set)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for layer, module in stack.layers.items():
        for part, inner in module.named_modules():
            kinds[part][type(inner).__name__] += 1
            have[part] |= {layer} if is_norm(inner) else set()
    for part, layers in have.items():
        if total < 3 or not 0 < len(layers) < total or total - len(layers) > max(1, total // 6):
            continue
        usual = kinds[part].most_common(1)[0][0]
        for index, (layer, module) in enumerate(stack.layers.items()):
            if layer not in layers and (ends or 0 < index < total - 1):
                instead = dict(module.named_modules()).get(part)
                there = "is missing" if instead is None else f"is {type(instead).__name__}"
                sentence = f"{layer}.{part} {there} where the other layers have {usual}."
                yield Diagnostic("mismatch", f"{layer}.{part}", sentence, layer=index, part=part)


def zeros_in_some(stack: LayerStack) -> Iterator[Diagnostic]:
    """Parameters that are zero in some layers and not in the others; the fewer are named."""
    for part, members in parts_of(stack).items():
        zero = [member for member in members if is_zero(member[2])]
        others = [member for member in members if not is_zero(member[2])]
        if not zero or not others:
            continue
        odd, size = (zero, size_of(others[0][2])) if len(zero) <= len(others) else (others, 0.0)
        for index, name, p in odd:
            found = size_of(p)
            there = "is zero in every entry" if found == 0 else f"has size {found:.4g} (rms)"
            sentence = f"{name} {there} where the other layers have {size:.4g}."
            yield Diagnostic("mismatch", owner(name), sentence, found, size, index, part)


def odd_layers(stack: LayerStack, limits: Thresholds) -> Iterator[Diagnostic]:
    """Parameters of single layers whose size is not the others': one, or a power of the layer's number (1/√(2l))."""
    for part, members in parts_of(stack).items():
        sized = [(index, name, size_of(p)) for index, name, p in members if p.numel() > 1]
        sized = [member for member in sized if 0 < member[2] < math.inf]
        if len(sized) < 3:
            continue
        sizes = np.array([size for _, _, size in sized])
        usual = [np.full(len(sized), median(sizes))]
        if len(sized) > 3:
            places = np.log1p([index for index, _, _ in sized])
            slope, intercept, *_ = theilslopes(np.log(sizes), places)
            usual.append(np.exp(intercept + slope * places))
        allowed = limits.layer * (1 + chance(members[0][2].numel()))
        odd, expected = min(
            ((np.flatnonzero(~((1 / allowed <= sizes / of) & (sizes / of <= allowed))), of) for of in usual),
            key=lambda pair: len(pair[0]),
        )
        for place in odd if len(odd) <= max(1, len(sized) // 4) else ():
            (index, name, size), other = sized[place], float(expected[place])
            sentence = f"{name} has size {size:.4g} (rms) where the other layers have {other:.4g}."
            yield Diagnostic("mismatch", owner(name), sentence, size, other, index, part)


def copies(stack: LayerStack) -> Iterator[Diagnostic]:
    """Layers that have the matrices of another one; nothing where all layers are copies."""
    drawn = {part: members for part, members in parts_of(stack).items() if varied(members[0][2])}
    sources: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for part, members in drawn.items():
        if len(members) == len(stack.layers) and all(equal(members[0][2], p) for _, _, p in members[1:]):
            continue
        for place, (index, _, p) in enumerate(members):
            source = next((i for i, _, other in members[:place] if equal(other, p)), None)
            if source is not None:
                sources[index][source].append(part)
    names = list(stack.layers)
    for index, found in sources.items():
        own = sum(any(index == i for i, _, _ in members) for members in drawn.values())
        for source, parts in found.items():
            whole = len(parts) == own
            name = names[index] if whole else owner(f"{names[index]}.{parts[0]}")
            count = f"{len(parts)} of {own} matrices"
            sentence = f"{name} has the weights of {names[source]} in {count}: a copy."
            yield Diagnostic("mismatch", name, sentence, layer=index, part=f"copy of {source}")


def copied_parts(stack: LayerStack, usual: Container[str]) -> Iterator[Diagnostic]:
    """Matrices of a layer that are another one's of the same layer, but those that ``usual``ly are copies."""
    for index, (layer, module) in enumerate(stack.layers.items()):
        for part, other in equal_pairs(module):
            name, source = (f"{layer}.{p}".removeprefix(".") for p in (part, other))
            if name not in usual:
                sentence = f"{name} has the entries of {source}: a copy."
                yield Diagnostic("mismatch", owner(name), sentence, layer=index, part=part)


def all_copies(stack: LayerStack) -> bool:
    """Whether all layers begin with the same values, as nn.TransformerEncoder's copies do."""
    layers = [[p for p in m.parameters() if p.ndim >= 2] for m in list(stack.layers.values())[:2]]
    if len(layers) < 2 or not len(layers[0]) == len(layers[1]) > 0:
        return False
    return all(a is not b and torch.equal(a, b) for a, b in zip(*layers, strict=True))
