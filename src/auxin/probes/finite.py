"""Values that are not finite: where in a model they come from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.preparation import hooks
from auxin.probes.states import tensors_of


class NotFinite(ConfigError):
    """A value on the way is not finite; ``module`` is the first one whose output has one."""

    def __init__(self, module: str, message: str) -> None:
        super().__init__(message)
        self.module = module


class _Found(Exception):
    """Ends the run at the first module."""


def wrong(x: Tensor) -> bool:
    """Whether a tensor has NaN or +∞ among its entries; −∞ is no fault, masks are made of it."""
    return bool((x.isnan() | (x == torch.inf)).any())


def first_not_finite(model: nn.Module, run: Callable[[], Any]) -> NotFinite | None:
    """The first module of a run whose output has NaN or infinite entries, and which of its tensors is not finite.

    Cost: a forward pass.
    """
    first: list[tuple[str, nn.Module, Tensor]] = []

    def look(name: str, module: nn.Module, _: Any, output: Any) -> None:
        for x in tensors_of(output):
            if (x.is_floating_point() or x.is_complex()) and wrong(x):
                first.append((name, module, x))
                raise _Found

    with hooks() as hook:
        for name, module in model.named_modules():
            hook(module.register_forward_hook(partial(look, name)))
        with contextlib.suppress(Exception):  # what else it raises, it raises after the first module
            run()
    if not first:
        return None
    name, module, x = first[0]
    tensors = [("parameter", *item) for item in module.named_parameters()]
    tensors += [("buffer", *item) for item in module.named_buffers()]
    culprit = next((f"{what} {f'{name}.{n}'.removeprefix('.')}" for what, n, t in tensors if wrong(t)), None)
    kind = "NaN" if bool(x.isnan().any()) else "infinite"
    overflows = (
        f"it overflows {str(x.dtype).removeprefix('torch.')}, which ends at {torch.finfo(x.dtype).max:.3g}"
    )
    why = f"its {culprit} is not finite" if culprit else f"no tensor of its own is; {overflows}"
    return NotFinite(
        name, f"{name or type(module).__name__} is the first module to give {kind} values: {why}"
    )
