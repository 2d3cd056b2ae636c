"""What the parts have to know of the tokens of a forward pass: who sees whom, and where they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from auxin.models.batch import Batch, Masks

T = TypeVar("T")


class Context:
    """One forward pass over B sequences of L tokens; layers share what they compute from it.

    Activations are [B, L, ·]; those of a ``packed`` batch are [1, T, ·], and only attention sees [B, L, ·]. What
    stands in padding there is no matter: it is behind every token that counts, and causality hides it.
    """

    def __init__(
        self,
        positions: Tensor,
        *,
        causal: bool = True,
        mask: Tensor | None = None,
        packed: Batch | None = None,
        masks: Masks | None = None,
        attention: bool = False,
    ) -> None:
        """``positions`` int64 [L] or [B, L]; ``mask`` bool [L, L] or [B, L, L], true where row may see column.

        ``masks`` are dropout's; with ``attention`` the weights of every layer are kept in ``weights``.
        """
        self.positions, self.causal, self.packed, self.masks = positions, causal, packed, masks
        self.weights: list[Tensor] | None = [] if attention else None
        self.memory: Tensor | None = None
        """[B, m, d], what attention to another stream reads."""
        if mask is not None:
            mask = mask & causal_mask(positions.shape[-1], positions.device) if causal else mask
            mask = mask[:, None] if mask.ndim == 3 else mask  # broadcasts to [B, H, L, L]
        self.mask = mask
        self._made: dict[Any, Any] = {}

    @classmethod
    def of(cls, x: Tensor, *, causal: bool = True, mask: Tensor | None = None) -> Context:
        """That of a stream x [B, L, d] whose tokens stand at 0 … L − 1."""
        return cls(torch.arange(x.shape[-2], device=x.device), causal=causal, mask=mask)

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """What ``make`` makes, made once a pass for each ``key``."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def distance(self) -> Tensor:
        """How far the column's token stands before the row's: [L, L], or [B, 1, L, L]."""
        p = self.positions
        distance = p[..., :, None] - p[..., None, :]
        return distance[:, None] if p.ndim == 2 else distance

    def visible(self, window: int | None) -> Tensor | None:
        """bool, broadcast to [B, H, L, L]; None where each token sees all, or with causality all before it."""
        if window is None:
            return self.mask
        near = self.once("distance", self.distance).abs() < window
        if self.mask is not None:
            return near & self.mask
        return near & causal_mask(near.shape[-1], near.device) if self.causal else near

    def unpack(self, x: Tensor) -> Tensor:
        """[1, T, c] → [B, L, c], where activations are packed."""
        if self.packed is None:
            return x
        return _Move.apply(x[0], self.packed.slots, self.packed.places).view(*self.packed.shape, -1)

    def pack(self, x: Tensor) -> Tensor:
        """[B, L, c] → [1, T, c], where activations are packed."""
        if self.packed is None:
            return x
        return _Move.apply(x.flatten(0, 1), self.packed.places, self.packed.slots)[None]


class _Move(torch.autograd.Function):
    """Rows of x [n, c] to other places: y_i = x[to_i]; where to_i = n, any row, whose gradient is then left out.

    ``back`` is the inverse, so that the gradient is moved the same way instead of being added up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, to: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, to.clamp(max=len(x) - 1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        (gradient,), (back,) = gradients, ctx.saved_tensors
        moved = gradient.index_select(0, back.clamp(max=len(gradient) - 1))
        return moved.masked_fill_((back == len(gradient))[:, None], 0.0), None, None


def causal_mask(length: int, device: torch.device | str = "cpu") -> Tensor:
    """bool [length, length], true where the row's token may see the column's."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
