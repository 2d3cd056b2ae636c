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
    lengths: tuple[int, ...]
    """Tokens of each member."""
    longest: tuple[int, ...]
    """Longest sequence of each member."""
    size: int
    """B."""

    @property
    def counts(self) -> Tensor:
        """[M]: tokens of each member, as floats."""
        return torch.tensor(self.lengths, dtype=torch.float32, device=self.tokens.device)


def make_batch(members: Sequence[Sequence[np.ndarray]], heads: int, device: str = "cpu") -> Batch:
    """Pack the token sequences of every member (each at least two tokens long); the same number for each."""
    sizes = np.array(
        [[len(s) - 1 for s in sequences] for sequences in members]
    )  # [M, B]: positions with a target
    M, B = sizes.shape
    L, lengths = int(sizes.max()), sizes.sum(1)
    T = int(lengths.max())
    tokens, targets = np.zeros((M, T), np.int64), np.full((M, T), IGNORE, np.int64)
    row, column, positions = (
        np.zeros((M, T), np.int64),
        np.zeros((M, T), np.int64),
        np.zeros((M, T), np.int64),
    )
    for m, sequences in enumerate(members):
        n = lengths[m]
        flat = np.concatenate(sequences)
        ends = np.cumsum(sizes[m] + 1)
        tokens[m, :n] = np.delete(flat, ends - 1)
        targets[m, :n] = np.delete(flat, ends - sizes[m] - 1)
        row[m, :n] = np.repeat(np.arange(B), sizes[m])
        starts = np.cumsum(sizes[m]) - sizes[m]
        positions[m, :n] = column[m, :n] = np.arange(n) - np.repeat(starts, sizes[m])
    real = np.arange(T) < lengths[:, None]  # [M, T]
    indices = [a for parts in (3, 1) for a in _layout_indices(row, column, real, (B, L), (parts, heads))]
    causal = np.triu(np.full((L, L), -np.inf, np.float32), 1)
    arrays = (tokens, targets, positions, *indices, causal)
    tensors = (torch.from_numpy(a).to(device) for a in arrays)
    return Batch(*tensors, lengths=tuple(map(int, lengths)), longest=tuple(map(int, sizes.max(1))), size=B)


def _layout_indices(
    row: np.ndarray, column: np.ndarray, real: np.ndarray, padded: tuple[int, int], split: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """``unpack`` and ``pack`` between packed [M·T, parts, H] and padded [parts, M·B·H, L] rows; see ``Batch``."""
    M, T = row.shape
    (B, L), (parts, H) = padded, split
    head = np.arange(H)
    sequence = row + B * np.arange(M)[:, None]  # [M, T] in 0 … M·B
    part = np.arange(parts)[:, None]
    pack = ((part * (M * B) + sequence[..., None, None]) * H + head) * L + column[..., None, None]
    pack[~real] = parts * M * B * H * L
    where = np.full((M * B, L), -1, np.int64)  # which packed token stands there
    where[sequence[real], column[real]] = np.arange(M * T).reshape(M, T)[real]
    where = where[:, None, :]
    unpack = (where * parts + part[:, :, None, None]) * H + head[:, None]  # [parts, M·B, H, L]
    unpack = np.where(where < 0, M * T * parts * H, unpack)
    return unpack.reshape(parts, M * B * H, L), pack.reshape(M * T, parts, H)
