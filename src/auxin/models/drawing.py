"""Initial weights: a scheme's laws, drawn from an explicit generator, parameter by parameter in a fixed order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from auxin.architecture.initialization import Draw, Map, Scheme
from auxin.architecture.network import Network
from auxin.models.basic import Linear
from auxin.models.stack import Stack, norms_of


@torch.no_grad()
def draw_stack(stack: Stack, network: Network, scheme: Scheme, generator: torch.Generator) -> None:
    """Draw a stack's weights in place: of each matrix the maps that it holds, then their biases."""
    for layer, described in zip(stack, network.layers, strict=True):
        for branch, sublayer in zip(layer.branches, described.sublayers, strict=True):  # pyright: ignore
            maps = sublayer.body.maps(stack.sizes, network.branches)
            for linear, roles in branch.body.held():
                _draw_linear(linear, [maps[role] for role in roles], scheme, generator)
            branch.body.set_()
            for place, norm in norms_of(sublayer).items():
                branch.norms[place].set_(norm)


def _draw_linear(linear: Linear, maps: list[Map], scheme: Scheme, generator: torch.Generator) -> None:
    rows = [each.fan_out for each in maps]
    for weight, each in zip(linear.weight.split(rows), maps, strict=True):
        draw(weight, scheme.weight(each), generator)
    if linear.bias is not None:
        for bias, each in zip(linear.bias.split(rows), maps, strict=True):
            draw(bias, scheme.bias(each), generator)


@torch.no_grad()
def draw(entries: Tensor, law: Draw, generator: torch.Generator) -> None:
    """Fill with independent entries."""
    if law.std == 0:
        entries.zero_()
    elif law.uniform:
        bound = math.sqrt(3) * law.std
        entries.uniform_(-bound, bound, generator=generator)
    else:
        entries.normal_(0.0, law.std, generator=generator)
