"""Norms, cosines and gradients of submodules that the caller names, of any PyTorch module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auxin.probes.states import mean_cosine, mean_square, mixed_axes
from auxin.probes.watching import prepared
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
    batch_first: bool | None = None,
) -> Signals:
    """Run a module once forward and back and measure the outputs of some of its submodules.

    An output is a tensor [B, n, d] or [n, B, d], or a tuple that starts with one. The layers are in evaluation mode
    meanwhile and their parameters frozen; whether gradients were on does not matter. Hooks are gone, and modes as
    before, when this returns or raises. ``auxin.check`` finds the layers itself.

    Args:
        layers: submodules to observe, in any order; each runs exactly once.
        run: calls the module and returns what is differentiated: a scalar (a loss), or a tensor, of which a random
            N(0, 1) combination drawn from ``generator`` is taken.
        kept: bool [B, n], false for tokens to leave out (padding); all are kept by default.
        generator: for the random combination; seed 0 by default.
        batch_first: whether outputs are [B, n, d]. By default as the layers' nn.MultiheadAttention say, else the
            axis along which the layers mix tokens; true where they mix none.

    Cost: one forward and one or two backward passes; memory for the observed outputs and their gradients.

    Raises:
        ConfigError: no layers, one that did not run or ran twice, an output of another shape, or a result of
            ``run`` that does not depend on the layers.
    """
    check(len(layers) > 0, "number of layers", 0, "1 or more")
    outputs: dict[int, Tensor] = {}
    with prepared(*layers):
        handles = [
            layer.register_forward_hook(partial(_record, outputs, i)) for i, layer in enumerate(layers)
        ]
        try:
            result = run()
        finally:
            for handle in handles:
                handle.remove()
        for i, layer in enumerate(layers):
            check(i in outputs, f"layers[{i}]", type(layer).__name__, "a submodule that runs")
        states = [outputs[i] for i in range(len(layers))]
        first = _batch_first(layers, outputs) if batch_first is None else batch_first
        gradients = _gradients(result, states, generator)
    if not first:
        states, gradients = ([x.transpose(0, 1) for x in xs] for xs in (states, gradients))
    kept = torch.ones(states[0].shape[:2], dtype=torch.bool) if kept is None else kept
    check(kept.dtype == torch.bool, "dtype of kept", kept.dtype, "torch.bool (of a 0/1 mask, mask.bool())")
    for state in states:
        check(kept.shape == state.shape[:2], "kept", tuple(kept.shape), f"shape {tuple(state.shape[:2])}")
    check(bool(kept.any()), "kept", "false everywhere", "a token to measure")
    return Signals(
        norm=np.array([mean_square(x, kept) / x.shape[-1] for x in states]),
        cosine=np.array([mean_cosine(x, kept) for x in states]),
        gradient=np.array([mean_square(g, kept) for g in gradients]),
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


def _batch_first(layers: Sequence[nn.Module], outputs: dict[int, Tensor]) -> bool:
    said = {
        m.batch_first for layer in layers for m in layer.modules() if isinstance(m, nn.MultiheadAttention)
    }
    if len(said) == 1:
        return said.pop()
    ran = list(outputs.values())  # in the order in which the layers ran
    return len(ran) < 2 or mixed_axes(ran[-1], ran[0]) != {0}


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
