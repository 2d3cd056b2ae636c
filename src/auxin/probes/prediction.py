"""Norms, cosines and gradients that a network is predicted to have, from the tokens at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from auxin.architecture import Network
from auxin.architecture.recipe import Recipe
from auxin.probes.observe import Observation
from auxin.theory.gram import propagate_gram
from auxin.theory.profile import Profile
from auxin.theory.states import Array

ZERO = 1e-28  # norm² that stands for that of a token of zeros
DRAWS = 64
"""Attention matrices a layer and direction: their error is a tenth of what networks of usual width scatter by."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens before the first layer of a network of a width."""

    gram: Array
    """[n, n], x_i·x_j/d."""
    causal: bool
    width: int
    memory: Array | None = None
    """[m, m], the same of another stream that attention reads."""
    shared: Array | None = None
    """[n, n], the part of ``gram`` that is along (1, …, 1), which layer norms before branches take away."""
    different: Array | None = None
    """bool [n, n], the pairs that count for the cosine; None: all pairs."""
    seed: int = 0
    """Of the Gram engine's draws."""

    @classmethod
    def of_recipe(cls, recipe: Recipe, n_tokens: int, seed: int = 0) -> Tokens | None:
        """Different tokens as a recipe embeds them; None where the stream begins with vectors or pixels."""
        if recipe.embedding.norm <= 0:
            return None
        memory, encoder = None, recipe.encoder
        if encoder is not None:
            read = cls.of_recipe(encoder, n_tokens, seed)
            if read is None:
                return None
            memory = _last(encoder, read)
        gram = recipe.embedding.gram(n_tokens)
        return cls(gram, recipe.causal, recipe.sizes.width, memory, seed=seed)

    @classmethod
    def observed(cls, seen: Observation) -> Tokens | None:
        """Those of an observation; None where padding forbids a prediction."""
        gram, different = seen.grams[0].mean(0), None
        if seen.equal is not None and seen.equal.sum() > seen.kept.size:
            gram, different = seen.grams[0][0], ~seen.equal[0]  # a mean would blur which tokens are equal
        sequences = slice(None) if different is None else slice(1)
        memory = None if seen.memory is None else seen.memory[sequences].mean(0)
        means = seen.means[sequences]
        shared = (means[:, :, None] * means[:, None]).mean(0)
        unread = memory is None and any(branch.kind == "cross" for branch in seen.branches)
        if not seen.kept.all() or unread:
            return None
        gram = gram + np.diag(np.where(np.diag(gram) == 0, ZERO, 0.0))
        return cls(gram, seen.causal, seen.width, memory, shared, different)


def _last(recipe: Recipe, tokens: Tokens) -> Array:
    """The Gram matrix that a recipe's layers and its final norm make of tokens."""
    found = propagate_gram(recipe.drawn, tokens.gram, causal=tokens.causal, draws=DRAWS, seed=tokens.seed)
    gram, final = found["gram"][-1], recipe.network.final
    root = np.ones(len(gram)) if final is None else np.sqrt(np.diag(gram) + final.epsilon)
    return gram / np.outer(root, root)


def predict(network: Network, tokens: Tokens, draws: int = DRAWS) -> Profile:
    """What a network makes of tokens.

    Errors are the standard error of the draws, and half the scatter of networks: after l layers of width d their
    norms, overlaps and gradients scatter by about √(l/d), relative, and are off the limit of infinite width by l/d.
    """
    shared = 0.0 if tokens.shared is None or not _centers(network) else tokens.shared
    settings: Any = {"causal": tokens.causal, "memory": tokens.memory, "draws": draws, "seed": tokens.seed}
    found = propagate_gram(network, tokens.gram - shared, **settings)
    pairs = ~np.eye(len(tokens.gram), dtype=bool)
    if tokens.different is not None:
        pairs &= tokens.different.astype(bool)
    grams = found["gram"] + shared
    root = np.sqrt(np.einsum("lii->li", grams))
    norm = (root**2).mean(1)
    cosines = grams / (root[:, :, None] * root[:, None])
    layers = np.arange(found.depth + 1)
    scatter, back = (np.sqrt(l / tokens.width) + l / tokens.width for l in (layers, layers[::-1]))
    cosine = cosines[:, pairs].mean(1) if pairs.any() else np.full(len(layers), np.nan)
    drawn = found.errors["norm"] / found.norm
    return Profile(
        {"norm": norm, "cosine": cosine, "gradient": found.gradient},
        {
            "norm": norm * (drawn + scatter / 2),
            "cosine": drawn + scatter / 2 * np.minimum(1, 2 * (1 - np.abs(cosine)) + 0.05),
            "gradient": found.errors["gradient"] + found.gradient * back / 2,
        },
    )


def _centers(network: Network) -> bool:
    """Whether every branch stands behind a layer norm, and the stream behind none."""
    sublayers = [sublayer for layer in network.layers for sublayer in layer.sublayers]
    return all(s.before is not None and s.before.kind == "layer" and s.stream is None for s in sublayers)
