"""Steps of a stack: on a CPU member by member, in shares of its batch, a thread each; on a GPU all members at once.

Launched one by one from Python, kernels this small keep a GPU waiting. So a step there is nothing but kernels, which
are recorded and replayed: its batch is cut from the corpus on the device, its dropout masks are hashed there, and the
optimizer decides there which members go on. The host says which sequences are next, the step and the learning rate,
and replays the step's CUDA graph; there is one for each shape that batches are padded to, all on one pool of memory.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from auxin.config import RunConfig
from auxin.models.batch import lay_out, make_batch
from auxin.models.devices import stay_single
from auxin.models.dropout import HashedDropout, MemberDropout
from auxin.models.ensemble import Ensemble
from auxin.training.batches import Batches, shares
from auxin.training.optimizer import StackAdamW, slices

# of glibc's malloc.h, and its largest threshold for blocks that are mapped one by one
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK, _KEPT = 2**25, 2**28


class SharedSteps:
    """Takes each member by itself, since one's activations fit a cache and five's don't.

    Its batch is taken in ``config.shares`` parts, a thread a part: at these sizes that uses two cores better than
    two threads inside every operation. Operations run on one thread each and shares are summed in order, so that a
    member's bits depend neither on the number of threads nor on the other members.
    """

    def __init__(
        self, config: RunConfig, ensemble: Ensemble, batches: Batches, optimizer: StackAdamW
    ) -> None:
        self.config, self.ensemble, self.batches, self.optimizer = config, ensemble, batches, optimizer
        gradient = ensemble.gradient
        self.spares = [torch.zeros_like(gradient) for _ in range(config.shares - 1)]
        self.workers = [
            _Worker(ensemble.part(m, g[m : m + 1]), index)
            for m in range(len(config.seeds))
            for index, g in enumerate([gradient, *self.spares])
        ]
        keep_freed_memory()
        self.threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(self.threads, initializer=stay_single)

    def take(self, step: int, rate: float) -> tuple[Tensor, Tensor, int]:
        """Losses [M], gradient norms [M] before clipping, and the tokens of all members."""
        batches, count = self.batches.at(step), self.config.shares
        tokens = [sum(map(len, sequences)) - len(sequences) for sequences in batches]
        work = [share for sequences in batches for share in shares(sequences, count, self.config.model)]
        totals = [n for n in tokens for _ in range(count)]
        jobs = list(zip(self.workers, work, totals, strict=True))
        parts = list(self.pool.map(lambda job: job[0].work(step, *job[1:]), jobs))
        if self.spares:
            list(self.pool.map(self._sum, slices(self.ensemble.gradient.shape[1], self.threads)))
        losses = torch.tensor(parts).view(-1, count).sum(1)
        norms = self.optimizer.update(losses, rate, step, self.threads, self.pool.map)
        return losses, norms, sum(tokens)

    def _sum(self, columns: slice) -> None:
        for spare in self.spares:
            self.ensemble.gradient[:, columns] += spare[:, columns]


class _Worker:
    """Differentiates one share of one member's batch, group by group, into a gradient of its own."""

    def __init__(self, part: Ensemble, index: int) -> None:
        self.part, self.index = part, index
        self.dropout = MemberDropout(part.config, part.seeds[0])

    def work(self, step: int, groups: list[list[np.ndarray]], tokens: int) -> float:
        """This share's part of the mean loss over the ``tokens`` tokens of all shares."""
        loss = 0.0
        if not groups:
            self.part.gradient.zero_()
        for i, group in enumerate(groups):
            batch = make_batch([group])
            self.part.add = i > 0
            masks = self.dropout.masks(batch, step, (self.index, i) if self.index or i else ())
            loss += self.part.differentiate(batch, masks, torch.tensor([float(tokens)])).item()
        return loss


def keep_freed_memory() -> None:
    """Make the process keep up to 256 MiB that is free at the end of a heap, where its C library is glibc.

    Handed back, activations are faulted in again, page by page: up to a tenth of a step.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):  # no such library, or one without mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _KEPT)


LAUNCH_BOUND = (
    2**23
)  # a layer's attention weights; with more, kernels are long enough to be launched one by one


class StackedSteps:
    """Takes all members at once. With ``capture``, which needs a GPU, what repeats is recorded and replayed."""

    def __init__(
        self, config: RunConfig, ensemble: Ensemble, batches: Batches, optimizer: StackAdamW, capture: bool
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
