"""AdamW of a stack: each member clipped by its own norm, and frozen when it diverges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from auxin.config import OptimizerConfig
from auxin.models.ensemble import Ensemble
from auxin.training.threads import one_thread_each


class StackAdamW:
    """AdamW (Loshchilov & Hutter 2019) on the rows of a stack's parameters, without a word to or from the host.

    A member whose loss or gradient norm is not finite keeps the weights it had from that step on.
    """

    def __init__(self, config: OptimizerConfig, ensemble: Ensemble) -> None:
        self.config, self.weights, self.gradient = config, ensemble.flat, ensemble.gradient
        self.moments = [torch.zeros_like(ensemble.flat) for _ in range(2)]
        self.steps = torch.zeros(len(ensemble.flat), device=ensemble.device)
        self.frozen_at = torch.full_like(self.steps, -1, dtype=torch.int64)
        """int64 [M]: the step at which a member diverged, −1 while it has not."""

    def update(self, losses: Tensor, rate: float | Tensor, step: int | Tensor) -> Tensor:
        """Take a step with the ensemble's gradient, which is spent; gradient norms [M] before clipping."""
        c = self.config
        with one_thread_each():
            norms = torch.linalg.vector_norm(self.gradient, dim=1)
        diverged = ~(losses.isfinite() & norms.isfinite()) & (self.frozen_at < 0)
        self.frozen_at.copy_(torch.where(diverged, step, self.frozen_at))
        frozen = (self.frozen_at >= 0).float()
        divisors = ((norms + 1e-6) / c.clip).clamp(min=1.0) if c.clip else torch.ones_like(norms)
        for m in range(len(norms)):
            adamw(
                [self.weights[m]],
                [self.gradient[m]],
                [self.moments[0][m]],
                [self.moments[1][m]],
                [],
                [self.steps[m]],
                fused=True,
                grad_scale=divisors[m],  # the kernel divides by it: no pass of our own
                found_inf=frozen[m],  # the kernel does nothing where it is 1
                lr=rate,
                beta1=c.beta1,
                beta2=c.beta2,
                eps=c.epsilon,
                weight_decay=c.weight_decay,
                amsgrad=False,
                maximize=False,
            )
        return norms

    def state(self) -> dict[str, Tensor]:
        """The moments [M, P] and step counts [M]."""
        return dict(zip(("exp_avg", "exp_avg_sq", "step"), (*self.moments, self.steps), strict=True))

    def restore(self, state: Mapping[str, Tensor], frozen_at: Sequence[int]) -> None:
        """Go on from a ``state`` and what ``frozen_at`` was then."""
        self.frozen_at.copy_(torch.tensor(frozen_at))
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
