"""One optimizer step of a stack, and the state from which it goes on bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from torch import Tensor, nn

from auxin.config import RunConfig
from auxin.models.batch import make_batch
from auxin.models.dropout import Dropout
from auxin.models.ensemble import Ensemble
from auxin.training.batches import Batches, check_sequences, shares
from auxin.training.precision import float32_products
from auxin.training.schedule import learning_rate

BLOCK = 4096  # elements of a gradient whose squares are summed at a time


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did."""

    losses: Tensor
    """[M]: mean cross-entropy of each member's batch, in nats a token."""
    gradient_norms: Tensor
    """[M]: before clipping."""
    tokens: int
    """Tokens of all members together."""


class Trainer:
    """Trains the stack of a ``RunConfig`` on token sequences; ``step`` is all there is to call.

    Members have their own data order, dropout, clipping and AdamW state (Loshchilov & Hutter 2019). A member whose
    loss or gradient is not finite is frozen with the weights it had, and the rest go on.

    A GPU takes all members at once, to be busy. A CPU takes each member by itself, since one's activations fit
    its cache and five's don't, in ``config.shares`` parts of its batch, a thread a part: at these sizes that uses
    two cores better than two threads inside every operation. Operations run on one thread each and shares are
    summed in order, so that a member's bits depend neither on the number of threads nor on the other members.
    """

    def __init__(self, config: RunConfig, sequences: Sequence[np.ndarray]) -> None:
        check_sequences(sequences, config.model)
        self.config, self.count = config, 0
        self.ensemble = Ensemble(config.model, config.seeds, config.device, config.precision)
        self.batches = Batches(sequences, config.seeds, config.batch_size)
        self.frozen: dict[int, int] = {}  # seed → the step at which it diverged
        self.optimizers = [self._optimizer(m) for m in range(len(config.seeds))]
        self.dropout = Dropout(config.model, config.seeds, config.device)
        gradient = self.ensemble.gradient
        self.spares = [torch.zeros_like(gradient) for _ in range(config.shares - 1 if self.by_shares else 0)]
        self.workers = [
            _Worker(self.ensemble.part(m, g[m : m + 1]), index)
            for m in range(len(config.seeds))
            for index, g in enumerate([gradient, *self.spares])
        ]
        self.pool = ThreadPoolExecutor(
            torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)
        )

    @property
    def by_shares(self) -> bool:
        return self.config.device == "cpu"

    def step(self) -> StepResult:
        """One step of every member that is not frozen."""
        config = self.config
        with float32_products(config.precision):
            losses, tokens = self._in_shares() if self.by_shares else self._at_once()
        norms = _norms(self.ensemble.gradient)
        rate = learning_rate(config.optimizer, self.count, config.steps)
        finite = (losses.isfinite() & norms.isfinite()).tolist()
        for seed, optimizer, norm, fine in zip(config.seeds, self.optimizers, norms, finite, strict=True):
            if seed in self.frozen:
                continue
            if not fine:
                self.frozen[seed] = self.count
                continue
            optimizer.param_groups[0]["lr"] = rate
            if config.optimizer.clip:  # the fused kernel divides the gradient by it: no pass of our own
                setattr(optimizer, "grad_scale", ((norm + 1e-6) / config.optimizer.clip).clamp(min=1.0))  # noqa: B010
            optimizer.step()
        self.count += 1
        return StepResult(losses, norms, tokens)

    def _at_once(self) -> tuple[Tensor, int]:
        """Losses [M] of all members and the tokens of their batches; fills the gradient."""
        batch = make_batch(self.batches.at(self.count), self.config.model.heads, self.config.device)
        losses = self.ensemble.losses(batch, self.dropout.masks(batch, self.count))
        losses.sum().backward()
        return losses.detach(), sum(batch.lengths)

    def _in_shares(self) -> tuple[Tensor, int]:
        """As ``_at_once``, by threads that take a share of a member's batch at a time."""
        batches, count = self.batches.at(self.count), self.config.shares
        tokens = [sum(map(len, sequences)) - len(sequences) for sequences in batches]
        work = [share for sequences in batches for share in shares(sequences, count, self.config.model)]
        totals = [n for n in tokens for _ in range(count)]
        with _one_thread_each():
            parts = list(self.pool.map(_Worker.work, self.workers, repeat(self.count), work, totals))
        for spare in self.spares:
            self.ensemble.gradient += spare
        return torch.tensor(parts).view(-1, count).sum(1), sum(tokens)

    def state(self) -> dict[str, Tensor]:
        """What resuming needs besides the members' weights: the optimizer's moments [M, P] and step counts [M]."""
        states = [optimizer.state[row] for optimizer, row in self._rows()]
        return {name: torch.stack([s[name] for s in states]) for name in ("exp_avg", "exp_avg_sq", "step")}

    def restore(
        self,
        count: int,
        weights: Mapping[int, Mapping[str, Tensor]],
        state: Mapping[str, Tensor],
        frozen: Mapping[int, int],
    ) -> None:
        """Go on from step ``count`` with each seed's weights and the tensors of ``state``."""
        self.count, self.frozen = count, dict(frozen)
        with torch.no_grad():
            for m, seed in enumerate(self.config.seeds):
                for name, view in self.ensemble.parameters.items():
                    view[m] = weights[seed][name]
            for m, (optimizer, row) in enumerate(self._rows()):
                for name, tensor in optimizer.state[row].items():
                    tensor.copy_(state[name][m])

    def _optimizer(self, m: int) -> torch.optim.AdamW:
        o = self.config.optimizer
        row = nn.Parameter(self.ensemble.flat[m])
        row.grad = self.ensemble.gradient[m]
        optimizer = torch.optim.AdamW(
            [row], o.learning_rate, (o.beta1, o.beta2), o.epsilon, weight_decay=o.weight_decay, fused=True
        )
        # what its first step would create, so that there is a state to save and to restore from the start
        optimizer.state[row] = {
            "step": torch.zeros((), device=row.device),
            "exp_avg": torch.zeros_like(row),
            "exp_avg_sq": torch.zeros_like(row),
        }
        return optimizer

    def _rows(self) -> list[tuple[torch.optim.AdamW, nn.Parameter]]:
        return [(optimizer, optimizer.param_groups[0]["params"][0]) for optimizer in self.optimizers]


