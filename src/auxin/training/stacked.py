"""Steps of a stack on a GPU: all members at once, as one sequence of kernels that is recorded and replayed.

Launched one by one from Python, kernels this small keep a GPU waiting. So a step is nothing but kernels: its batch
is cut from the corpus on the device, its dropout masks are hashed there, and the optimizer decides there which
members go on. The host says which sequences are next, the step and the learning rate, and replays the step's CUDA
graph; there is one for each shape that batches are padded to, all on one pool of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from auxin.config import RunConfig
from auxin.models.batch import lay_out
from auxin.models.dropout import HashedDropout
from auxin.models.ensemble import Ensemble
from auxin.training.batches import Batches
from auxin.training.optimizer import StackAdamW

LAUNCH_BOUND = (
    2**23
)  # a layer's attention weights; with more, kernels are long enough to be launched one by one


class StackedSteps:
    """Takes all members at once. With ``capture``, which needs a GPU, what repeats is recorded and replayed."""

    def __init__(
        self,
        config: RunConfig,
        ensemble: Ensemble,
        batches: Batches,
        optimizer: StackAdamW,
        capture: bool,
    ) -> None:
        self.ensemble, self.batches, self.optimizer = ensemble, batches, optimizer
        self.dropout = HashedDropout(config.model, config.seeds, config.device)
        lengths = np.array([len(sequence) for sequence in batches.sequences])
        self._starts, self._sizes = np.cumsum(lengths) - lengths, lengths - 1
        (M, B), device = (len(config.seeds), config.batch_size), config.device
        self._corpus = torch.from_numpy(np.concatenate(batches.sequences)).to(device)
        self._sequences = torch.zeros(2, M, B, dtype=torch.int64, device=device)  # starts, sizes
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._rate = torch.zeros((), device=device)
        self._losses, self._norms = torch.zeros(2, M, device=device)
        self._stream = torch.cuda.Stream(device) if capture else None
        self._pool = torch.cuda.graph_pool_handle() if capture else None
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}

    def take(self, step: int, rate: float) -> tuple[Tensor, Tensor, int]:
        """Losses [M], gradient norms [M] before clipping, and the tokens of all members; waits for nothing."""
        picked = self.batches.picked(step)
        sequences = np.stack([self._starts[picked], self._sizes[picked]])
        tokens = sequences[1].sum(1)
        shape = padded_size(int(tokens.max())), padded_size(int(sequences[1].max()))
        with self._aside():
            # of memory that is not pinned, CUDA takes a copy before this returns
            self._sequences.copy_(torch.from_numpy(sequences), non_blocking=True)
            self._step.fill_(step)
            self._rate.fill_(rate)
            if shape in self._graphs:
                self._graphs[shape].replay()
            else:
                self._work(shape)
                self._capture(shape)
        return self._losses.clone(), self._norms.clone(), int(tokens.sum())

    def _work(self, shape: tuple[int, int]) -> None:
        """The step that ``take`` has described, on batches padded to ``shape``, (T, L)."""
        starts, sizes = self._sequences
        batch = lay_out(self._corpus, starts, sizes, shape)
        self._losses.copy_(self.ensemble.differentiate(batch, self.dropout.masks(batch, self._step)))
        self._norms.copy_(self.optimizer.update(self._losses, self._rate, self._step))

    def _capture(self, shape: tuple[int, int]) -> None:
        """Record the step, which runs nothing; what it needs warm has just been warmed by running it."""
        weights = self._sequences[0].numel() * self.ensemble.config.heads * shape[1] ** 2
        if self._stream is not None and weights <= LAUNCH_BOUND:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                self._work(shape)
            self._graphs[shape] = graph

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """On a stream of our own, as recording wants it, in order with what the caller's stream does."""
        if self._stream is None:
            yield
            return
        outside = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(outside)
        with torch.cuda.stream(self._stream):
            yield
        outside.wait_stream(self._stream)


def padded_size(n: int) -> int:
    """n rounded up to a multiple of 8 and of a quarter of the power of two below: few sizes, none 25% too much
    from 32 on."""
    unit = max(8, 1 << max(0, n.bit_length() - 3))
    return -(-n // unit) * unit
