"""A stack of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from auxin.architecture.block import Block
from auxin.architecture.initialization import Scheme
from auxin.architecture.layer import Layer
from auxin.architecture.norm import Norm
from auxin.architecture.sizes import Sizes
from auxin.values import Value, check


@dataclass(frozen=True)
class Network(Value):
    """The layers of a stack, each with its own numbers, and the norm before the output map.

    >>> layer = Block(norm="pre", activation="gelu")
    >>> Network.repeat(layer, 12).depth
    12
    """

    layers: tuple[Layer, ...]
    final: Norm | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        layers = tuple(layer.layer if isinstance(layer, Block) else layer for layer in self.layers)
        check(1 <= len(layers) <= 10_000, "number of layers", len(layers), "1 to 10000")
        for layer in layers:
            check(isinstance(layer, Layer), "layer", layer, "a Layer or a Block")
        object.__setattr__(self, "layers", layers)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def branches(self) -> int:
        """Number of branches of all layers together."""
        return sum(len(layer.sublayers) for layer in self.layers)

    def drawn(
        self, scheme: Scheme, sizes: Sizes, measured: Mapping[tuple[str, int], float] | None = None
    ) -> Network:
        """This network with the σ's that the scheme gives to its parts at these sizes.

        ``measured``: standard deviations of entries by map and layer, which go before the scheme's.
        """
        done: dict[tuple[int, int], Layer] = {}  # layers that are repeated are one object

        def of(layer: Layer, index: int) -> Layer:
            sublayers = []
            for sublayer in layer.sublayers:
                maps = sublayer.body.maps(sizes, self.branches)
                sigmas = {name: scheme.sigma(each) for name, each in maps.items()}
                for name, each in maps.items():
                    if measured is not None and (name, index) in measured:
                        sigmas[name] = measured[name, index] * each.fan_in**0.5
                biases = {name: scheme.bias(each).std for name, each in maps.items()}
                sublayers.append(replace(sublayer, body=sublayer.body.with_sigmas(sigmas, biases)))
            return replace(layer, sublayers=tuple(sublayers))

        keys = [(id(layer), index if measured else 0) for index, layer in enumerate(self.layers)]
        for index, (key, layer) in enumerate(zip(keys, self.layers, strict=True)):
            done[key] = done.get(key) or of(layer, index)
        return replace(self, layers=tuple(done[key] for key in keys))

    @classmethod
    def repeat(
        cls, layer: Layer | Block | Iterable[Layer | Block], depth: int, final: Norm | None = None
    ) -> Network:
        """``depth`` layers: the given one, or the given ones in turn (as local and global attention of Gemma 2)."""
        check(type(depth) is int and 1 <= depth <= 10_000, "depth", depth, "1 to 10000")
        period = [layer] if isinstance(layer, (Layer, Block)) else list(layer)
        check(len(period) > 0, "layers to repeat", period, "one or more")
        layers = [period[i % len(period)] for i in range(depth)]
        return cls(tuple(layer.layer if isinstance(layer, Block) else layer for layer in layers), final)


def described(source: Any) -> Any:
    """The network of a config, which has one; anything else as it is."""
    network = getattr(source, "network", None)
    return network() if callable(network) else source
