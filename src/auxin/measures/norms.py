"""Weight norms: whether training moves to smaller or larger weights, and where."""

from __future__ import annotations

import numpy as np
from torch import nn

from auxin.values import check

GROUPS = ("embedding", "positions", "attention", "mlp", "norms", "output")


def weight_norms(model: nn.Module, depth: int) -> dict[str, float]:
    """L2 norm over the trained parameters divided by the number of layers, in all and by group.

    ``weight_norm`` = ‖θ‖₂ / depth (Murty et al. 2023, §4); ``weight_norm/<group>`` is the same over one of
    ``GROUPS``, so that the squares of the groups add up to the square of the whole. A tied output map counts
    once, as the embedding; groups without parameters are left out. One pass over the parameters, summed in
    float64. Raises ``ConfigError`` for a depth below 1.
    """
    check(depth >= 1, "depth", depth, "1 or more")
    squares: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")  # of a TransformerLM
        group = parts[2] if parts[0] == "layers" else parts[0]
        group = "norms" if any("norm" in part for part in parts) else group
        # summed by numpy: torch's sum depends, in its last bit, on the number of threads
        square = float(np.square(parameter.detach().double().cpu().numpy()).sum())
        squares[group] = squares.get(group, 0.0) + square
    norms = {"weight_norm": sum(squares.values()) ** 0.5 / depth}
    return norms | {f"weight_norm/{g}": squares[g] ** 0.5 / depth for g in GROUPS if g in squares}
