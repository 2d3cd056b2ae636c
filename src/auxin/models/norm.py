"""Norms: a module for each kind in ``NORMS``, and one for all that are activations, entry by entry."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxin.architecture.norm import Norm
from auxin.models.mlp import ACTIVATIONS


class LayerNorm(nn.Module):
    """w·(x − mean x)/√(var x + ε) + b."""

    def __init__(self, norm: Norm, width: int) -> None:
        super().__init__()
        self.epsilon = norm.epsilon
        self.weight, self.bias = (nn.Parameter(torch.empty(width)) for _ in range(2))

    def set_(self, norm: Norm) -> None:
        """w = γ, b = 0."""
        self.weight.fill_(norm.gain)
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


class RMSNorm(nn.Module):
    """w·x/√(‖x‖²/d + ε)."""

    def __init__(self, norm: Norm, width: int) -> None:
        super().__init__()
        self.epsilon = norm.epsilon
        self.weight = nn.Parameter(torch.empty(width))

    def set_(self, norm: Norm) -> None:
        """w = γ."""
        self.weight.fill_(norm.gain)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


class Elementwise(nn.Module):
    """w·φ(α·x) + b, with one α for all dimensions."""

    def __init__(self, norm: Norm, width: int) -> None:
        super().__init__()
        self.function = ACTIVATIONS[norm.kind]
        self.weight, self.bias = (nn.Parameter(torch.empty(width)) for _ in range(2))
        self.slope = nn.Parameter(torch.empty(1))

    def set_(self, norm: Norm) -> None:
        """w = γ, b = 0, and α."""
        self.weight.fill_(norm.gain)
        self.bias.zero_()
        self.slope.fill_(norm.slope)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.function(x * self.slope), self.weight)


NORMS = {"layer": LayerNorm, "rms": RMSNorm}


def norm_module(norm: Norm, width: int) -> LayerNorm | RMSNorm | Elementwise:
    """The module of a described norm; its parameters are left as allocated."""
    return Elementwise(norm, width) if norm.elementwise else NORMS[norm.kind](norm, width)
