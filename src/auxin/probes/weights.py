"""A model's weights, parameter by parameter, compared with what they should be drawn from."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from auxin.architecture.initialization import Map
from auxin.architecture.recipe import WRITERS, Recipe
from auxin.families.description import Described, config_of
from auxin.families.layers import LayerStack, pair_of
from auxin.families.matrices import chance, size_of
from auxin.families.table import BY_TYPE
from auxin.probes.findings import Diagnostic, Thresholds
from auxin.probes.inputs import vocabulary_of
from auxin.probes.laws import Law, Reference, ties_of
from auxin.probes.residual import is_norm

OTHER_TABLES = 3.0
"""Factor between the std of a table that is added to the tokens' and theirs, where the scheme is only recognized."""
NEAR = 0.2
"""Distance from 1 (rms) up to which a vector is a gain, where neither a norm nor a fresh draw says it."""


@dataclass(frozen=True)
class Subject:
    """A model that is checked, and what its check knows before it runs."""

    model: nn.Module
    stack: LayerStack
    trainable: set[str]
    """Names of the parameters that are trained."""
    limits: Thresholds
    branch: float
    """Factor by which output maps of branches are rescaled on purpose."""


def owner(name: str) -> str:
    """The module of a parameter; the parameter itself where it is the model's own."""
    return name.rpartition(".")[0] or name


def times(ratio: float) -> str:
    """A factor in words."""
    return f"{ratio:.3g} times as much" if ratio > 1 else f"1/{1 / ratio:.3g} of it"


def _cause(found: float, expected: float, fan_in: int, depth: int, scaled: bool | None = None) -> str:
    """What may have happened, by the size of a factor; ``scaled``: whether a known scheme divides it by √(2·depth)."""
    ratio, root, scaling = found / expected, math.sqrt(2 * depth), f"1/√(2·{depth})"
    near = lambda value, other: abs(value / other - 1) < 0.06
    linear = fan_in > 0 and near(found, 1 / math.sqrt(3 * fan_in))
    if scaled is None:
        causes = {
            ", and what nn.Embedding leaves by itself": fan_in > 0 and near(found, 1.0),
            ", and what nn.Linear leaves by itself": linear,
            f", so a scaling by {scaling} may have been left out": near(ratio, root),
            f", so it may have been scaled by {scaling}": near(ratio, 1 / root),
        }
    else:
        causes = {
            f", so the scaling by {scaling} has been left out": scaled and near(ratio, root),
            f", so it has been scaled by {scaling} twice": scaled and near(ratio, 1 / root),
            f", so it has been scaled by {scaling}, which is not meant for this matrix": near(
                ratio, 1 / root
            ),
            ", and what nn.Linear leaves by itself: it was not initialized again": linear,
            f", so a division by √fan_in = √{fan_in} has been forgotten": near(ratio, fan_in**0.5)
            or near(found, 1),
        }
    return next((words for words, holds in causes.items() if holds), "")


def scheme_mismatches(
    subject: Subject, described: Described, agreed: Collection[str] = ()
) -> Iterator[Diagnostic]:
    """Maps of layers whose standard deviation is not their scheme's, beyond chance.

    Of a scheme that most maps follow, a map that its class draws so (``agreed``) is a design, or a slip that is known.
    """
    recipe, limits = described.recipe, subject.limits
    shares = Counter(m.parameter for m in described.matrices)
    divided = _divided_by_layer(described, limits)
    for m in described.matrices:
        expected = recipe.std(m.role, m.layer)
        allowed = limits.std + chance(m.entries.numel())
        if m.role in divided or not math.isfinite(m.std) or not m.std > 0 or not expected > 0:
            continue
        if abs(m.std / expected - 1) > allowed:
            rows = f", its {m.role} part," if shares[m.parameter] > 1 else ""
            scaled = m.role in WRITERS and recipe.scheme.depth_scaled
            cause = _cause(m.std, expected, m.entries.shape[1], recipe.depth, scaled)
            of = recipe.maps[m.layer][m.role]
            turned = recipe.scheme.weight(replace(of, fan_in=of.fan_out, fan_out=of.fan_in)).std
            if not cause and abs(turned / expected - 1) > allowed and abs(m.std / turned - 1) <= allowed:
                cause = ", so fan_in and fan_out have been exchanged"
            if not cause and described.recognized and m.module in agreed:
                continue
            why = times(m.std / expected) + cause
            usual = f"{recipe.name} ({recipe.scheme.words}) has {expected:.4g}"
            name = m.module if m.parameter == f"{m.module}.weight" else m.parameter
            sentence = f"{name}{rows} has std {m.std:.4g} where {usual}: {why}."
            yield Diagnostic("mismatch", m.module, sentence, m.std, expected, m.layer, m.role)


