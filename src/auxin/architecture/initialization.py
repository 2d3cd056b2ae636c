"""What a scheme's random weights amount to: the σ's of a model's parts at its own width."""

from __future__ import annotations

import math
from typing import Any, Literal

Initialization = Literal["xavier", "pytorch", "normal", "gaussian"]


def block_sigmas(config: Any) -> dict[str, float]:
    """The σ's of the classic layer that a model's config implies."""
    d, m = config.width, config.hidden
    if config.initialization == "gaussian":
        sigmas = {name: getattr(config, name) for name in ("sigma_a", "sigma_v", "sigma_w", "sigma_o")}
        return sigmas | {"sigma_b": config.sigma_b if config.mlp_bias else 0.0}
    if config.initialization == "xavier":  # uniform with variance 2/(fan in + fan out)
        gain = 2.0 if config.activation == "relu" else 1.0
        return {"sigma_w": math.sqrt(gain * 2 * d / (d + m)), "sigma_o": math.sqrt(2 * m / (d + m))}
    if config.initialization == "normal":
        variance = 0.02**2
        return {
            "sigma_a": variance * d,
            "sigma_v": variance * d,
            "sigma_w": math.sqrt(variance * d),
            "sigma_o": math.sqrt(variance * m),
        }
    third = 1 / 3  # nn.Linear: weights and biases uniform in ±1/√fan_in
    attention = third / d * (1 + third) if config.attention_bias else 0.0
    return {
        "sigma_a": third,
        "sigma_v": third,
        "sigma_w": math.sqrt(third),
        "sigma_o": math.sqrt(third),
        "sigma_b": math.sqrt(third / d) if config.mlp_bias else 0.0,
        "sigma_b_out": math.sqrt(third / m) if config.mlp_bias else 0.0,
        "sigma_b_attention": math.sqrt(attention),
    }
