"""Values that are not finite: where in a model they come from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.preparation import restored
from auxin.probes.watching import tensors_of


class NotFinite(ConfigError):
    """A value on the way is not finite; ``module`` is the first one whose output has one."""

    def __init__(self, module: str, message: str) -> None:
        super().__init__(message)
        self.module = module


class _Found(Exception):
    """Ends the run at the first module."""


def first_not_finite(model: nn.Module, run: Callable[[], Any]) -> NotFinite | None:
    """The first module of a run whose output has NaN or infinite entries, and what of its own is not finite.

    −∞ is no fault where a module returns nothing else that is wrong: masks are made of it. Cost: a forward pass.
    """
    names: list[tuple[str, nn.Module, Tensor]] = []
    handles: list[Any] = []

    def look(name: str, module: nn.Module, _: Any, output: Any) -> None:
        for x in tensors_of(output):
            if (x.is_floating_point() or x.is_complex()) and bool((x.isnan() | (x == torch.inf)).any()):
                names.append((name, module, x))
                raise _Found

    def restore() -> None:
        for handle in handles:
            handle.remove()

    with restored(restore):
        for name, module in model.named_modules():
            handles.append(module.register_forward_hook(partial(look, name)))
        try:
            run()
        except Exception:  # what else it raises, it raises after the first module
            if not names:
                return None
    if not names:
        return None
    name, module, x = names[0]
    own = [
        f"{what} {name}.{tensor}".replace(" .", " ")
        for what, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers()))
        for tensor, value in tensors
        if bool((value.isnan() | (value == torch.inf)).any())
    ]
    kind = "NaN" if bool(x.isnan().any()) else "infinite"
    why = f"its {own[0]} is not finite" if own else f"no tensor of its own is; {overflow(x.dtype)}"
    return NotFinite(
        name, f"{name or type(module).__name__} is the first module to give {kind} values: {why}"
    )


def overflow(dtype: torch.dtype) -> str:
    """The usual reason, in words."""
    return f"it overflows {str(dtype).removeprefix('torch.')}, which ends at {torch.finfo(dtype).max:.3g}"
