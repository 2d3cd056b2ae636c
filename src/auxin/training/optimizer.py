"""AdamW of a stack, each member clipped by its own norm and frozen when it diverges; learning rates over steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from auxin.config import OptimizerConfig
from auxin.models.devices import on_threads
from auxin.models.ensemble import Ensemble


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Rate of step 0 … steps − 1: linear warm-up from 0 to the peak, then constant, or a decay to 0 at decay_steps.

    The first update's rate is 0 where there is a warm-up, as with PyTorch's ``LambdaLR``.
    """
    if step < config.warmup:
        return config.learning_rate * step / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    end = config.decay_steps or steps
    left = min(1.0, max(0.0, (end - step) / max(1, end - config.warmup)))
    return config.learning_rate * (
        left if config.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)
    )


def milestones(steps: int, every: int, automatic: float) -> tuple[int, ...]:
    """Steps at which something happens: 0, each multiple of ``every``, and the last.

    With ``every`` 0: 1, 2, 4, … until the gaps reach the fraction ``automatic`` of the run, which they keep.
    """
    gap = every or max(1, round(steps * automatic))
    regular = set(range(0, steps + 1, gap)) | {steps}
    if not every:
        regular |= {2**i for i in range(gap.bit_length()) if 2**i <= min(gap, steps)}
    return tuple(sorted(regular))


Mapper = Callable[[Callable[[Any], None], Iterable[Any]], Iterable[None]]
"""``map``, or that of a pool."""


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

    def update(
        self, losses: Tensor, rate: float | Tensor, step: int | Tensor, chunks: int = 1, mapper: Mapper = map
    ) -> Tensor:
        """Take a step with the ensemble's gradient, which is spent; gradient norms [M] before clipping.

        Every member's row is taken in ``chunks``, which ``mapper`` maps over: those of a pool, side by side.
        """
        with on_threads(1):  # so that sums are taken in one order
            norms = torch.linalg.vector_norm(self.gradient, dim=1)
        diverged = ~(losses.isfinite() & norms.isfinite()) & (self.frozen_at < 0)
        self.frozen_at.copy_(torch.where(diverged, step, self.frozen_at))
        frozen = (self.frozen_at >= 0).float()
        clip = self.config.clip
        divisors = ((norms + 1e-6) / clip).clamp(min=1.0) if clip else torch.ones_like(norms)

        def take(chunk: tuple[int, slice]) -> None:
            m, columns = chunk
            self._take(m, columns, rate, divisors[m], frozen[m])

        for _ in mapper(take, list(product(range(len(norms)), slices(self.weights.shape[1], chunks)))):
            pass
        self.steps += 1 - frozen
        return norms

    def _take(self, m: int, columns: slice, rate: float | Tensor, divisor: Tensor, frozen: Tensor) -> None:
        c = self.config
        adamw(
            [self.weights[m, columns]],
            [self.gradient[m, columns]],
            [self.moments[0][m, columns]],
            [self.moments[1][m, columns]],
            [],
            [self.steps[m].clone()],  # which the kernel counts on, once a call
            fused=True,
            grad_scale=divisor,  # the kernel divides by it: no pass of our own
            found_inf=frozen,  # the kernel does nothing where it is 1
            lr=rate,
            beta1=c.beta1,
            beta2=c.beta2,
            eps=c.epsilon,
            weight_decay=c.weight_decay,
            amsgrad=False,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """The moments [M, P] and step counts [M]."""
        return dict(zip(("exp_avg", "exp_avg_sq", "step"), (*self.moments, self.steps), strict=True))

    def restore(self, state: Mapping[str, Tensor], frozen_at: Sequence[int]) -> None:
        """Go on from a ``state`` and what ``frozen_at`` was then."""
        self.frozen_at.copy_(torch.tensor(frozen_at))
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


def slices(size: int, count: int) -> list[slice]:
    """Cut 0 … size − 1 into ``count`` parts of about the same size, or fewer, where vectors of 64 numbers end.

    Kernels round the numbers that do not fill a vector in another way.
    """
    bounds = [*(size * i // count // 64 * 64 for i in range(count)), size]
    return [slice(a, b) for a, b in pairwise(bounds) if b > a]
