"""What a step of a stack reads: packed tokens, where they stand in padded sequences, and dropout's masks.

Shapes in comments: M members, B sequences each, L the longest sequence, T tokens of the member with most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

IGNORE = -100  # target of a position that has none


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step of a stack reads; linear layers see the T packed tokens, attention B × L."""

    tokens: Tensor
    """int64 [M, T]."""
    targets: Tensor
    """int64 [M, T]: the next token; ``IGNORE`` behind a member's last token."""
    positions: Tensor
    """int64 [M, T]."""
    slots: Tensor
    """int64 [M, B·L]: the token in each padded place, T where there is none."""
    places: Tensor
    """int64 [M, T]: the padded place of each token; B·L behind the last."""
    counts: Tensor
    """float32 [M]: tokens of each member."""
    shape: tuple[int, int]
    """B, L."""

    def member(self, m: int) -> Batch:
        """That of member m alone, whose tensors are without the first axis."""
        tokens, targets, positions = self.tokens[m], self.targets[m], self.positions[m]
        return Batch(tokens, targets, positions, self.slots[m], self.places[m], self.counts[m], self.shape)


def make_batch(members: Sequence[Sequence[np.ndarray]]) -> Batch:
    """Pack the token sequences of every member (each at least two tokens long); the same number for each."""
    sequences = [sequence for member in members for sequence in member]
    sizes = np.array([len(sequence) for sequence in sequences])
    starts = torch.from_numpy(np.cumsum(sizes) - sizes).view(len(members), -1)
    targets = torch.from_numpy(sizes - 1).view(len(members), -1)
    shape = (int(targets.sum(1).max()), int(targets.max()))
    return lay_out(torch.from_numpy(np.concatenate(sequences)), starts, targets, shape)


def lay_out(corpus: Tensor, starts: Tensor, sizes: Tensor, shape: tuple[int, int]) -> Batch:
    """The batch of the sequences that start at ``starts`` [M, B] in the tokens ``corpus``, on their device.

    ``sizes`` [M, B] are their lengths without the last token, which nothing follows. ``shape`` is (T, L), as large
    as they need or larger. Nothing here waits for the device or depends on what the tensors hold but through it.
    """
    (M, B), (T, L), device = starts.shape, shape, corpus.device
    ends = sizes.cumsum(1)  # [M, B]
    first = ends - sizes
    slot = torch.arange(T, device=device).expand(M, T).contiguous()
    real = slot < ends[:, -1:]
    row = torch.searchsorted(ends, slot, right=True).clamp_(max=B - 1)  # [M, T]: whose token stands there
    column = (slot - first.gather(1, row)) * real
    source = (starts.gather(1, row) + column) * real
    time = torch.arange(L, device=device)
    held = (first[..., None] + time).where(time < sizes[..., None], T)  # [M, B, L]
    return Batch(
        tokens=corpus[source],
        targets=corpus[source + 1].masked_fill(~real, IGNORE),
        positions=column,
        slots=held.flatten(1),
        places=(row * L + column).where(real, B * L),
        counts=ends[:, -1].float(),
        shape=(B, L),
    )


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
