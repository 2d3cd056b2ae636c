"""Weights drawn anew from the σ's of a network."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from auxin.architecture.block import STRENGTHS, Block
from auxin.architecture.initialization import SCHEMES
from auxin.architecture.layer import Layer
from auxin.architecture.network import Network
from auxin.models.stack import BODIES, norms_of
from auxin.models.transformer import TransformerLM
from auxin.values import check


def initialize_(model: TransformerLM, network: Network | Layer | Block, generator: torch.Generator) -> None:
    """Draw a model's weights from a network's σ's, in place, so that a critical initialization can be trained.

    A ``Layer`` or ``Block`` stands for all layers alike. Entries of the maps are normal with variance σ²/fan_in;
    σ_V² is split evenly between value and output map, a block's σ_A between queries and keys, and norms start at
    their gains. Embeddings and output map are those of the ``gaussian`` scheme.

    Raises ``ConfigError`` where the model's layers differ from the network's in what no weights can make up for:
    strengths, kinds and places of norms, bodies, biases that the model does not have.

    >>> import torch
    >>> config = ModelConfig(depth=2, width=16, heads=2, vocabulary_size=9, activation="tanh")
    >>> model = TransformerLM(config, torch.Generator().manual_seed(0))
    >>> initialize_(model, Block(norm="post", sigma_w=2.0), torch.Generator().manual_seed(0))
    """
    config = model.config
    if isinstance(network, Block):
        if not config.layers:
            for name in ("norm", "activation", *STRENGTHS):
                value, wanted = getattr(config, name), getattr(network, name)
                check(value == wanted, f"{name} of the model", value, f"that of the block, {wanted!r}")
        network = _evenly(network)
    if isinstance(network, Layer):
        network = Network.repeat(network, config.depth)
    check(config.depth == network.depth, "depth of the model", config.depth, f"the network's {network.depth}")
    for i, (own, given) in enumerate(zip(config.network().layers, network.layers, strict=True)):
        given = given.sized(config.sizes)
        form = "that of the network, but for σ's, gains and ε's"
        check(_form(own) == _form(given), f"layer {i} of the model", own, form)
        for sublayer in given.sublayers:
            maps = sublayer.body.maps(config.sizes, network.branches).values()
            lost = any(each.sigma_b > 0 and not each.biased for each in maps)
            name = BODIES[type(sublayer.body)].BIAS
            check(not lost, f"{name} of the model", False, "True, for the block's biases")
    model.draw(network, SCHEMES["gaussian"], generator)


def _evenly(block: Block) -> Layer:
    """The block's layer, with σ_A split between queries and keys."""
    first, *others = block.layer.sublayers
    root = block.sigma_a**0.5
    body: Any = dataclasses.replace(first.body, sigma_q=root, sigma_k=root)
    return Layer((dataclasses.replace(first, body=body), *others))


def _form(layer: Layer) -> tuple[Any, ...]:
    """What of a layer no weights can make up for."""

    def bare(body: Any) -> Any:
        sigmas = {f.name: f.default for f in dataclasses.fields(body) if f.name.startswith("sigma")}
        return dataclasses.replace(body, **sigmas)

    return layer.parallel, [
        (bare(s.body), s.skip, s.branch, {place: norm.kind for place, norm in norms_of(s).items()})
        for s in layer.sublayers
    ]
