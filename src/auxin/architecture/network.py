"""A stack of layers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
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

    >>> Network.repeat(Block(norm="pre", activation="gelu"), 12)
    Network.repeat(
        Layer((
            Sublayer(body=Attention(), before=Norm()),
            Sublayer(body=MLP(sigma_w=1.41421), before=Norm()),
        )),
        depth=12,
    )
    """

    layers: tuple[Layer, ...]
    final: Norm | None = None
    input_norm: float | None = None
    """Norm² per dimension that the stream begins with; None: it is not known, and counts as 1."""

    ranges = {"input_norm": (0, 1e12)}  # noqa: RUF012

    def __post_init__(self) -> None:
        super().__post_init__()
        layers = tuple(layer.layer if isinstance(layer, Block) else layer for layer in self.layers)
        check(1 <= len(layers) <= 10_000, "number of layers", len(layers), "1 to 10000")
        for layer in layers:
            check(isinstance(layer, Layer), "layer", layer, "a Layer or a Block")
        object.__setattr__(self, "layers", layers)

    def __repr__(self) -> str:
        """As it is written: a line a sublayer, and layers that are repeated once."""
        numbers = {layer: i for i, layer in enumerate(self.layers)}
        order = [numbers[layer] for layer in self.layers]
        depth = self.depth
        period = next(p for p in range(1, depth + 1) if order[p:] == order[:-p])
        more = [
            f"    {name}={value:.6g}," if name == "input_norm" else f"    {name}={value},"
            for name in ("final", "input_norm")
            if (value := getattr(self, name)) is not None
        ]
        if period < depth:
            layers = [_written(layer, 4 if period == 1 else 8) for layer in self.layers[:period]]
            shown = layers[0] if period == 1 else "    [\n" + "\n".join(layers) + "\n    ],"
            return "\n".join(["Network.repeat(", shown, f"    depth={depth},", *more, ")"])
        runs = [(layer, len(list(same))) for layer, same in itertools.groupby(self.layers)]
        layers = "\n".join(_written(layer, 8, count) for layer, count in runs)
        return "\n".join(["Network(", "    (", layers, "    ),", *more, ")"])

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

        @cache  # equal layers are one object
        def drawn(layer: Layer, index: int) -> Layer:
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

        layers = (drawn(layer, index if measured else 0) for index, layer in enumerate(self.layers))
        return replace(self, layers=tuple(layers))

    @classmethod
    def repeat(
        cls,
        layer: Layer | Block | Iterable[Layer | Block],
        depth: int,
        final: Norm | None = None,
        input_norm: float | None = None,
    ) -> Network:
        """``depth`` layers: the given one, or the given ones in turn (as local and global attention of Gemma 2)."""
        check(type(depth) is int and 1 <= depth <= 10_000, "depth", depth, "1 to 10000")
        period = [layer] if isinstance(layer, (Layer, Block)) else list(layer)
        check(len(period) > 0, "layers to repeat", period, "one or more")
        layers = [period[i % len(period)] for i in range(depth)]
        return cls(tuple(layers), final, input_norm)  # pyright: ignore[reportArgumentType]  # of which it makes layers


def _written(layer: Layer, indent: int, count: int = 1) -> str:
    """A layer as lines of an expression, so many times."""
    margin, (before, after) = " " * indent, ("*[", f"] * {count}") if count > 1 else ("", "")
    lines = [f"{margin}    {sublayer!r}," for sublayer in layer.sublayers]
    parallel = ", parallel=True" * layer.parallel
    return "\n".join([f"{margin}{before}Layer((", *lines, f"{margin}){parallel}){after},"])


def described(source: Any) -> Any:
    """The network of a config, which has one; anything else as it is."""
    network = getattr(source, "network", None)
    return network() if callable(network) else source
