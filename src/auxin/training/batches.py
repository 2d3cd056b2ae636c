"""Which sentences a member sees at which step: a fresh shuffle an epoch, a function of seed and step alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from auxin.config import ModelConfig
from auxin.errors import ConfigError, DataError
from auxin.values import check

STREAM = 0x64617461  # keeps these streams apart from those of dropout
WORTH_A_PASS = 2**18  # entries of attention weights saved by splitting a group of sequences


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
        return [[self.sequences[i] for i in row] for row in self.picked(step)]

    def picked(self, step: int) -> np.ndarray:
        """[M, B]: the indices of those sequences."""
        epoch, index = divmod(step, len(self.sequences) // self.batch_size)
        if epoch != self._epoch:
            self._orders = np.stack([_order(seed, epoch, len(self.sequences)) for seed in self.seeds])
            self._epoch = epoch
        return self._orders[:, index * self.batch_size : (index + 1) * self.batch_size]


def shares(sequences: Sequence[np.ndarray], count: int, model: ModelConfig) -> list[list[list[np.ndarray]]]:
    """A member's batch in ``count`` shares of about the same cost, each in groups of similar length.

    A sequence of n tokens costs about n(1 + n/width) in a group of its own length. The split depends on the
    batch and ``count`` alone. A share is empty where there are fewer sequences than shares; a batch that stays
    whole keeps its order.
    """
    ordered = sorted(sequences, key=len)
    costs = np.cumsum([len(s) * (1 + len(s) / model.width) for s in ordered])
    cuts = [int(np.argmin(np.abs(costs - costs[-1] * i / count))) + 1 for i in range(1, count)]
    bounds = [0, *cuts, len(ordered)]
    cut = [_groups(ordered[a:b], model.heads) if a < b else [] for a, b in pairwise(bounds)]
    return cut if sum(map(len, cut)) > 1 else [[list(sequences)], *[[]] * (count - 1)]


def _groups(ordered: list[np.ndarray], heads: int) -> list[list[np.ndarray]]:
    """Cut where padding costs attention most, for as long as a cut is worth another pass through the model."""
    squares = np.array([len(s) for s in ordered], float) ** 2
    count = np.arange(1, len(ordered))
    saved = count * (squares[-1] - squares[:-1])  # entries of the padded weights, by where the cut is
    if len(count) == 0 or heads * saved.max() < WORTH_A_PASS:
        return [ordered]
    cut = int(count[saved.argmax()])
    return _groups(ordered[:cut], heads) + _groups(ordered[cut:], heads)


def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64([STREAM, seed, epoch])).permutation(size)


def check_sequences(sequences: Sequence[np.ndarray], model: ModelConfig) -> None:
    """Refuse a sequence that is too short to predict anything or longer than the model's positions."""
    lengths = np.fromiter((len(s) for s in sequences), np.int64, len(sequences))
    if len(lengths) == 0 or lengths.min() < 2:
        raise DataError("a training sequence has fewer than 2 tokens; allowed: <bos> and at least one more")
    check_length(int(lengths.max()) - 1, "training sequence", model)
    check(model.causal, "model.causal", False, "true, where the next token is what is learned")


def check_length(longest: int, what: str, model: ModelConfig) -> None:
    """Refuse more tokens than the model has positions."""
    if model.positions != "none" and longest > model.max_length:
        raise ConfigError(
            f"model.max_length is {model.max_length}; allowed here: at least {longest}, the longest {what}"
        )
