"""Laws by which families draw their weights, from a config's standard deviation and number of layers."""

from __future__ import annotations

import math
from dataclasses import replace

from auxin.architecture.initialization import SCALED, SCHEMES, Map, Scheme, normal_scheme, scheme_of

CUT = 0.8796256610342398
"""Standard deviation of N(0, 1) cut at 2."""


def plain_normal(std: float, depth: int) -> Scheme:
    """N(0, std²) for every matrix."""
    return normal_scheme(std)


def depth_scaled(std: float, depth: int) -> Scheme:
    """The same, output maps of branches divided by √(2·layers) (GPT-2)."""
    return normal_scheme(std, scaled=True)


def cut_and_scaled(std: float, depth: int) -> Scheme:
    """The same of normal numbers that are cut at two standard deviations (ModernBERT)."""
    return replace(normal_scheme(CUT * std, scaled=True), words=f"N(0, {std:g}²) cut at 2·{std:g}" + SCALED)


def attention_scaled(std: float, depth: int) -> Scheme:
    """N(0, std²), attention's output map divided by √(2·layers) (NanoChat)."""
    words = f"N(0, {std:g}²), attention's output map divided by √(2·layers)"
    return scheme_of(lambda of: std * ((2 * depth) ** -0.5 if of.attention and of.branches else 1.0), words)


def clip(std: float, depth: int) -> Scheme:
    """1/√width for attention's output map, 1/√(2·width) for the MLP's first, and 1/√(2·layers·width) for the others."""

    def sigma(of: Map) -> float:
        if of.attention:
            return 1.0 if of.branches else (2 * depth) ** -0.5
        return math.sqrt(of.fan_in / (of.fan_out * 2 * depth)) if of.branches else 2**-0.5

    words = (
        "1/√width for attention's output map, √2 less for the MLP's first, √(2·layers) less for all others"
    )
    return Scheme(sigma, embedding=lambda of: std, words=words)


def xavier(std: float, depth: int) -> Scheme:
    """Xavier's, and embeddings N(0, 1/width) (SigLIP)."""
    sigma = lambda of: math.sqrt(2 * of.fan_in / (of.fan_in + of.fan_out))
    return Scheme(sigma, uniform=True, embedding=lambda of: of.fan_in**-0.5, words="xavier")


def by_fan_in(std: float, depth: int) -> Scheme:
    """N(0, 1/fan_in), queries divided by √d_h, as their description says; embeddings N(0, 1) (T5)."""
    words = "N(0, 1/fan_in), of queries N(0, 1/(fan_in·d_h))"
    return replace(SCHEMES["gaussian"], embedding=lambda of: 1.0, words=words)