def _divided_by_layer(described: Described, limits: Thresholds) -> set[str]:
    """Output maps that are divided by √(2l) in layer l, from 1, as Megatron and torchtitan draw them."""
    recipe = described.recipe
    fits: dict[str, list[bool]] = defaultdict(list)
    for m in described.matrices if described.recognized else ():
        if m.role in WRITERS:
            scaled = math.sqrt(2 * recipe.depth) if recipe.scheme.depth_scaled else 1.0
            ratio = m.std / (recipe.std(m.role, m.layer) * scaled) * math.sqrt(2 * (m.layer + 1))
            fits[m.role].append(abs(ratio - 1) <= limits.std + chance(m.entries.numel()))
    return {role for role, fit in fits.items() if sum(fit) >= 0.75 * len(fit)}


def table_mismatches(subject: Subject, described: Described) -> Iterator[Diagnostic]:
    """Tables of tokens, positions and types, and an untied output map, that are not as their scheme draws them."""
    model, limits = subject.model, subject.limits
    recipe, guessed = described.recipe, described.recognized
    expected = recipe.embedding.std
    if expected is None:
        return
    table, head = vocabulary_of(model), _head(model)
    tied = table is not None and isinstance(head, nn.Linear) and head.weight is table.weight
    layers = tuple(layer for stack in (subject.stack, *pair_of(model)) for layer in stack.layers)
    for name, module in model.named_modules():
        if name.startswith(layers) or _foreign(model, name, recipe):
            continue
        schemes = [expected]
        if isinstance(module, nn.Embedding) and f"{name}.weight" in subject.trainable:
            rows = module.weight
            if module.padding_idx is not None:
                rows = rows[torch.arange(len(rows), device=rows.device) != module.padding_idx]
            allowed = OTHER_TABLES if guessed and module is not table else 1 + limits.std
        elif module is head and isinstance(module, nn.Linear) and not tied:
            rows, allowed = module.weight, 1 + limits.std
            if guessed:  # where maps are drawn by a scheme, a head may be drawn by it, too
                schemes.append(recipe.scheme.weight(Map(rows.shape[1], rows.shape[0])).std)
        else:
            continue
        found = size_of(rows)
        allowed += chance(rows.numel())
        usual = any(1 / allowed <= found / std <= allowed for std in schemes)
        if usual or found == 0 or not math.isfinite(found):
            continue
        why = f"{found / expected:.3g} times as much"
        if abs(found - 1) < 0.02 and module is not head:
            why += ", and what nn.Embedding leaves by itself"
        if tied and module is table:
            why += f"; it is tied to the output map, so logits have {(found / expected) ** 2:.3g} times the variance"
        sentence = f"{name} has std {found:.4g} where {recipe.name} has {expected:.4g}: {why}."
        yield Diagnostic("mismatch", name, sentence, found, expected)


def _head(model: nn.Module) -> object:
    getter = getattr(model, "get_output_embeddings", None)
    return getter() if callable(getter) else getattr(model, "lm_head", None)


def _foreign(model: nn.Module, name: str, recipe: Recipe) -> bool:
    """Whether a module stands in a tower of another family."""
    config = config_of(model, name)
    family = None if config is None else BY_TYPE.get(config.model_type)
    return config is not None and (family is None or family.name != recipe.name)


def gain_of(module: nn.Module) -> Tensor | None:
    """A norm's gain γ, [d], also where it multiplies by 1 + weight; None for what is no norm of vectors of even length.

    That is its output for x = (1, −1, 1, −1, …), whose mean is 0 and norm² 1, times x. A norm is called one, or does
    not see the size of x.
    """
    named = is_norm(module)
    lines = [p for p in module.parameters(recurse=False) if p.ndim == 1 and len(p) > 1]
    if not lines or (not named and any(p.ndim > 1 for p in module.parameters())) or len(lines[0]) % 2:
        return None
    x = torch.ones_like(lines[0])
    x[1::2] = -1
    try:
        with torch.no_grad():
            outputs = [module.forward(scale * x.view(1, 1, -1)) for scale in (1, -1, 2)]
    except Exception:  # of norms that take more than the stream
        return None
    if any(not isinstance(output, Tensor) or output.numel() != len(x) for output in outputs):
        return None
    output, flipped, twice = (output.flatten().float() for output in outputs)
    gain = (output - flipped) / 2 * x.float()  # without the bias
    sizeless = bool(gain.any()) and torch.allclose(output, twice, rtol=1e-2, atol=1e-3)
    return gain if named or sizeless else None


def moved_gains(subject: Subject, reference: Reference | None) -> bool:
    """Whether most gains differ from entry to entry, and are more than noise about 0, as only training leaves them."""
    norms = {name: gain for name, m in subject.model.named_modules() if (gain := gain_of(m)) is not None}
    gains = list(norms.values())
    for name, p in subject.model.named_parameters():
        if p.ndim == 1 and len(p) > 1 and owner(name) not in norms:
            gain, law = p.detach().float(), None if reference is None else reference.laws.get(name)
            near = float((gain - 1).square().mean()) < NEAR**2
            gains += [gain] if (near if law is None else law.constant and law.size > 0) else []
    varied = lambda g: (g - g.mean()).abs().max() > 1e-4 * g.abs().max() and g.mean() > g.std()
    return sum(bool(varied(gain)) for gain in gains) > max(1, len(gains) / 2)


