"""A model of transformers of no known family, compared with one that its own class draws anew from its config."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from auxin.probes.families.laws import chance
from auxin.probes.findings import Finding
from auxin.probes.stack import Stack
from auxin.probes.thresholds import Thresholds

LARGEST = 1e9
"""Parameters up to which a model is drawn anew."""


class Fresh:
    """A model of transformers drawn anew from its own class and config, once it is first asked for.

    There is none of models of other libraries, of more than a billion parameters, and whose class does not build them
    from their config. Memory: that of one more model. torch's random state is left as it was.
    """

    def __init__(self, model: nn.Module) -> None:
        self.name, self.model = _pretrained(model)

    @cached_property
    def anew(self) -> nn.Module | None:
        """The model that is drawn; None where there is none."""
        if self.model is None or sum(p.numel() for p in self.model.parameters()) > LARGEST:
            return None
        try:
            with torch.random.fork_rng(devices=[]), torch.device("cpu"):
                torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
                return type(self.model)(copy.deepcopy(self.model.config))
        except Exception:  # of a class that needs more than its config
            return None

    def mismatches(self, stack: Stack, limits: Thresholds) -> Iterator[Finding]:
        """Matrices whose root mean square is not that of the same ones in the fresh model, beyond chance."""
        if self.model is None or self.anew is None:
            return
        expected = {key: p for key, p in self.anew.named_parameters() if p.ndim >= 2}
        for key, p in self.model.named_parameters():
            other = expected.get(key)
            if other is None or p.is_meta or other.shape != p.shape:
                continue
            found, usual = _size(p), _size(other)
            allowed = 1 + limits.std + 2 * chance(p.numel())
            if not found or not usual or not math.isfinite(found) or 1 / allowed <= found / usual <= allowed:
                continue
            parameter = f"{self.name}.{key}".removeprefix(".")
            said = (
                f"{parameter} has size {found:.4g} (rms) where a {type(self.model).__name__} drawn anew from its "
                f"config has {usual:.4g}: {found / usual:.3g} times as much."
            )
            layer, part = _place(stack, parameter)
            yield Finding("mismatch", parameter.rpartition(".")[0], found, usual, said, layer, part)

    def has(self, module: str, limits: Thresholds) -> bool:
        """Whether the fresh model has a module as it is here: of one class, or missing, with parameters of one size."""
        inside = module.startswith(f"{self.name}.") if self.name else True
        if self.model is None or not inside or self.anew is None:
            return False
        ours, theirs = (
            _inside(root, module.removeprefix(f"{self.name}.")) for root in (self.model, self.anew)
        )
        if ours is None or theirs is None:
            return ours is theirs
        same = ours[0] is theirs[0] and ours[1].keys() == theirs[1].keys()
        return same and all(_alike(p, theirs[1][key], limits) for key, p in ours[1].items())


def _alike(p: Tensor, fresh: Tensor, limits: Thresholds) -> bool:
    """Whether parameters are of one size, up to chance where they are drawn."""
    drawn = bool((fresh != fresh.flatten()[:1]).any())
    allowed = limits.std + (2 * chance(p.numel()) if drawn else 0.0)
    return abs(_size(p) - _size(fresh)) <= allowed * _size(fresh)


def _inside(root: nn.Module, name: str) -> tuple[type, dict[str, Tensor]] | None:
    """The class and parameters of a module, or a parameter itself; None where there is no such name."""
    module = dict(root.named_modules()).get(name)
    if module is not None:
        return type(module), dict(module.named_parameters())
    parameter = dict(root.named_parameters()).get(name)
    return None if parameter is None else (type(parameter), {name: parameter})


def _size(p: Tensor) -> float:
    return p.detach().float().square().mean().sqrt().item()


def _place(stack: Stack, parameter: str) -> tuple[int | None, str]:
    """The layer that a parameter is of, and its name there."""
    for index, layer in enumerate(stack.layers):
        if parameter.startswith(f"{layer}."):
            return index, parameter.removeprefix(f"{layer}.")
    return None, parameter


def _pretrained(model: nn.Module) -> tuple[str, Any]:
    """The model of transformers that a module is or holds, with its name; None where there is none."""
    library = sys.modules.get("transformers.modeling_utils")
    if library is not None:
        for name, module in model.named_modules():
            if isinstance(module, library.PreTrainedModel):
                return name, module
    return "", None
