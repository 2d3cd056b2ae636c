"""Learning rates over steps, and the steps at which something is logged or kept."""

from __future__ import annotations

import math

from auxin.config import OptimizerConfig


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
