"""Modules that every part uses: maps and tables whose weights nobody draws in passing, dropout, a sublayer's body."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from auxin.architecture.initialization import Draw, Map, Scheme
from auxin.architecture.sizes import Sizes
from auxin.models.context import Context


class Linear(nn.Linear):
    """A linear map whose weights are left as allocated."""

    def reset_parameters(self) -> None:
        """Nothing: it would be drawn from the global generator, and take torch's compiler to be imported."""

    def draw(self, maps: Sequence[Map], scheme: Scheme, generator: torch.Generator) -> None:
        """Draw the weights of the maps that it holds, one after the other, then their biases."""
        rows = [held.fan_out for held in maps]
        for weight, held in zip(self.weight.split(rows), maps, strict=True):
            draw(weight, scheme.weight(held), generator)
        if self.bias is not None:
            for bias, held in zip(self.bias.split(rows), maps, strict=True):
                draw(bias, scheme.bias(held), generator)


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


class Body(nn.Module):
    """What computes a sublayer's branch; made of its description, the sizes, and the probability of dropout."""

    BIAS: ClassVar[str]
    """The setting that gives its maps biases."""

    @staticmethod
    def masked(sizes: Sizes) -> tuple[int | None, ...]:
        """Widths of what dropout acts on inside; None stands for attention weights."""
        return ()

    def held(self) -> Iterator[tuple[Linear, tuple[str, ...]]]:
        """Its matrices, and the maps that each holds."""
        raise NotImplementedError

    def set_(self) -> None:
        """Set the parameters that are not drawn."""


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


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """[length, width]: sin(t·10000^(−2i/d)) in the even columns, cos in the odd (Vaswani et al. 2017, §3.5)."""
    if torch.get_default_device().type == "meta":
        return torch.empty(length, width)
    time = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    return torch.stack([torch.sin(time * rate), torch.cos(time * rate)], dim=-1).flatten(1)
