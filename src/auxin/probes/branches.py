"""Branch by branch: what a model's own weights make of what the branch sees, beside what it was seen to do.

What differs here is no weight: it is in the code (a norm that is missing, a 1/√d_h that is forgotten or taken twice,
a factor on a branch).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from auxin.architecture import MLP, Attention, Sublayer
from auxin.architecture.recipe import Recipe
from auxin.probes.findings import Finding
from auxin.probes.observe import Observation
from auxin.probes.thresholds import Thresholds
from auxin.probes.tracing import Branch
from auxin.theory.gaussian import second_moment

Array = NDArray[np.float64]
SMALLEST = 1e-3
"""Spread of logits below which tokens are equal up to rounding, and attention is uniform whatever the logits are."""
CHANCE = 4.0
"""Standard deviations that chance may have, of the logarithm of a spread, and of a branch's norm²: all tokens can
share one random direction, whose norm² scatters by √(2/d)."""
Std = Mapping[tuple[str, int], float]


def branch_mismatches(seen: Observation, recipe: Recipe, std: Std, limits: Thresholds) -> Iterator[Finding]:
    """Branches whose logits or outputs are not of the size that their weights give them."""
    for branch in seen.branches:
        if branch.kind == "cross":  # what it sees is no stream that was measured
            continue
        name, layer, described = branch.module, branch.layer, recipe.sublayer(branch.layer, branch.kind)
        if described is None:
            continue
        expected = None if branch.spread is None else logit_spread(seen, recipe, std, layer)
        if branch.spread is not None and expected is not None and expected > SMALLEST:
            ratio = branch.spread / expected
            allowed = max(limits.spread, spread_by_chance(seen, recipe, layer))
            if not 1 / allowed <= ratio <= allowed:
                dimensions = _attention(recipe, layer)[1].head_dim
                said = (
                    f"{name}: logits spread by {branch.spread:.4g} where its weights make {expected:.4g}: "
                    f"{_times(ratio)}; look at the factor 1/√{dimensions} and the norm before it."
                )
                yield Finding("mismatch", name, branch.spread, expected, said, layer, "logits")
        expected = branch_norm(branch, described, recipe, std)
        if expected:
            narrow = _narrowest(recipe, layer)
            found = branch.norm / branch.strength**2
            ratio = found / expected
            allowed = limits.branch * math.exp(CHANCE * math.sqrt(2 / recipe.sizes.width + 2 / narrow))
            if not 1 / allowed <= ratio <= allowed:
                said = (
                    f"{name} adds norm² {found:.4g} to the stream where its weights make {expected:.4g} of what it "
                    f"should see: {_times(ratio)}; look at the norm before it."
                )
                yield Finding("mismatch", name, found, expected, said, layer, branch.kind)


def strength_mismatches(seen: Observation, recipe: Recipe, limits: Thresholds) -> Iterator[Finding]:
    """Skips and branches that are multiplied by another factor than the family's."""
    for branch in seen.branches:
        described = None if branch.kind == "cross" else recipe.sublayer(branch.layer, branch.kind)
        if described is None:
            continue
        factors = ("skip", branch.skip, described.skip), ("branch", branch.strength, described.branch)
        for what, found, expected in factors:
            if abs(found / expected - 1) > limits.gain:
                usual = f"where {recipe.name} has {expected:g}"
                said = f"{branch.module}: the {what} is multiplied by {found:.4g} {usual}."
                yield Finding("mismatch", branch.module, found, expected, said, branch.layer, what)


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times as much" if ratio > 1 else f"1/{1 / ratio:.3g} of it"


