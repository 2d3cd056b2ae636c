"""Modules that every part uses: maps and tables whose weights nobody draws in passing, and dropout."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from auxin.models.context import Context


class Linear(nn.Linear):
    """A linear map whose weights are left as allocated."""

    def reset_parameters(self) -> None:
        """Nothing: it would be drawn from the global generator, and take torch's compiler to be imported."""


class Embedding(nn.Embedding):
    """A table whose rows are left as allocated."""

    def reset_parameters(self) -> None:
        """Nothing; see ``Linear``."""


class Dropout(nn.Dropout):
    """Multiplies by the pass's next mask, where it has masks; else what ``nn.Dropout`` does."""

    def active(self, context: Context) -> bool:
        """Whether anything will be dropped."""
        return self.p > 0 and (self.training or context.masks is not None)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """x of any shape with as many elements as the mask."""
        mask = context.masks.take() if context.masks is not None and self.p > 0 else None
        if mask is not None:
            return x * mask.view(x.shape)
        return super().forward(x) if context.masks is None else x


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """[length, width]: sin(t·10000^(−2i/d)) in the even columns, cos in the odd (Vaswani et al. 2017, §3.5)."""
    if torch.get_default_device().type == "meta":
        return torch.empty(length, width)
    time = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    return torch.stack([torch.sin(time * rate), torch.cos(time * rate)], dim=-1).flatten(1)
