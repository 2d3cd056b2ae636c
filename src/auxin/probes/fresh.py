"""A model of transformers of no known family, compared with one that its own class draws anew from its config."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from auxin.probes.families.laws import chance
from auxin.probes.findings import Finding
from auxin.probes.stack import Stack
from auxin.probes.thresholds import Thresholds

LARGEST = 1e9
"""Parameters up to which a model is drawn anew."""


def fresh_mismatches(model: nn.Module, stack: Stack, limits: Thresholds) -> Iterator[Finding]:
    """Matrices whose root mean square is not that of the same ones in a model that is drawn anew, beyond chance.

    Nothing for models of other libraries, of more than a billion parameters, and whose class does not build them from
    their config. Memory: that of one more model. torch's random state is left as it was.
    """
    name, inner = _pretrained(model)
    anew = None if inner is None else _drawn(inner)
    if inner is None or anew is None:
        return
    expected = {key: p.detach() for key, p in anew.named_parameters() if p.ndim >= 2}
    for key, p in inner.named_parameters():
        other = expected.get(key)
        if other is None or p.is_meta or other.shape != p.shape:
            continue
        found, usual = (t.detach().float().square().mean().sqrt().item() for t in (p, other))
        allowed = 1 + limits.std + 2 * chance(p.numel())
        if found > 0 and usual > 0 and math.isfinite(found) and not 1 / allowed <= found / usual <= allowed:
            module = ".".join(filter(None, (name, key.rpartition(".")[0]))) or key
            said = (
                f"{name + '.' if name else ''}{key} has size {found:.4g} (rms) where a {type(inner).__name__} drawn "
                f"anew from its config has {usual:.4g}: {found / usual:.3g} times as much."
            )
            layer, part = _place(stack, f"{name}.{key}".removeprefix("."))
            yield Finding("mismatch", module, found, usual, said, layer, part)


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


def _drawn(model: Any) -> nn.Module | None:
    if sum(p.numel() for p in model.parameters()) > LARGEST:
        return None
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
            return type(model)(copy.deepcopy(model.config))
    except Exception:  # of a class that needs more than its config
        return None
