"""Norms, cosines and gradients, layer by layer, of any PyTorch module, through hooks on its submodules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auxin.values import check

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Signals:
    """Signal propagation through a module; every array has one number for each observed submodule."""

    norm: Array
    """Mean squared norm of a token per dimension, mean of ‖x‖²/d."""
    cosine: Array
    """Mean cosine of two different tokens of a sequence; NaN where no sequence has two."""
    gradient: Array
    """Mean squared norm of the gradient with respect to a token, mean of ‖∂y/∂x‖²."""


def measure_signals(
    layers: Sequence[nn.Module],
    run: Callable[[], Tensor],
    *,
    kept: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Signals:
    """Run a module once forward and back and measure the outputs of some of its submodules.

    An output is a tensor [B, n, d], or a tuple that starts with one. Parameters may be frozen, their gradients are
    neither computed nor changed. Hooks are gone when this returns or raises.

    Args:
        layers: submodules to observe, in any order; each runs exactly once.
        run: calls the module and returns what is differentiated: a scalar (a loss), or a tensor, of which a random
            N(0, 1) combination drawn from ``generator`` is taken.
        kept: bool [B, n], false for tokens to leave out (padding); all are kept by default.
        generator: for the random combination; seed 0 by default.

    Cost: one forward and one backward pass; memory for the observed outputs and their gradients.

    Raises:
        ConfigError: no layers, one that did not run or ran twice, an output of another shape, or a result of
            ``run`` that does not depend on the layers.
    """
    check(len(layers) > 0, "number of layers", 0, "1 or more")
    outputs: dict[int, Tensor] = {}
    handles = [layer.register_forward_hook(partial(_record, outputs, i)) for i, layer in enumerate(layers)]
    try:
        with torch.enable_grad():
            result = run()
    finally:
        for handle in handles:
            handle.remove()
    for i, layer in enumerate(layers):
        check(i in outputs, f"layers[{i}]", type(layer).__name__, "a submodule that runs")
    states = [outputs[i] for i in range(len(layers))]
    gradients = _gradients(result, states, generator)
    kept = torch.ones(states[0].shape[:2], dtype=torch.bool) if kept is None else kept
    check(kept.dtype == torch.bool, "dtype of kept", kept.dtype, "torch.bool (of a 0/1 mask, mask.bool())")
    for state in states:
        check(kept.shape == state.shape[:2], "kept", tuple(kept.shape), f"shape {tuple(state.shape[:2])}")
    check(bool(kept.any()), "kept", "false everywhere", "a token to measure")
    return Signals(
        norm=np.array([_mean_square(x, kept) / x.shape[-1] for x in states]),
        cosine=np.array([_mean_cosine(x, kept) for x in states]),
        gradient=np.array([_mean_square(g, kept) for g in gradients]),
    )


def _record(outputs: dict[int, Tensor], index: int, layer: nn.Module, _: Any, output: Any) -> None:
    state = output[0] if isinstance(output, tuple) else output
    name = f"output of layers[{index}] ({type(layer).__name__})"
    tensor = isinstance(state, Tensor)
    shape = tuple(state.shape) if tensor else type(state).__name__
    check(tensor and state.ndim == 3 and state.is_floating_point(), name, shape, "a float tensor [B, n, d]")
    check(index not in outputs, name, "given twice", "one run of each layer")
    if not state.requires_grad:  # a frozen module: this output is where the graph starts
        state.requires_grad_()
    outputs[index] = state


def _gradients(result: Tensor, states: list[Tensor], generator: torch.Generator | None) -> list[Tensor]:
    """Gradient of the result, or of a random combination of its entries, with respect to every state."""
    check(isinstance(result, Tensor), "result of run", type(result).__name__, "a tensor")
    check(result.requires_grad, "result of run", "independent of the layers", "computed from them")
    weights = None
    if result.ndim:
        generator = generator or torch.Generator().manual_seed(0)
        weights = torch.randn(result.shape, generator=generator).to(result)
    gradients = torch.autograd.grad(result, states, weights, allow_unused=True)
    for i, gradient in enumerate(gradients):
        check(
            gradient is not None, "result of run", f"independent of layers[{i}]", "computed from all layers"
        )
    return list(gradients)


def _mean_square(x: Tensor, kept: Tensor) -> float:
    """Mean of ‖x‖² over the kept tokens of x [B, n, d]."""
    return x.detach().double().square().sum(-1)[kept.to(x.device)].mean().item()


def _mean_cosine(x: Tensor, kept: Tensor) -> float:
    """Mean over pairs of kept tokens of a sequence, from the sum s of their directions: (‖s‖² − n)/(n(n − 1))."""
    directions = nn.functional.normalize(x.detach().double(), dim=-1) * kept.to(x.device)[..., None]
    count = kept.sum(1).double()
    pairs = (count * (count - 1)).sum().item()
    squared = directions.sum(1).square().sum().item() - directions.square().sum().item()
    return squared / pairs if pairs else float("nan")
