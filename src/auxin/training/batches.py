"""Which sentences a member sees at which step: a fresh shuffle an epoch, a function of seed and step alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auxin.config import ModelConfig
from auxin.errors import ConfigError, DataError

STREAM = 0x64617461  # keeps these streams apart from those of dropout


class Batches:
    """Batches of token sequences for every member of a stack.

    Each epoch is a pass over all sequences in an order drawn from (seed, epoch); the few that do not fill a last
    batch are left out of that epoch. Nothing has to be saved to resume.
    """

    def __init__(self, sequences: Sequence[np.ndarray], seeds: Sequence[int], batch_size: int) -> None:
        if batch_size > len(sequences):
            raise ConfigError(
                f"batch_size is {batch_size}; allowed: up to the {len(sequences)} training sentences"
            )
        self.sequences, self.seeds, self.batch_size = sequences, tuple(seeds), batch_size
        self._epoch, self._orders = -1, np.empty((0, 0))

    def at(self, step: int) -> list[list[np.ndarray]]:
        """For every member, the sequences of step 0, 1, …"""
        epoch, index = divmod(step, len(self.sequences) // self.batch_size)
        if epoch != self._epoch:
            self._orders = np.stack([_order(seed, epoch, len(self.sequences)) for seed in self.seeds])
            self._epoch = epoch
        picked = self._orders[:, index * self.batch_size : (index + 1) * self.batch_size]
        return [[self.sequences[i] for i in row] for row in picked]


def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64([STREAM, seed, epoch])).permutation(size)


def check_sequences(sequences: Sequence[np.ndarray], model: ModelConfig) -> None:
    """Refuse a sequence that is too short to predict anything or longer than the model's positions."""
    lengths = np.fromiter((len(s) for s in sequences), np.int64, len(sequences))
    if len(lengths) == 0 or lengths.min() < 2:
        raise DataError("a training sequence has fewer than 2 tokens; allowed: <bos> and at least one more")
    if model.positions != "none" and lengths.max() - 1 > model.max_length:
        raise ConfigError(
            f"model.max_length is {model.max_length}; allowed here: at least {lengths.max() - 1}, "
            "the longest training sequence"
        )
