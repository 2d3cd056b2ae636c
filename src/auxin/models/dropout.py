"""Dropout masks for a stack of models, all of one step at once, from 8-bit pieces of random words.

The probability is rounded to a multiple of 1/256 (0.1 → 26/256 = 0.1016), and what is kept is scaled by the
rounded value, so it stays unbiased. A member's masks depend on its seed, the step and its own batch alone: nothing
has to be saved to resume, and it does not matter who else is in the stack. The words come fast and in different
ways: on a CPU from numpy's SFC64, at 1 ns an element, ten times less than ``bernoulli_``; on a GPU from a hash of
where they stand, which needs no generator with a state and no word from the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod

import numpy as np
import torch
from torch import Tensor

from auxin.architecture.model import ModelConfig
from auxin.models.batch import Batch, Masks
from auxin.models.stack import BODIES

STREAM = 0x64726F70  # keeps these streams apart from those of the data order


class MemberDropout:
    """Draws one member's masks on a CPU: a byte an element, kept where it is at least 256·p, in reused buffers."""

    def __init__(self, config: ModelConfig, seed: int) -> None:
        self.config, self.seed, self.threshold = config, seed, _threshold(config)
        self.widths = _widths(config)
        self._kept, self._factors = torch.empty(0, dtype=torch.uint8), torch.empty(0)

    def masks(self, batch: Batch, step: int, piece: tuple[int, ...] = ()) -> Masks:
        """Masks for this piece of this step's batch of one member; they are valid until the next call."""
        if not self.threshold:
            return Masks()
        (B, L), T = batch.shape, batch.tokens.shape[1]
        shapes = [(B * self.config.heads, L, L) if width is None else (1, T, width) for width in self.widths]
        sizes = [prod(shape) for shape in shapes]
        size = sum(sizes)
        if size > len(self._kept):
            self._kept, self._factors = self._kept.new_empty(size * 5 // 4), torch.empty(size * 5 // 4)
        words = np.random.SFC64([STREAM, self.seed, step, *piece]).random_raw(-(-size // 8))
        torch.ge(torch.from_numpy(words.view(np.uint8)[:size]), self.threshold, out=self._kept[:size])
        factors = self._factors[:size].copy_(self._kept[:size])
        factors *= 256 / (256 - self.threshold)
        return Masks(f.view(s) for f, s in zip(factors.split(sizes), shapes, strict=True))


class HashedDropout:
    """Draws a stack's masks on its device with arithmetic alone, whatever T and L its batches are padded to.

    Bytes of the outputs of SplitMix64 (Steele, Lea, Flood 2014): each member and step has a random place of its
    own in the generator's sequence; how far from there an element's byte is depends on nothing but its token and
    unit, or its sequence, head, row and column.
    """

    def __init__(self, config: ModelConfig, seeds: Sequence[int], device: str = "cpu") -> None:
        self.config, self.threshold = config, _threshold(config)
        self.widths = _widths(config)
        self.seeds = torch.tensor(seeds, device=device)

    def masks(self, batch: Batch, step: Tensor) -> Masks:
        """Masks for the batch of this step, an int64 on the device."""
        if not self.threshold:
            return Masks()
        config, device = self.config, batch.tokens.device
        (M, T), (B, L) = batch.tokens.shape, batch.shape
        rows = B * config.heads
        places = _mix(_mix(self.seeds + _GAMMA) + step * _GAMMA)  # [M]
        widths = [width for width in self.widths if width is not None]
        units = -(-sum(widths) // 8)  # words a token
        word = torch.arange(1, T * units + 1, device=device)
        tokens = self._factors(places[:, None] + word * _GAMMA).view(M, T, -1)[..., : sum(widths)]
        row = torch.arange(self.widths.count(None) * rows, device=device).view(-1, 1, rows, 1, 1)
        query = torch.arange(L, device=device)[:, None]
        word = torch.arange(-(-L // 8), device=device) + (query << 20) + (row << 40) + (1 << 62)
        weights = self._factors(places[:, None, None, None] + word * _GAMMA)[
            ..., :L
        ]  # [depth, M, rows, L, L]
        of_layers, of_tokens = iter(weights.reshape(-1, M * rows, L, L)), iter(tokens.split(widths, -1))
        return Masks(next(of_layers if width is None else of_tokens) for width in self.widths)

    def _factors(self, states: Tensor) -> Tensor:
        """A factor for each byte of the generator's outputs at int64 states [..., n]: [..., 8·n]."""
        return (_mix(states).view(torch.uint8) >= self.threshold) * (256 / (256 - self.threshold))


_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # SplitMix64's increment and factors, as int64 holds them


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's output at the state z; int64 wraps around, and masks make its shifts logical."""
    z = (z ^ (z >> 30 & 2**34 - 1)) * (0xBF58476D1CE4E5B9 - 2**64)
    z = (z ^ (z >> 27 & 2**37 - 1)) * (0x94D049BB133111EB - 2**64)
    return z ^ (z >> 31 & 2**33 - 1)


def _threshold(config: ModelConfig) -> int:
    """Bytes below it are dropped."""
    return 0 if config.dropout == 0 else min(255, max(1, round(256 * config.dropout)))


def _widths(config: ModelConfig) -> list[int | None]:
    """Width of every mask in the order of a forward pass; None stands for attention weights."""
    sublayers = [sublayer for layer in config.network().layers for sublayer in layer.sublayers]
    inside = [(*BODIES[type(sublayer.body)].masked(config.sizes), config.width) for sublayer in sublayers]
    return [config.width, *chain.from_iterable(inside)]
