"""Steps of a stack on a CPU: member by member, in shares of its batch that a thread each differentiates."""

from __future__ import annotations

import contextlib
import ctypes
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from auxin.config import RunConfig
from auxin.models.batch import make_batch
from auxin.models.dropout import MemberDropout
from auxin.models.ensemble import Ensemble
from auxin.models.threads import stay_single
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
