"""From what law the weights of a model without a config seem to be drawn: the one that most of its maps follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from auxin.architecture.initialization import SCHEMES, Map, Scheme, normal_scheme
from auxin.architecture.recipe import EmbeddingLaw, Recipe
from auxin.families.modules import Matrix

AGREEING = 0.6
"""Share of the maps that a law has to explain, to be taken as what is meant."""
TOLERANCE = 0.05
"""Relative difference of a standard deviation that still counts as explained, beside chance."""


def _law(words: str, std: Callable[[Map], float]) -> Scheme:
    return Scheme(lambda of: std(of) * math.sqrt(of.fan_in), words=words)


def _torch(of: Map) -> float:
    """nn.Linear's U(±1/√fan_in), and nn.MultiheadAttention's xavier for its joint queries, keys and values."""
    return math.sqrt(2 / (of.fan_in + of.joint)) if of.joint else 1 / math.sqrt(3 * of.fan_in)


LINEAR = replace(SCHEMES["pytorch"], words="torch's default of nn.Linear")
TORCH = replace(
    _law("torch's defaults of nn.MultiheadAttention and nn.Linear", _torch), sigma_b=LINEAR.sigma_b
)
LAWS = (
    TORCH,
    LINEAR,
    *(replace(normal_scheme(0.02, scaled=scaled), embedding=lambda _: 0.02) for scaled in (True, False)),
    _law("xavier", lambda of: math.sqrt(2 / (of.fan_in + of.fan_out))),
    _law(
        "xavier, queries, keys and values as one",
        lambda of: math.sqrt(2 / (of.fan_in + (of.joint or of.fan_out))),
    ),
    _law("N(0, 1/fan_in)", lambda of: of.fan_in**-0.5),
    _law("N(0, 2/fan_in)", lambda of: (2 / of.fan_in) ** 0.5),
)
"""Schemes that people use; of embeddings, where it is known how they go with it."""


def chance(entries: int) -> float:
    """Relative deviation of a root mean square of so many random entries that chance does not exceed.

    Six standard deviations 1/√(2N) of that of Gaussian entries: with a thousand matrices once in 10⁵ models.
    """
    return 6 / math.sqrt(2 * entries)


def likely(recipe: Recipe, found: Sequence[Matrix]) -> Recipe | None:
    """The recipe with the scheme that explains most maps; None where none explains enough."""
    best, agreeing = None, 0.0
    for scheme in LAWS:
        std = None if scheme.embedding is None else scheme.embedding(Map(recipe.sizes.width, 1))
        candidate = replace(recipe, scheme=scheme, embedding=EmbeddingLaw(std))
        explained = [
            abs(m.std / candidate.std(m.role, m.layer) - 1) <= TOLERANCE + chance(m.entries.numel())
            for m in found
        ]
        share = sum(explained) / max(len(explained), 1)
        if share > agreeing + 1e-9:
            best, agreeing = candidate, share
    return best if agreeing >= AGREEING else None
