"""Ragged batches for a stack of models: packed tokens, and the indices between packed and padded layouts.

Shapes in comments: M members, B sequences each, L the longest sequence, T tokens of the member with most, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    unpack: Tensor
    """int64 [3, M·B·H, L]: where queries, keys and values stand in a packed [M·T, 3, H] array; for padding, one
    past its end."""
    pack: Tensor
    """int64 [M·T, 3, H]: where they stand in a padded [3, M·B·H, L] array; behind the tokens, one past its end."""
    unpack_one: Tensor
    """int64 [1, M·B·H, L]: as ``unpack`` for a single packed array [M·T, H]."""
    pack_one: Tensor
    """int64 [M·T, 1, H]: as ``pack`` for a single padded array [M·B·H, L]."""
    causal: Tensor
    """[L, L]: 0 where the row's token may see the column's, −∞ behind it."""
    counts: Tensor
    """float32 [M]: tokens of each member."""
    size: int
    """B."""


def make_batch(members: Sequence[Sequence[np.ndarray]], heads: int) -> Batch:
    """Pack the token sequences of every member (each at least two tokens long); the same number for each."""
    sequences = [sequence for member in members for sequence in member]
    sizes = np.array([len(sequence) for sequence in sequences])
    starts = torch.from_numpy(np.cumsum(sizes) - sizes).view(len(members), -1)
    targets = torch.from_numpy(sizes - 1).view(len(members), -1)
    shape = (int(targets.sum(1).max()), int(targets.max()))
    return lay_out(torch.from_numpy(np.concatenate(sequences)), starts, targets, shape, heads)


def lay_out(corpus: Tensor, starts: Tensor, sizes: Tensor, shape: tuple[int, int], heads: int) -> Batch:
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
    place = (starts.gather(1, row) + column) * real
    head, time = torch.arange(heads, device=device), torch.arange(L, device=device)
    member = torch.arange(M, device=device)[:, None]
    padded = ((row + B * member) * heads)[..., None, None] + head  # [M, T, 1, H]
    padded = padded * L + column[..., None, None]
    packed = (first + T * member)[..., None, None] + time  # [M, B, 1, L]

    def pack(parts: int) -> Tensor:
        size, part = M * B * heads * L, torch.arange(parts, device=device)[:, None]
        index = (padded + size * part).where(real[..., None, None], size * parts)
        return index.view(M * T, parts, heads)

    def unpack(parts: int) -> Tensor:
        part = torch.arange(parts, device=device).view(-1, 1, 1, 1, 1)
        index = (packed * parts + part) * heads + head[:, None]  # [parts, M, B, H, L]
        index = index.where(time < sizes[..., None, None], M * T * parts * heads)
        return index.view(parts, M * B * heads, L)

    return Batch(
        tokens=corpus[place],
        targets=corpus[place + 1].masked_fill(~real, IGNORE),
        positions=column,
        unpack=unpack(3),
        pack=pack(3),
        unpack_one=unpack(1),
        pack_one=pack(1),
        causal=torch.full((L, L), -torch.inf, device=device).triu(1),
        counts=ends[:, -1].float(),
        size=B,
    )
