"""Branch by branch: what a model's own weights make of what the branch sees, compared with what was measured.

What differs here is no weight: it is in the code (a norm that is missing, a 1/√d_h that is forgotten or taken twice,
a factor on a branch).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from auxin.architecture import MLP, Attention, Experts, LatentAttention, Sublayer
from auxin.families.description import Described
from auxin.probes.findings import Diagnostic, Thresholds
from auxin.probes.observe import Observation
from auxin.probes.residual import ObservedBranch
from auxin.probes.weights import times
from auxin.theory.gaussian import second_moment
from auxin.theory.states import Array

SMALLEST = 1e-3
"""Spread of logits below which tokens are equal up to rounding, and attention is uniform whatever the logits are."""
CHANCE = 4.0
"""Standard deviations that chance may have, of the logarithm of a spread, and of a branch's norm²: all tokens can
share one random direction, whose norm² scatters by √(2/d)."""


def strength_mismatches(seen: Observation, described: Described, limits: Thresholds) -> Iterator[Diagnostic]:
    """Skips and branches that are multiplied by another factor than the family's."""
    for branch in seen.branches:
        sublayer = described.recipe.sublayer(branch.layer, branch.kind)
        if sublayer is None:
            continue
        factors = ("skip", branch.skip, sublayer.skip), ("branch", branch.strength, sublayer.branch)
        for what, found, expected in factors:
            if abs(found / expected - 1) > limits.gain:
                usual = f"where {described.recipe.name} has {expected:g}"
                sentence = f"{branch.module}: the {what} is multiplied by {found:.4g} {usual}."
                yield Diagnostic("mismatch", branch.module, sentence, found, expected, branch.layer, what)


def branch_mismatches(seen: Observation, described: Described, limits: Thresholds) -> Iterator[Diagnostic]:
    """Branches whose logits or outputs are not of the size that their weights give them."""
    sizes = described.recipe.sizes
    for branch in seen.branches:
        name, layer = branch.module, branch.layer
        sublayer = described.recipe.sublayer(layer, branch.kind)
        if sublayer is None or branch.kind == "cross":  # which sees no stream that was measured
            continue
        expectation = _Expectation(seen, described, sublayer, layer)
        expected = expectation.spread if branch.spread is not None else None
        if branch.spread is not None and expected is not None and expected > SMALLEST:
            ratio = branch.spread / expected
            allowed = max(limits.spread, expectation.spread_by_chance)
            if not 1 / allowed <= ratio <= allowed:
                sentence = (
                    f"{name}: logits spread by {branch.spread:.4g} where its weights make {expected:.4g}: "
                    f"{times(ratio)}; look at the factor 1/√{expectation.attention.head_dim} and the norm before it."
                )
                yield Diagnostic("mismatch", name, sentence, branch.spread, expected, layer, "logits")
        expected = expectation.norm(branch)
        if expected:
            shared = sizes.key_heads != sizes.heads
            narrowest = described.recipe.maps[layer]["key"].fan_out if shared else sizes.width
            found = branch.norm / branch.strength**2
            allowed = limits.branch * math.exp(CHANCE * math.sqrt(2 / sizes.width + 2 / narrowest))
            if not 1 / allowed <= found / expected <= allowed:
                sentence = (
                    f"{name} adds norm² {found:.4g} to the stream where its weights make {expected:.4g} of what it "
                    f"should see: {times(found / expected)}; look at the norm before it."
                )
                yield Diagnostic("mismatch", name, sentence, found, expected, layer, branch.kind)


