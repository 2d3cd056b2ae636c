"""A stack of layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from auxin.architecture.block import Block
from auxin.architecture.layer import Layer
from auxin.architecture.norm import Norm
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
