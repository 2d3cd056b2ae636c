"""Initial weights: every scheme draws from an explicit generator, parameter by parameter in order of name."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from auxin.config import ModelConfig


def initialize_parameters(
    parameters: Mapping[str, Tensor], config: ModelConfig, generator: torch.Generator
) -> None:
    """Fill the parameters of a ``TransformerLM`` in place, as ``config.initialization`` says.

    With fan_in → fan_out maps, d the width and m the hidden units:

    - xavier: U(±g·√(6/(fan_in + fan_out))), g = √2 for the MLP's first map before a relu, else 1; query, key and
      value maps are d × d each; zero biases (Glorot & Bengio 2010; the released code of Murty et al. 2023).
    - pytorch: U(±1/√fan_in) for maps and their biases, N(0, 1) for embeddings.
    - normal: N(0, 0.02²) everywhere, zero biases (GPT-2).
    - gaussian: N(0, σ²/fan_in) with σ² = σ_A for query and key, σ_V for value and output, σ_w² and σ_o² in the
      MLP, biases N(0, σ_b²); embeddings N(0, 1/d), so that scaled ones have unit variance; output N(0, 1/d).

    Norms start at weight 1 and bias 0; learned positions at N(0, 0.02²).
    """
    with torch.no_grad():
        for name, parameter in parameters.items():
            if "norm" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name == "positions":
                parameter.normal_(0.0, 0.02, generator=generator)
            elif parameter.ndim == 1:
                _initialize_bias(name, parameter, config, generator)
            else:
                _initialize_map(name, parameter, config, generator)


def _initialize_map(name: str, weight: Tensor, config: ModelConfig, generator: torch.Generator) -> None:
    embedding, scheme = name == "embedding.weight", config.initialization
    if scheme == "normal":
        weight.normal_(0.0, 0.02, generator=generator)
    elif scheme == "pytorch":
        if embedding:
            weight.normal_(generator=generator)
        else:
            bound = weight.shape[1] ** -0.5
            weight.uniform_(-bound, bound, generator=generator)
    elif scheme == "xavier":
        gain = math.sqrt(2.0) if name.endswith("mlp.up.weight") and config.activation == "relu" else 1.0
        for part in weight.chunk(3) if name.endswith("qkv.weight") else (weight,):
            nn.init.xavier_uniform_(part, gain, generator=generator)
    else:
        for part, variance in _gaussian_variances(name, weight, config):
            part.normal_(0.0, math.sqrt(variance), generator=generator)


def _gaussian_variances(name: str, weight: Tensor, config: ModelConfig) -> list[tuple[Tensor, float]]:
    """The parts of a map and the variance of each one's entries."""
    if name.endswith("qkv.weight"):
        q, k, v = weight.chunk(3)
        a = config.sigma_a / config.width
        return [(q, a), (k, a), (v, config.sigma_v / config.width)]
    if name.endswith("attention.out.weight"):
        return [(weight, config.sigma_v / config.width)]
    if name.endswith("mlp.up.weight"):
        return [(weight, config.sigma_w**2 / config.width)]
    if name.endswith("mlp.down.weight"):
        return [(weight, config.sigma_o**2 / config.hidden)]
    return [(weight, 1.0 / config.width)]


def _initialize_bias(name: str, bias: Tensor, config: ModelConfig, generator: torch.Generator) -> None:
    if config.initialization == "pytorch":
        fan_in = config.hidden if name.endswith("mlp.down.bias") else config.width
        bias.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
    elif config.initialization == "gaussian" and ".mlp." in name and config.sigma_b:
        bias.normal_(0.0, config.sigma_b, generator=generator)
    else:
        bias.zero_()