@dataclass(frozen=True)
class _Expectation:
    """What the weights of a sublayer make of the stream before its layer."""

    seen: Observation
    described: Described
    sublayer: Sublayer
    layer: int

    @property
    def attention(self) -> Attention:
        """The body of a sublayer of attention."""
        assert isinstance(self.sublayer.body, Attention)
        return self.sublayer.body

    @cached_property
    def gram(self) -> Array:
        """Of what the branch sees, [B, n, n]: cosines where a norm stands before it, else of the stream itself."""
        gram, norm = self.seen.grams[self.layer], self.sublayer.before
        if norm is None:
            return gram
        root = np.sqrt(np.einsum("bii->bi", gram))
        return norm.gain**2 * gram / np.maximum(root[:, :, None] * root[:, None], 1e-300)

    @property
    def spread(self) -> float | None:
        """Root mean variance of a row's logits over visible keys.

        With σ_Q² = std_q²·d and C the Gram matrix, E a_ij a_ij' = (σ_Q σ_K·scale)² d_h ρ(j − j') C_ii C_jj', ρ the
        mean cosine of the rotary angles (1 without them). None where a window hides part of the tokens, and of latents.
        """
        heads, gram, width = self.attention, self.gram, self.described.recipe.sizes.width
        n = gram.shape[-1]
        latent = isinstance(heads, LatentAttention)
        if (heads.window is not None and heads.window < n) or heads.alibi or latent:
            return None
        stds = [self.described.stds[role, self.layer] for role in ("query", "key")]
        dim = heads.head_dim or 1
        size = math.sqrt(dim) * (dim**-0.5 if heads.scale is None else heads.scale)
        if heads.qk_norm:
            root = np.sqrt(np.einsum("bii->bi", gram))
            norm2 = float((root**2).mean()) * width
            norms = (self.sublayer.before, self.sublayer.after, self.sublayer.stream)
            epsilon = next((norm.epsilon for norm in norms if norm is not None), 0.0)
            for std in stds:  # what is normalized may be no larger than ε
                size *= math.sqrt(std**2 * norm2 / (std**2 * norm2 + epsilon))
            gram = gram / (root[:, :, None] * root[:, None])
        else:
            size *= stds[0] * stds[1] * width
        diagonal = np.einsum("bii->bi", gram)
        turned = gram * _rotary(heads, n)
        if self.seen.causal:
            count = np.arange(1, n + 1)
            same = np.cumsum(diagonal, 1) / count
            both = np.einsum("bii->bi", turned.cumsum(1).cumsum(2)) / count**2
            variance = (diagonal * (same - both))[:, 1:]
        else:
            variance = diagonal * (diagonal.mean(1) - turned.mean((1, 2)))[:, None]
        return size * math.sqrt(max(float(variance.mean()), 0.0)) or None

    @property
    def spread_by_chance(self) -> float:
        """The factor by which weights of the right size may make a layer's logits spread more or less.

        Each head's variance is a mean over as many independent queries as the Gram matrix G of what attention sees has
        directions, (tr G)²/‖G‖²: all tokens' number where they are orthogonal, one where they are one token.
        """
        directions = np.einsum("bii->b", self.gram) ** 2 / (self.gram**2).sum((1, 2))
        independent = 2 * self.described.recipe.sizes.heads * float(directions.mean())
        return math.exp(CHANCE * math.sqrt(1 / independent))

    @property
    def _norm2(self) -> float | None:
        """Norm² of what the branch sees, where a norm says it, or the stream before the layer is what it sees."""
        layer = self.described.recipe.network.layers[self.layer]
        place = layer.sublayers.index(self.sublayer)
        if place == 0 or layer.parallel or self.sublayer.before is not None:
            return float(np.einsum("bii->bi", self.gram).mean())
        stream = layer.sublayers[place - 1].stream
        return None if stream is None else stream.gain**2

    def norm(self, branch: ObservedBranch) -> float | None:
        """Norm² that the branch's weights make of what it should see; None where that is not known."""
        if self.sublayer.after is not None or isinstance(self.sublayer.body, Experts):
            return None
        recipe, layer, body = self.described.recipe, self.layer, self.sublayer.body
        maps = recipe.maps[layer]
        gains = {role: self.described.stds[role, layer] ** 2 * of.fan_in for role, of in maps.items()}
        bias = {role: recipe.bias_std(role, layer) ** 2 for role in maps}
        if isinstance(body, MLP):
            norm2 = self._norm2
            if norm2 is None:
                return None
            up = gains["up"] * norm2
            if body.gated:
                gate = second_moment(body.activation, gains["gate"] * norm2)
                return float(gains["down"] * (up + body.shift**2) * gate)
            hidden = second_moment(body.activation, up + bias["up"])
            return float(gains["down"] * hidden) + bias["down"]
        norm = self.sublayer.before
        mixed = branch.mixed_raw if norm is None or branch.mixed is None else branch.mixed * norm.gain**2
        if mixed is None or math.isnan(mixed):
            return None
        if isinstance(body, LatentAttention):
            found = branch.mixed
            return None if found is None else gains["key_value"] * gains["out"] * found + bias["out"]
        return gains["value"] * gains["out"] * mixed + gains["out"] * bias["value"] + bias["out"]


def _rotary(heads: Attention, n: int) -> Array:
    """ρ of the distance between two keys, [n, n]."""
    if heads.rotary is None or heads.head_dim is None:
        return np.ones((n, n))
    turned = heads.rotary.turned(heads.head_dim)
    cosines = np.cos(np.arange(n)[:, None] * heads.rotary.rates(heads.head_dim)).sum(1) * 2
    distance = np.abs(np.arange(n)[:, None] - np.arange(n))
    return ((cosines + heads.head_dim - turned) / heads.head_dim)[distance]