def _gains(subject: Subject) -> dict[str, tuple[float, list[float]]]:
    """Mean gain of every norm by name, and the gains of the same part of all layers."""
    norms = {n: m for n, m in subject.model.named_modules() if is_norm(m) and hasattr(m, "weight")}
    gains = {name: g.mean().item() for name, m in norms.items() if (g := gain_of(m)) is not None}
    by_part: dict[str, list[float]] = defaultdict(list)
    for name, gain in gains.items():
        layer, part = subject.stack.place(name)
        by_part[part] += [gain] if layer is not None else []
    return {name: (gain, by_part[subject.stack.place(name)[1]]) for name, gain in gains.items()}


def rescaled_norms(subject: Subject) -> set[str]:
    """The norms after branches, where most multiply by the caller's factor, as ``rescale_`` leaves them."""
    if subject.branch == 1:
        return set()
    near = lambda gain: abs(gain - subject.branch) <= subject.limits.gain * subject.branch
    most = lambda others: 2 * sum(map(near, others)) > len(others)
    return {name for name, (_, others) in _gains(subject).items() if most(others)}


def gain_mismatches(subject: Subject) -> Iterator[Diagnostic]:
    """Norms that do not multiply by 1, or by the factor of rescaled branches; 0 in every layer is a design."""
    rescaled = rescaled_norms(subject)
    for name, (gain, others) in _gains(subject).items():
        expected = subject.branch if name in rescaled else 1.0
        design = len(others) > 1 and all(abs(other) < 1e-6 for other in others)
        if math.isfinite(gain) and abs(gain - expected) > subject.limits.gain * expected and not design:
            begin = "the norms of rescaled branches are at" if name in rescaled else "norms begin at"
            sentence = f"{name} multiplies by {gain:.4g} where {begin} {expected:g}."
            layer, part = subject.stack.place(name)
            yield Diagnostic("mismatch", name, sentence, gain, expected, layer, part)


def divisors(described: Described | None) -> dict[str, float]:
    """√(2·layers) by output map, where most maps follow a scheme that divides them by it."""
    if described is None or not described.recognized or not described.recipe.scheme.depth_scaled:
        return {}
    maps = described.recipe.maps
    writers = (m for m in described.matrices if m.role in WRITERS)
    return {m.parameter: math.sqrt(maps[m.layer][m.role].branches) for m in writers}


def reference_mismatches(
    subject: Subject, reference: Reference, here: Mapping[str, Law], divided: Mapping[str, float]
) -> Iterator[Diagnostic]:
    """Tensors, of the laws ``here``, that are not as the reference's, or these ``divided`` by numbers, beyond chance.

    What is zero where the reference is random is left to the layers' own comparison: in all layers it is a design.
    """
    rescaled = rescaled_norms(subject)
    buffers = {name for name, _ in subject.model.named_buffers()}
    for name, found in here.items():
        law = reference.laws.get(name)
        if law is None or found.shape != law.shape or (found.size == 0 and law.entries is None):
            continue
        settings = subject.limits, reference.draws, subject.branch
        laws = law, law.times(1 / divided.get(name, 1.0))
        difference, rest = (found.difference(of, *settings) for of in laws)
        if difference is not None and rest is not None and owner(name) not in rescaled:
            measured, expected = difference
            what, why = f"{name}, a buffer," if name in buffers else name, ""
            if name not in buffers and found.size and law.size and abs(found.size / law.size - 1) > 0.06:
                fan_in = law.shape[-1] if len(law.shape) > 1 else 0
                cause = _cause(found.size, law.size, fan_in, len(subject.stack.layers))
                why = f": {times(found.size / law.size)}{cause}"
            sentence = f"{what} {measured} where {reference.name} {expected}{why}."
            layer, part = subject.stack.place(name)
            yield Diagnostic("mismatch", owner(name), sentence, found.size, law.size, layer, part)


def missing_norms(subject: Subject, reference: Reference) -> Iterator[Diagnostic]:
    """Norms that the reference has and the model lacks, or has something else in place of."""
    modules = dict(subject.model.named_modules())
    for name, kind in reference.norms.items():
        instead = modules.get(name)
        if instead is None or isinstance(instead, nn.Identity):
            there = "missing" if instead is None else "Identity"
            sentence = f"{name} is {there} where {reference.name} has {kind}."
            layer, part = subject.stack.place(name)
            yield Diagnostic("mismatch", name, sentence, layer=layer, part=part)


def tie_mismatches(subject: Subject, reference: Reference) -> Iterator[Diagnostic]:
    """Parameters that are one tensor here and two in the reference, or the other way round."""
    here = ties_of(subject.model)
    names = {name for name, _ in subject.model.named_parameters(remove_duplicate=False)}
    for name, other in reference.ties.items():
        if name in names and other in names and name not in here:
            sentence = f"{name} is not tied to {other}, as in {reference.name}."
            yield Diagnostic("mismatch", owner(name), sentence)
    for name, other in here.items():
        if name in reference.laws and other in reference.laws and name not in reference.ties:
            sentence = f"{name} is tied to {other}, unlike in {reference.name}."
            yield Diagnostic("mismatch", owner(name), sentence)
