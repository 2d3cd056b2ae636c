"""Norms, cosines and gradients that a network is predicted to have, from the tokens at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auxin.architecture import Network
from auxin.probes.observe import Observation
from auxin.theory.gram import propagate_gram
from auxin.theory.profile import Profile

Array = NDArray[np.float64]

DRAWS = 64
"""Attention matrices a layer and direction: their error is a tenth of what networks of usual width scatter by."""


def predict(
    network: Network,
    gram: Array,
    causal: bool,
    width: int,
    different: Array | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Profile:
    """What a network makes of tokens of Gram matrix ``gram`` [n, n].

    ``different``, bool [n, n], marks the pairs that count for the cosine; by default all pairs. Errors are the
    standard error of the draws, and half the scatter of networks: after l layers of width d their norms, overlaps and
    gradients scatter by about √(l/d), relative, and are off the limit of infinite width by l/d.
    """
    found = propagate_gram(network, gram, causal=causal, draws=draws, seed=seed)
    n = len(gram)
    pairs = ~np.eye(n, dtype=bool) if different is None else different.astype(bool) & ~np.eye(n, dtype=bool)
    root = np.sqrt(np.einsum("lii->li", found["gram"]))
    cosines = found["gram"] / (root[:, :, None] * root[:, None])
    layers = np.arange(found.depth + 1)
    scatter, back = (np.sqrt(l / width) + l / width for l in (layers, layers[::-1]))
    cosine = cosines[:, pairs].mean(1) if pairs.any() else np.full(len(layers), np.nan)
    drawn = found.errors["norm"] / found.norm
    return Profile(
        {"norm": found.norm, "cosine": cosine, "gradient": found.gradient},
        {
            "norm": found.norm * (drawn + scatter / 2),
            "cosine": drawn + scatter / 2 * np.minimum(1, 2 * (1 - np.abs(cosine)) + 0.05),
            "gradient": found.errors["gradient"] + found.gradient * back / 2,
        },
    )


def predicted_of(seen: Observation, network: Network, seed: int = 0) -> Profile | None:
    """The prediction from the stream as it starts in a model; None where padding or inputs of zero forbid it."""
    if not seen.kept.all() or network.depth != seen.depth:
        return None
    gram, different = seen.grams[0].mean(0), None
    if seen.equal is not None and (seen.equal.sum() > seen.equal.shape[0] * seen.equal.shape[1]):
        gram, different = (
            seen.grams[0][0],
            ~seen.equal[0],
        )  # means over sequences would blur which tokens are equal
    if not (np.diag(gram) > 0).all():
        return None
    return predict(network, gram, seen.causal, seen.width, different, seed)
