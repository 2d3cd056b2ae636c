"""One optimizer step of a stack, and the state from which it goes on bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auxin.config import Precision, RunConfig
from auxin.models.ensemble import Ensemble
from auxin.models.fast.ensemble import FastEnsemble, supports
from auxin.training.batches import Batches, check_sequences
from auxin.training.optimizer import StackAdamW, learning_rate
from auxin.training.steps import SharedSteps, StackedSteps


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did; its tensors are on the device, which may still be at it."""

    losses: Tensor
    """[M]: mean cross-entropy of each member's batch, in nats a token."""
    gradient_norms: Tensor
    """[M]: before clipping."""
    tokens: int
    """Tokens of all members together."""


class Trainer:
    """Trains the stack of a ``RunConfig`` on token sequences; ``step`` is all there is to call.

    Members have their own data order, dropout, clipping and AdamW state. A member whose loss or gradient is not
    finite is frozen with the weights it had, and the rest go on. A CPU takes members one by one, a GPU all at
    once; ``at_once`` chooses otherwise.
    """

    def __init__(
        self, config: RunConfig, sequences: Sequence[np.ndarray], *, at_once: bool | None = None
    ) -> None:
        check_sequences(sequences, config.model)
        self.config, self.count = config, 0
        kind = FastEnsemble if supports(config.model) else Ensemble
        self.ensemble = kind(config.model, config.seeds, config.device, config.precision)
        self.batches = Batches(sequences, config.seeds, config.batch_size)
        self.optimizer = StackAdamW(config.optimizer, self.ensemble)
        on_gpu = config.device != "cpu"
        parts = (config, self.ensemble, self.batches, self.optimizer)
        if on_gpu if at_once is None else at_once:
            self._steps = StackedSteps(*parts, capture=on_gpu and kind is FastEnsemble)
        else:
            self._steps = SharedSteps(*parts)

    def step(self) -> StepResult:
        """One step of every member that is not frozen."""
        rate = learning_rate(self.config.optimizer, self.count, self.config.steps)
        with float32_products(self.config.precision):
            result = StepResult(*self._steps.take(self.count, rate))
        self.count += 1
        return result

    @property
    def frozen(self) -> dict[int, int]:
        """Of the members that diverged, the seed and the step at which they did; waits for the device."""
        steps = zip(self.config.seeds, self.optimizer.frozen_at.tolist(), strict=True)
        return {seed: step for seed, step in steps if step >= 0}

    def restore(
        self,
        count: int,
        weights: Mapping[int, Mapping[str, Tensor]],
        state: Mapping[str, Tensor],
        frozen: Mapping[int, int],
    ) -> None:
        """Go on from step ``count`` with each seed's weights and the optimizer's ``state``."""
        self.count = count
        with torch.no_grad():
            for m, seed in enumerate(self.config.seeds):
                for name, view in self.ensemble.parameters.items():
                    view[m] = weights[seed][name]
        self.optimizer.restore(state, [frozen.get(seed, -1) for seed in self.config.seeds])


@contextmanager
def float32_products(precision: Precision) -> Iterator[None]:
    """Inside, a GPU multiplies matrices in float32 where that is the run's precision, else in tf32.

    A switch of the whole process: whatever it was outside comes back.
    """
    matmul = torch.backends.cuda.matmul
    # the older name can be set in any state, but not be read once the newer one (from torch 2.9) was set
    newer = hasattr(matmul, "fp32_precision")
    before = matmul.fp32_precision == "tf32" if newer else matmul.allow_tf32
    matmul.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        matmul.allow_tf32 = before
