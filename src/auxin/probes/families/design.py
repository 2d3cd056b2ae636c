"""What a family's config comes to: sizes, layers, and the law that its weights are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auxin.architecture import MLP, Attention, Layer, Network, Norm, Rotary, Sublayer

Placement = Literal["pre", "post", "after", "sandwich"]
"""Where norms stand: before a branch, behind the sum, behind a branch, or before and behind it."""
ROLES = ("q", "k", "v", "out", "gate", "up", "down")
WRITERS = ("out", "down")
"""Maps whose output is added to the stream."""
Law = Callable[[str, int, int], float]
"""Standard deviation of the entries of a map of some role from fan_in to fan_out."""


@dataclass(frozen=True)
class Heads:
    """What one layer's attention does besides the plain product."""

    head_dim: int
    scale: float | None = None
    qk_norm: bool | Literal["all"] = False
    rotary: Rotary | None = None
    alibi: int = 0
    window: int | None = None
    softcap: float | None = None


@dataclass(frozen=True)
class Design:
    """A model as its family means it."""

    family: str
    width: int
    hidden: int
    heads: int
    layers: tuple[Heads, ...]
    """What is particular to the attention of every layer."""
    norm: Norm
    placement: Placement
    activation: str
    gated: bool = False
    parallel: bool = False
    scaled: bool = False
    """Output maps of branches are divided by the root of the number of branches (GPT-2)."""
    law: Law = lambda role, fan_in, fan_out: 0.02
    """Of every other matrix."""
    said: str = "N(0, 0.02²)"
    """The law in words."""
    embedding_norm: float = 0.0
    """E‖x‖²/d of the stream at the start; 0: it depends on inputs that are vectors or pixels."""
    embedding_overlap: float = 0.0
    """The same between two different tokens."""
    embedding_std: float | None = None
    """Standard deviation of the table of tokens; None: none, or not by a law."""
    key_width: int = 0
    """Dimensions of all keys together, where they are shared by heads; 0: the width."""
    vocabulary: int | None = None
    tied: bool = False
    causal: bool = True
    bias: Law | None = None
    """Of the biases of v, out, up and down; None: 0."""
    strengths: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 1.0), (1.0, 1.0))
    """Skip and branch of attention and of the MLP."""
    branch_factor: float = 1.0
    """By which the output maps of branches were rescaled on purpose."""

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def roles(self) -> tuple[str, ...]:
        """Maps of a layer."""
        return tuple(role for role in ROLES if self.gated or role != "gate")

    def fans(self, role: str, layer: int) -> tuple[int, int]:
        """fan_in and fan_out of a map."""
        inner = self.heads * self.layers[layer].head_dim
        inside = {"q": inner, "k": inner, "v": inner, "gate": self.hidden, "up": self.hidden}
        if role in inside:
            return self.width, inside[role]
        return (inner if role == "out" else self.hidden), self.width

    def std(self, role: str, layer: int) -> float:
        """Standard deviation that the family's scheme gives the entries of a map."""
        scale = 1.0
        if role in WRITERS:
            scale = self.branch_factor * ((2 * self.depth) ** -0.5 if self.scaled else 1.0)
        return self.law(role, *self.fans(role, layer)) * scale

    def bias_std(self, role: str, layer: int) -> float:
        """Standard deviation of a map's biases."""
        return 0.0 if self.bias is None else self.bias(role, *self.fans(role, layer))

    def attention_bias(self, layer: int, std: Callable[[str, int], float]) -> float:
        """Standard deviation of what the biases of values and of the output map add to attention's output."""
        inner = self.fans("out", layer)[0]
        return math.hypot(
            self.bias_std("v", layer) * std("out", layer) * inner**0.5, self.bias_std("out", layer)
        )

    def gram(self, n_tokens: int) -> NDArray[np.float64]:
        """Expected Gram matrix of n different tokens at the start of the stream, [n, n]."""
        norm, overlap = self.embedding_norm, self.embedding_overlap
        return (norm - overlap) * np.eye(n_tokens) + overlap

    def network(self, std: Callable[[str, int], float] | None = None) -> Network:
        """The layers with the σ's of the family's scheme, or those of other standard deviations."""
        layers = tuple(self._layer(i, std or self.std) for i in range(self.depth))
        final = self.norm if self.placement != "post" else None
        return Network(layers, final)

    def _layer(self, index: int, std: Callable[[str, int], float]) -> Layer:
        def sigma(role: str) -> float:
            return std(role, index) * math.sqrt(self.fans(role, index)[0])

        heads = self.layers[index]
        attention = Attention(
            sigma_q=sigma("q"),
            sigma_k=sigma("k"),
            sigma_v=sigma("v") * sigma("out"),
            sigma_b=self.attention_bias(index, std),
            head_dim=heads.head_dim,
            scale=heads.scale,
            qk_norm=heads.qk_norm,
            rotary=heads.rotary,
            alibi=heads.alibi,
            window=heads.window,
            softcap=heads.softcap,
        )
        inner, outer = (self.bias_std(role, index) for role in ("up", "down"))
        mlp = MLP(
            self.activation,  # pyright: ignore[reportArgumentType]  # MLP refuses an unknown one
            gated=self.gated,
            sigma_w=sigma("up"),
            sigma_g=sigma("gate") if self.gated else None,
            sigma_o=sigma("down"),
            sigma_b=inner,
            sigma_b_out=outer,
        )
        norms = {
            "pre": {"before": self.norm},
            "post": {"stream": self.norm},
            "after": {"after": self.norm},
            "sandwich": {"before": self.norm, "after": self.norm},
        }[self.placement]
        first, second = self.strengths
        sublayers = (Sublayer(attention, *first, **norms), Sublayer(mlp, *second, **norms))
        return Layer(sublayers, parallel=self.parallel)