class _Worker:
    """Differentiates one share of one member's batch, group by group, into a gradient of its own."""

    def __init__(self, part: Ensemble, index: int) -> None:
        self.part, self.index = part, index
        self.dropout = Dropout(part.config, part.seeds)

    def work(self, step: int, groups: list[list[np.ndarray]], tokens: int) -> float:
        """This share's part of the mean loss over the ``tokens`` tokens of all shares."""
        loss = 0.0
        if not groups:
            self.part.gradient.zero_()
        for i, group in enumerate(groups):
            batch = make_batch([group], self.part.config.heads)
            self.part.add = i > 0
            masks = self.dropout.masks(batch, step, (self.index, i))
            nats = self.part.losses(batch, masks, torch.tensor([float(tokens)]))
            nats.sum().backward()
            loss += nats.item()
        return loss


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Operations inside run on the thread that calls them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _norms(gradient: Tensor) -> Tensor:
    """Norms of the rows of [M, P]; summed in blocks, so that they do not depend on the number of threads."""
    whole = gradient.shape[1] // BLOCK * BLOCK
    blocks = torch.linalg.vector_norm(gradient[:, :whole].unflatten(1, (-1, BLOCK)), dim=2)
    rest = torch.linalg.vector_norm(gradient[:, whole:], dim=1, keepdim=True)
    return torch.linalg.vector_norm(torch.cat([blocks, rest], dim=1), dim=1)
