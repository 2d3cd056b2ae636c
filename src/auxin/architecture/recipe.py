"""A model as it is meant at initialization: what families, modules and our own configs are read as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

from auxin.architecture.attention import Attention
from auxin.architecture.cross import CrossAttention
from auxin.architecture.experts import Experts
from auxin.architecture.initialization import Map, Scheme
from auxin.architecture.latent import LatentAttention
from auxin.architecture.layer import Layer, Sublayer
from auxin.architecture.mlp import MLP
from auxin.architecture.network import Network
from auxin.architecture.sizes import Sizes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WRITERS = ("out", "down", "shared_down", "cross_out")
"""Maps whose output is added to the stream."""
BODIES = {"attention": (Attention, LatentAttention), "cross": (CrossAttention,), "mlp": (MLP, Experts)}
"""By the kind of a branch."""


@dataclass(frozen=True)
class EmbeddingLaw:
    """What the stream is before the first layer."""

    std: float | None = None
    """Standard deviation of the table of tokens; None: there is none, or it has no law."""
    norm: float = 0.0
    """E‖x‖²/d; 0: it depends on inputs that are vectors or pixels."""
    overlap: float = 0.0
    """The same between two different tokens."""

    def gram(self, n_tokens: int) -> NDArray[np.float64]:
        """Expected Gram matrix of n different tokens, [n, n]."""
        import numpy as np  # of predictions alone

        return (self.norm - self.overlap) * np.eye(n_tokens) + self.overlap


@dataclass(frozen=True)
class Recipe:
    """A network, its sizes, the scheme that its weights are drawn by, and the stream that it begins with.

    A map is named by its role in a part's ``maps`` (query, key, value, out; up, gate, down) and its layer.
    """

    name: str
    """Of the family."""
    network: Network
    sizes: Sizes
    scheme: Scheme
    embedding: EmbeddingLaw = EmbeddingLaw()
    causal: bool = True
    encoder: Recipe | None = None
    """Of the encoder whose last stream, behind its final norm, attention to another stream reads."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """By role, the rows of the one matrix in which its map stands with others, where that is drawn as a whole."""
    own: Mapping[str, float] = field(default_factory=dict)
    """By role, standard deviations of entries that are not the scheme's."""

    def __post_init__(self) -> None:
        start = self.embedding.norm or self.network.input_norm
        object.__setattr__(self, "network", replace(self.network, input_norm=start))

    @property
    def drawn(self) -> Network:
        """The network with the σ's of its scheme."""
        if self.scheme.described:
            return self.network
        return self.network.drawn(self.scheme, self.sizes, self.stds({}) if self.rows or self.own else None)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.network.depth

    @cached_property
    def maps(self) -> tuple[dict[str, Map], ...]:
        """The maps of every layer by their role; of roles that stand twice, the last."""

        @cache
        def maps_of(layer: Layer) -> dict[str, Map]:
            bodies = [sublayer.body.maps(self.sizes, self.network.branches) for sublayer in layer.sublayers]
            maps = {role: held for maps in bodies for role, held in maps.items()}
            return maps | {
                role: replace(maps[role], fan_out=n) for role, n in self.rows.items() if role in maps
            }

        return tuple(maps_of(layer) for layer in self.network.layers)

    def std(self, role: str, layer: int) -> float:
        """Standard deviation that the entries of a map should have."""
        return self.own.get(role) or self.scheme.weight(self.maps[layer][role]).std

    def bias_std(self, role: str, layer: int) -> float:
        """Standard deviation of a map's biases."""
        return self.scheme.bias(self.maps[layer][role]).std

    def stds(self, measured: Mapping[tuple[str, int], float]) -> dict[tuple[str, int], float]:
        """Standard deviations of all maps by role and layer: as measured, else the scheme's."""
        own = {(role, i): self.std(role, i) for i, maps in enumerate(self.maps) for role in maps}
        return own | dict(measured)

    def sublayer(self, layer: int, kind: str) -> Sublayer | None:
        """That of a layer whose body is of a kind: attention, cross or mlp (experts, too); None where there is none."""
        sublayers = self.network.layers[layer].sublayers
        return next((s for s in sublayers if type(s.body) in BODIES.get(kind, ())), None)
