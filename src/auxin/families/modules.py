"""The matrices of a model's layers by what they do, and the σ's that its weights have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auxin.architecture.recipe import Recipe

GATES, HEADS = ("gate", "up"), ("query", "key", "value")


@dataclass(frozen=True)
class Matrix:
    """A map of a layer, or its share of a joint matrix."""

    role: str
    """query, key, value, out, gate, up or down."""
    layer: int
    module: str
    """Name of the module in the model."""
    parameter: str
    entries: Tensor
    """[fan_out, fan_in]."""

    @property
    def std(self) -> float:
        """Root mean square of the entries."""
        return self.entries.detach().float().square().mean().sqrt().item()


def matrices(
    layers: Mapping[str, nn.Module], parts: Mapping[str, str], fused: str, recipe: Recipe
) -> list[Matrix]:
    """The maps of all layers, in order; layers that lack one are without it."""
    found: list[Matrix] = []
    for index, (name, layer) in enumerate(layers.items()):
        for role, path in parts.items():
            weight = _weight(layer, path)
            if weight is not None:
                module = path.removesuffix(".in_proj_weight")
                parameter = f"{name}.{path}" + ("" if path.endswith("_weight") else ".weight")
                for part, entries in _cut(role, weight, fused, index, recipe):
                    found.append(Matrix(part, index, f"{name}.{module}", parameter, entries))
    return found


def _weight(layer: nn.Module, path: str) -> Tensor | None:
    """A weight [fan_out, fan_in]; GPT-2's Conv1D stores the transpose."""
    owner: object = layer
    for step in path.split("."):
        owner = getattr(owner, step, None)
    owner = getattr(owner, "base_layer", owner)  # of a matrix to which an adapter is added
    if isinstance(owner, nn.Module):
        weight = getattr(owner, "weight", None)
        transposed = type(owner).__name__ == "Conv1D"
        return weight.T if transposed and isinstance(weight, Tensor) else weight
    return owner if isinstance(owner, Tensor) else None


def _cut(role: str, weight: Tensor, fused: str, layer: int, recipe: Recipe) -> Iterator[tuple[str, Tensor]]:
    if role == "gate_up":
        yield from zip(GATES, weight.chunk(2), strict=True)
    elif role != "qkv":
        yield role, weight
    elif fused == "heads":
        rows = weight.unflatten(0, (recipe.sizes.heads, 3, -1))
        for i, part in enumerate(HEADS):
            yield part, rows[:, i].flatten(0, 1)
    else:
        rows = [recipe.maps[layer][part].fan_out for part in HEADS]
        yield from zip(HEADS, torch.split(weight, rows), strict=True)
