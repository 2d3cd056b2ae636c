"""The nonlinearity of an MLP that nobody names: by what it does between two maps."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.preparation import as_config_error, hooks, prepared

KNOWN = {
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "relu2": lambda x: F.relu(x).square(),
}
TOLERANCE = 2e-3
"""Largest difference between two forms of one function: GELU by erf and by tanh differ by 0.0005."""
LARGE = 3.0
"""Root mean square of what the first map is made to give, so that functions differ."""


class _Seen(Exception):
    """Ends the pass where the second map begins."""


def activation_of(layer: nn.Module, first: str, second: str) -> str:
    """The function between two maps of a layer, from one pass of random vectors; the model is left as it was.

    Raises ``ConfigError`` for a function that is none of the known, and for a layer that takes more than the stream.
    """
    up, down = layer.get_submodule(first), layer.get_submodule(second)
    kind, values = type(layer).__name__, list[Tensor]()

    def enlarged(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        size = output.square().mean().sqrt().clamp_min(torch.finfo(output.dtype).tiny)
        values[:] = [output * (LARGE / size)]
        return values[0]

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values.append(inputs[0])
        raise _Seen

    parameter = next(layer.parameters())
    x = torch.randn(1, 8, up.in_features, generator=torch.Generator().manual_seed(0)).to(parameter)  # pyright: ignore[reportArgumentType]
    with prepared(layer), hooks() as hook:
        hook(up.register_forward_hook(enlarged))
        hook(down.register_forward_pre_hook(keep))
        with as_config_error(f"activation of {kind} cannot be seen"), contextlib.suppress(_Seen):
            layer(x)
    if len(values) < 2:
        raise ConfigError(f"activation of {kind} cannot be seen: {first} or {second} does not run")
    before, after = (value.detach().float() for value in values)
    allowed = TOLERANCE + 8 * torch.finfo(parameter.dtype).eps * LARGE
    for name, function in KNOWN.items():
        if before.shape == after.shape and (function(before) - after).abs().max() <= allowed:
            return name
    raise ConfigError(f"activation of {kind} is none that is covered: {', '.join(KNOWN)}")
