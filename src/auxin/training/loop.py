"""One optimizer step of a stack, and the state from which it goes on bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from auxin.config import RunConfig
from auxin.models.batch import make_batch
from auxin.models.dropout import Dropout
from auxin.models.ensemble import Ensemble
from auxin.training.batches import Batches, check_sequences
from auxin.training.schedule import learning_rate


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
    loss or gradient is not finite is frozen with the weights it had, and the rest go on. A GPU takes all members
    at once, to be busy; a CPU one after the other, since one member's activations fit its cache and five's don't.
    """

    def __init__(self, config: RunConfig, sequences: Sequence[np.ndarray]) -> None:
        check_sequences(sequences, config.model)
        self.config, self.count = config, 0
        self.ensemble = Ensemble(config.model, config.seeds, config.device)
        self.batches = Batches(sequences, config.seeds, config.batch_size)
        alone = config.device == "cpu"
        self.parts = [self.ensemble.part(m) for m in range(len(config.seeds))] if alone else [self.ensemble]
        self.dropouts = [Dropout(config.model, part.seeds, config.device) for part in self.parts]
        self.frozen: dict[int, int] = {}  # seed → the step at which it diverged
        self.optimizers = [self._optimizer(m) for m in range(len(config.seeds))]

    def step(self) -> StepResult:
        """One step of every member that is not frozen."""
        config = self.config
        losses, norms, tokens = self._differentiate()
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

    def _differentiate(self) -> tuple[Tensor, Tensor, int]:
        """Losses and gradient norms [M] of every member, and the tokens of their batches; fills the gradient."""
        losses: list[Tensor] = []
        norms: list[Tensor] = []
        members, tokens = iter(self.batches.at(self.count)), 0
        for part, dropout in zip(self.parts, self.dropouts, strict=True):
            sequences = list(itertools.islice(members, len(part.seeds)))
            batch = make_batch(sequences, self.config.model.heads, self.config.device)
            loss = part.losses(batch, dropout.masks(batch, self.count))
            norms.append(part.backward(loss))
            losses.append(loss.detach())
            tokens += sum(batch.lengths)
        return torch.cat(losses), torch.cat(norms), tokens

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
