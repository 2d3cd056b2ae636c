"""Norms, cosines and gradients that a network is predicted to have, from the tokens at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auxin.architecture import Network
from auxin.probes.observe import Observation
from auxin.theory.gram import propagate_gram

Array = NDArray[np.float64]

DRAWS = 64
"""Attention matrices a layer and direction: their error is a tenth of what networks of usual width scatter by."""


@dataclass(frozen=True)
class Prediction:
    """As an ``Observation`` measures it, [depth + 1] each, with half the width of a band in which networks lie."""

    norm: Array
    cosine: Array
    gradient: Array
    """Relative to the output's."""
    norm_band: Array
    cosine_band: Array
    gradient_band: Array

    @property
    def angle_total(self) -> float:
        """log (1 − c_L)/(1 − c_0): how far the tokens at hand come together (below 0) or apart."""
        return angle_total(self.cosine)

    @property
    def gradient_total(self) -> float:
        """log of the growth of squared gradients from output to input."""
        return float(np.log(self.gradient[0]))


def angle_total(cosine: Array) -> float:
    """log (1 − c_L)/(1 − c_0)."""
    return float(np.log(np.maximum(1 - cosine[-1], 1e-15) / np.maximum(1 - cosine[0], 1e-15)))


def predict(
    network: Network,
    gram: Array,
    causal: bool,
    width: int,
    different: Array | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Prediction:
    """What a network makes of tokens of Gram matrix ``gram`` [n, n].

    ``different``, bool [n, n], marks the pairs that count for the cosine; by default all pairs. The band is ±2
    standard errors of the draws, and of networks: behind l layers of width d their norms, overlaps and gradients
    scatter by about √(l/d), relative, and are off the limit of infinite width by l/d.
    """
    found = propagate_gram(network, gram, causal=causal, draws=draws, seed=seed)
    n = len(gram)
    pairs = ~np.eye(n, dtype=bool) if different is None else different.astype(bool) & ~np.eye(n, dtype=bool)
    root = np.sqrt(np.einsum("lii->li", found.gram))
    cosines = found.gram / (root[:, :, None] * root[:, None])
    norm = np.einsum("lii->l", found.gram) / n
    gradient = np.einsum("lii->l", found.gradient) / n
    relative = [
        np.einsum("lii->l", error) / np.einsum("lii->l", value)
        for value, error in ((found.gram, found.gram_error), (found.gradient, found.gradient_error))
    ]
    layers = np.arange(len(norm))
    scatter, back = (np.sqrt(l / width) + l / width for l in (layers, layers[::-1]))
    cosine = cosines[:, pairs].mean(1) if pairs.any() else np.full(len(norm), np.nan)
    return Prediction(
        norm=norm,
        cosine=cosine,
        gradient=gradient / gradient[-1],
        norm_band=norm * (2 * relative[0] + scatter),
        cosine_band=2 * relative[0] + scatter * np.minimum(1, 2 * (1 - np.abs(cosine)) + 0.05),
        gradient_band=gradient / gradient[-1] * (2 * relative[1] + back),
    )


def predicted_of(seen: Observation, network: Network, seed: int = 0) -> Prediction | None:
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