def logit_spread(seen: Observation, recipe: Recipe, std: Std, layer: int) -> float | None:
    """Root mean variance of a row's logits over visible keys, from the Gram matrix of what attention sees.

    With σ_Q² = std_q²·d and C that matrix, E a_ij a_ij' = (σ_Q σ_K·scale)² d_h ρ(j − j') C_ii C_jj', ρ the mean
    cosine of the rotary angles (1 without them). None where a window hides part of the tokens.
    """
    _, heads = _attention(recipe, layer)
    assert heads.head_dim is not None
    hidden = heads.window is not None and heads.window < seen.grams.shape[-1]
    if hidden or heads.alibi:
        return None
    gram = _attention_sees(seen.grams[layer], recipe, layer)
    scale = heads.head_dim**-0.5 if heads.scale is None else heads.scale
    size = scale * math.sqrt(heads.head_dim)
    if heads.qk_norm:
        root = np.sqrt(np.einsum("bii->bi", gram))
        norm2 = float((root**2).mean()) * recipe.sizes.width
        for role in ("query", "key"):  # what is normalized may be no larger than ε
            norm2_role = std[role, layer] ** 2 * norm2
            size *= math.sqrt(norm2_role / (norm2_role + _epsilon(recipe, layer)))
        gram = gram / (root[:, :, None] * root[:, None])
    else:
        size *= std["query", layer] * std["key", layer] * recipe.sizes.width
    diagonal = np.einsum("bii->bi", gram)
    turned = gram * _rotary(heads, gram.shape[-1])
    n = np.arange(1, gram.shape[-1] + 1)
    if seen.causal:
        own = np.cumsum(diagonal, 1) / n
        both = np.einsum("bii->bi", turned.cumsum(1).cumsum(2)) / n**2
        variance = (diagonal * (own - both))[:, 1:]
    else:
        variance = diagonal * (diagonal.mean(1) - turned.mean((1, 2)))[:, None]
    return size * math.sqrt(max(float(variance.mean()), 0.0)) or None


def spread_by_chance(seen: Observation, recipe: Recipe, layer: int) -> float:
    """The factor by which weights of the right size may make a layer's logits spread more or less.

    Each head's variance is a mean over as many independent queries as the Gram matrix G of what attention sees has
    directions, (tr G)²/‖G‖²: all tokens' number where they are orthogonal, one where they are one token.
    """
    gram = _attention_sees(seen.grams[layer], recipe, layer)
    directions = np.einsum("bii->b", gram) ** 2 / (gram**2).sum((1, 2))
    return math.exp(CHANCE * math.sqrt(1 / (2 * recipe.sizes.heads * float(directions.mean()))))


def _attention(recipe: Recipe, layer: int) -> tuple[Sublayer, Attention]:
    described = recipe.sublayer(layer, "attention")
    assert described is not None
    assert isinstance(described.body, Attention)
    return described, described.body


def _narrowest(recipe: Recipe, layer: int) -> int:
    """Dimensions of all keys of a layer together, where they are shared by heads; else the width."""
    sizes = recipe.sizes
    return sizes.width if sizes.key_heads == sizes.heads else recipe.maps[layer]["key"].fan_out


def _epsilon(recipe: Recipe, layer: int) -> float:
    described, _ = _attention(recipe, layer)
    norms = (described.before, described.after, described.stream)
    return next((norm.epsilon for norm in norms if norm is not None), 0.0)


def _attention_sees(gram: Array, recipe: Recipe, layer: int) -> Array:
    """Cosines where a norm stands before attention, else the stream's own Gram matrix."""
    if _attention(recipe, layer)[0].before is None:
        return gram
    root = np.sqrt(np.einsum("bii->bi", gram))
    return gram / np.maximum(root[:, :, None] * root[:, None], 1e-300)


def _rotary(heads: Attention, n: int) -> Array:
    """ρ of the distance between two keys, [n, n]."""
    if heads.rotary is None or heads.head_dim is None:
        return np.ones((n, n))
    turned = heads.rotary.turned(heads.head_dim)
    cosines = np.cos(np.arange(n)[:, None] * heads.rotary.rates(heads.head_dim)).sum(1) * 2
    distance = np.abs(np.arange(n)[:, None] - np.arange(n))
    return ((cosines + heads.head_dim - turned) / heads.head_dim)[distance]


def branch_norm(branch: Branch, described: Sublayer, recipe: Recipe, std: Std) -> float | None:
    """Norm² that the branch's weights make of what it should see; None where that is not known."""
    if described.after is not None:
        return None
    layer, body, maps = branch.layer, described.body, recipe.maps[branch.layer]
    gains = {role: std[role, layer] ** 2 * of.fan_in for role, of in maps.items()}
    bias = {role: recipe.bias_std(role, layer) ** 2 for role in maps}
    if isinstance(body, MLP):
        activation = body.activation
        if body.gated:
            return float(gains["down"] * gains["up"] * second_moment(activation, gains["gate"]))
        return float(gains["down"] * second_moment(activation, gains["up"] + bias["up"])) + bias["down"]
    mixed = branch.mixed_raw if described.before is None else branch.mixed
    if mixed is None or math.isnan(mixed):
        return None
    return gains["value"] * gains["out"] * mixed + gains["out"] * bias["value"] + bias["out"]
