"""Dropout's masks as a forward pass takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor


class Masks:
    """The masks of one step, handed out in the order in which a forward pass asks; without any, all is kept."""

    def __init__(self, masks: Iterator[Tensor] | None = None) -> None:
        self._masks = masks

    def take(self) -> Tensor | None:
        """The next mask's factors, or None."""
        return None if self._masks is None else next(self._masks)

    def split(self, members: int) -> Iterator[Masks]:
        """Those of every member of a stack, in turn."""
        if self._masks is None:
            return iter([Masks()] * members)
        each = zip(*(mask.chunk(members) for mask in self._masks), strict=True)
        return (Masks(iter(masks)) for masks in each)

    def apply(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Dropout of x [M, T, …], and of the gradient on its way back."""
        mask = self.take()
        return (x, lambda g: g) if mask is None else (x * mask, lambda g: g * mask)
