"""How weights are drawn, once for all: the models draw from it, and the theory's σ's are what it amounts to.

A part says what maps it has (its ``maps``) and what σ's it has with given ones (``with_sigmas``); a scheme says from
what law the entries of a map come. The σ of a map is that of entries of variance σ²/fan_in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

SCALED = ", output maps of branches divided by √(2·layers)"
Initialization = Literal["xavier", "released-code", "pytorch", "normal", "gaussian", "gpt2", "neox"]


@dataclass(frozen=True)
class Map:
    """A linear map that is to be drawn."""

    fan_in: int
    fan_out: int
    sigma: float = 1.0
    """What its description says."""
    sigma_b: float = 0.0
    """Standard deviation of its biases, by its description."""
    biased: bool = False
    """Whether it has biases at all."""
    rectified: bool = False
    """Whether a relu follows."""
    branches: int = 0
    """Of a map whose output is added to the stream: how many of them the network has."""
    joint: int = 0
    """Of queries, keys and values: rows of the one matrix in which all three may stand."""
    attention: bool = False
    """Whether it is one of attention's maps."""


@dataclass(frozen=True)
class Draw:
    """Independent entries of mean 0: N(0, std²), or uniform in ±√3·std."""

    std: float
    uniform: bool = False


@dataclass(frozen=True)
class Scheme:
    """Laws of a map's weights, of its biases, and of embeddings."""

    sigma: Callable[[Map], float]
    """σ of a map; its entries have the standard deviation σ/√fan_in."""
    uniform: bool = False
    sigma_b: Callable[[Map], float] = lambda _: 0.0
    """Standard deviation of its biases."""
    embedding: Callable[[Map], float] | None = None
    """Standard deviation of embeddings; None: drawn as a map from the width to the vocabulary would be."""
    described: bool = False
    """Whether the σ's are those that a map's description has."""
    words: str = ""
    """The laws, in words."""

    @property
    def depth_scaled(self) -> bool:
        """Whether output maps of branches are divided by the root of their number (GPT-2)."""
        one, four = (self.sigma(Map(1, 1, branches=count)) for count in (1, 4))
        return math.isclose(one, 2 * four)

    def scaled(self, factor: float) -> Scheme:
        """This with the output maps of all branches, and their biases, multiplied by a factor."""
        if factor == 1:
            return self
        on = lambda of: factor if of.branches else 1.0
        return replace(
            self, sigma=lambda of: self.sigma(of) * on(of), sigma_b=lambda of: self.sigma_b(of) * on(of)
        )

    def weight(self, of: Map) -> Draw:
        """The law of a map's weights."""
        return Draw(self.sigma(of) / math.sqrt(of.fan_in), self.uniform)

    def bias(self, of: Map) -> Draw:
        """The law of a map's biases; 0 where it has none."""
        return Draw(self.sigma_b(of) if of.biased else 0.0, self.uniform)

    def embeddings(self, of: Map) -> Draw:
        """The law of embeddings, given as the map from the width to the vocabulary."""
        return self.weight(of) if self.embedding is None else Draw(self.embedding(of))


def scheme_of(std: Callable[[Map], float], words: str = "") -> Scheme:
    """The scheme of entries of these standard deviations."""
    return Scheme(lambda of: std(of) * math.sqrt(of.fan_in), words=words)


def normal_scheme(std: float, *, scaled: bool = False) -> Scheme:
    """N(0, std²) for every matrix; ``scaled``: output maps of branches divided by the root of their number (GPT-2)."""
    words = f"N(0, {std:g}²)" + SCALED * scaled
    return scheme_of(lambda of: std / math.sqrt(of.branches or 1) if scaled else std, words)


def _glorot(of: Map) -> float:
    return math.sqrt((2.0 if of.rectified else 1.0) * 2 * of.fan_in / (of.fan_in + of.fan_out))


def _torch_bias(of: Map) -> float:
    """Uniform in ±1/√fan_in, as ``torch.nn.Linear`` draws biases."""
    return 1 / math.sqrt(3 * of.fan_in)


SCHEMES: dict[Initialization, Scheme] = {
    "xavier": Scheme(_glorot, uniform=True),
    "released-code": Scheme(_glorot, uniform=True, sigma_b=_torch_bias),
    "pytorch": Scheme(lambda _: math.sqrt(1 / 3), uniform=True, sigma_b=_torch_bias, embedding=lambda _: 1.0),
    "normal": normal_scheme(0.02),
    "gpt2": normal_scheme(0.02, scaled=True),
    "neox": scheme_of(
        lambda of: 4 / (of.branches * math.sqrt(of.fan_out)) if of.branches else math.sqrt(0.4 / of.fan_in)
    ),
    "gaussian": Scheme(lambda of: of.sigma, sigma_b=lambda of: of.sigma_b, described=True),
}
"""The schemes by name; ``ModelConfig.initialization`` explains them."""

POSITION_STD = 0.02
"""Standard deviation of learned positions, in every scheme."""
