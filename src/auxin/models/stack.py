"""Layers composed from their description: residuals, serial or parallel, with norms before, after and of the stream.

A new kind of body is a module of its own and a line in ``BODIES``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from auxin.architecture import attention, cross, experts, layer, mlp
from auxin.architecture.initialization import Scheme
from auxin.architecture.network import Network
from auxin.architecture.norm import Norm
from auxin.architecture.sizes import Sizes
from auxin.models.attention import AttentionModule
from auxin.models.basic import Body, Dropout
from auxin.models.context import Context
from auxin.models.cross import CrossAttentionModule
from auxin.models.experts import ExpertsModule
from auxin.models.mlp import MLPModule
from auxin.models.norm import norm_module

BODIES: dict[type, type[Body]] = {
    attention.Attention: AttentionModule,
    mlp.MLP: MLPModule,
    experts.Experts: ExpertsModule,
    cross.CrossAttention: CrossAttentionModule,
}


class _Branch(NamedTuple):
    """The modules of one sublayer beside its description."""

    described: layer.Sublayer
    name: str
    body: Body
    norms: dict[str, nn.Module]


class LayerModule(nn.Module):
    """A described layer. Parameters are named after bodies (``attention.…``, ``mlp.…``, a second MLP ``mlp_2.…``).

    The norm before a body, or without one that of the stream behind it, is ``attention_norm.…``; the norm of the
    branch's output is ``attention_after_norm.…``; that of the stream beside one before is ``attention_stream_norm.…``.
    """

    def __init__(self, described: layer.Layer, sizes: Sizes, dropout: float = 0.0) -> None:
        super().__init__()
        self.described = described
        self.branches: list[_Branch] = []
        for sublayer in described.sublayers:
            kind = BODIES[type(sublayer.body)]
            count = sum(type(other.body) is kind for other in self.branches)
            name = type(sublayer.body).__name__.lower() + (f"_{count + 1}" if count else "")
            body = kind(sublayer.body, sizes, dropout)  # pyright: ignore[reportArgumentType]
            self.add_module(name, body)
            self.branches.append(_Branch(sublayer, name, body, {}))
        for branch in self.branches:
            for place, norm in norms_of(branch.described).items():
                module = norm_module(norm, sizes.width)
                beside = place == "after" or (place == "stream" and "before" in branch.norms)
                self.add_module(f"{branch.name}_{place}_norm" if beside else f"{branch.name}_norm", module)
                branch.norms[place] = module
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x [B, L, d], or packed → the next x."""
        if self.described.parallel:
            outputs = [self._output(branch, x, context) for branch in self.branches]
            x = _times(self.branches[0].described.skip, x)
            for y in outputs:
                x = x + y
            return _normed(self.branches[0], "stream", x)
        for branch in self.branches:
            y = self._output(branch, x, context)
            x = _normed(branch, "stream", _times(branch.described.skip, x) + y)
        return x

    def _output(self, branch: _Branch, x: Tensor, context: Context) -> Tensor:
        y = branch.body(_normed(branch, "before", x), context)
        return _times(branch.described.branch, self.dropout(_normed(branch, "after", y), context))


def norms_of(sublayer: layer.Sublayer) -> dict[str, Norm]:
    """The norms that a sublayer has, by where they stand."""
    places = {"before": sublayer.before, "after": sublayer.after, "stream": sublayer.stream}
    return {place: norm for place, norm in places.items() if norm is not None}


def _normed(branch: _Branch, place: str, x: Tensor) -> Tensor:
    norm = branch.norms.get(place)
    return x if norm is None else norm(x)


def _times(strength: float, x: Tensor) -> Tensor:
    return x if strength == 1 else strength * x


class Stack(nn.ModuleList):
    """The layers of a network as modules, without embedding and output map; its weights are left as allocated.

    >>> from auxin.architecture import Block
    >>> stack = Stack(Network.repeat(Block(), 2), Sizes(width=8, heads=2))
    >>> [name for name, _ in stack[0].named_children()]
    ['attention', 'mlp', 'attention_norm', 'mlp_norm', 'dropout']
    """

    def __init__(self, network: Network, sizes: Sizes, dropout: float = 0.0) -> None:
        super().__init__(LayerModule(each.sized(sizes), sizes, dropout) for each in network.layers)
        self.network, self.sizes = network, sizes

    @torch.no_grad()
    def draw(self, network: Network, scheme: Scheme, generator: torch.Generator) -> None:
        """Draw the weights, in place, by a scheme's laws: layer by layer, of each matrix the maps that it holds."""
        for module, described in zip(self, network.layers, strict=True):
            for branch, sublayer in zip(module.branches, described.sublayers, strict=True):  # pyright: ignore
                maps = sublayer.body.maps(self.sizes, network.branches)
                for linear, roles in branch.body.held():
                    linear.draw([maps[role] for role in roles], scheme, generator)
                branch.body.set_()
                for place, norm in norms_of(sublayer).items():
                    branch.norms[place].set_(norm)

    def states(self, x: Tensor, context: Context) -> list[Tensor]:
        """The stream [B, L, d] before the first layer and behind every one: depth + 1 of them."""
        states = [x]
        for each in self:
            states.append(each(states[-1], context))
        return states

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """The stream behind the last layer."""
        for each in self:
            x = each(x, context)
        return x
