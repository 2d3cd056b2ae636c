"""The matrices of a model's layers by what they do, and the scheme that most of them seem to be drawn by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from auxin.architecture.initialization import SCHEMES, Map, normal_scheme, scheme_of
from auxin.architecture.recipe import EmbeddingLaw, Recipe
from auxin.families.family import Parts

GATES, HEADS = ("gate", "up"), ("query", "key", "value")
AGREEING = 0.6
"""Share of the maps that a scheme has to explain, to be taken as the intended one."""
TOLERANCE = 0.05
"""Relative difference of a standard deviation that still counts as explained, beside chance."""
PIECE = 2**18
"""Entries that are read at a time."""


def _xavier(of: Map, rows: int = 0) -> float:
    return math.sqrt(2 / (of.fan_in + (rows or of.fan_out)))


def _torch(of: Map) -> float:
    """nn.Linear's U(±1/√fan_in), and nn.MultiheadAttention's xavier for its joint queries, keys and values."""
    return _xavier(of, of.joint) if of.joint else 1 / math.sqrt(3 * of.fan_in)


LINEAR = replace(SCHEMES["pytorch"], words="torch's default of nn.Linear")
TORCH = replace(
    scheme_of(_torch, "torch's defaults of nn.MultiheadAttention and nn.Linear"), sigma_b=LINEAR.sigma_b
)
USUAL = (
    TORCH,
    LINEAR,
    *(replace(normal_scheme(0.02, scaled=scaled), embedding=lambda _: 0.02) for scaled in (True, False)),
    scheme_of(_xavier, "xavier"),
    scheme_of(lambda of: _xavier(of, of.joint), "xavier, queries, keys and values as one"),
    scheme_of(
        lambda of: (_torch if of.attention else _xavier)(of),
        "xavier, attention as nn.MultiheadAttention leaves it",
    ),
    scheme_of(lambda of: of.fan_in**-0.5, "N(0, 1/fan_in)"),
    scheme_of(lambda of: (2 / of.fan_in) ** 0.5, "N(0, 2/fan_in)"),
)
"""Schemes that people use; of embeddings, where it is known how they go with it."""


def size_of(p: Tensor) -> float:
    """Root mean square of the entries, read in pieces, so that there is no copy of a large tensor."""
    x = p.detach()
    pieces = x.split(max(1, PIECE * len(x) // x.numel())) if x.ndim and x.numel() else (x,)
    return math.sqrt(sum(piece.float().square().sum().item() for piece in pieces) / max(1, x.numel()))


def is_zero(p: Tensor) -> bool:
    """Whether all entries are zero; the first ones tell it of most tensors."""
    x = p.detach()
    return not bool(x[:1].any()) and not bool(x.any()) if x.ndim else not bool(x)


@dataclass(frozen=True)
class Matrix:
    """A map of a layer, or its share of a joint matrix."""

    role: str
    """By ``Recipe``; of experts, one for all of them."""
    layer: int
    module: str
    """Name of the module in the model."""
    parameter: str
    entries: Tensor
    """[fan_out, fan_in]."""

    @cached_property
    def std(self) -> float:
        """Root mean square of the entries."""
        return size_of(self.entries)


def matrices(layers: Mapping[str, nn.Module], parts: Parts, fused: str, recipe: Recipe) -> list[Matrix]:
    """The maps of all layers, in order; layers that lack one are without it."""
    found: list[Matrix] = []
    for index, (name, layer) in enumerate(layers.items()):
        for role, paths in parts.items():
            path, weight, whole = map_of(layer, paths)
            if weight is not None:
                parameter = f"{name}.{path}" + (".weight" if whole else "")
                module = parameter.rpartition(".")[0]
                for part, entries in _cut(role, weight, fused, index, recipe):
                    found.append(Matrix(part, index, module, parameter, entries))
    return found


def map_of(layer: nn.Module, paths: str | tuple[str, ...]) -> tuple[str, Tensor | None, bool]:
    """The first of these paths at which a layer has a weight, the weight, and whether it is a module's."""
    for path in (paths,) if isinstance(paths, str) else paths:
        weight, whole = _weight(layer, path)
        if weight is not None:
            return path, weight, whole
    return "", None, False


def _weight(layer: object, path: str) -> tuple[Tensor | None, bool]:
    """A weight [fan_out, fan_in], or of experts [·, fan_out, fan_in]; and whether it is a module's."""
    before, star, after = path.partition(".*.")
    owner = layer
    for step in before.split("."):
        owner = getattr(owner, step, None)
    if star:
        weights = [_weight(module, after)[0] for module in owner] if isinstance(owner, nn.ModuleList) else []
        held = [weight for weight in weights if weight is not None]
        return (torch.stack(held), True) if held else (None, True)
    owner = getattr(owner, "base_layer", owner)  # of a matrix to which an adapter is added
    transposed = type(owner).__name__ == "Conv1D"
    weight = getattr(owner, "weight", None) if isinstance(owner, nn.Module) else owner
    if not isinstance(weight, Tensor):
        return None, False
    return (weight.T if transposed else weight), isinstance(owner, nn.Module)


def _cut(role: str, weight: Tensor, fused: str, layer: int, recipe: Recipe) -> Iterator[tuple[str, Tensor]]:
    weight = weight.mT if fused == "turns" and weight.ndim == 3 else weight
    if role == "gate_up" and fused == "turns":
        yield from zip(GATES, (weight[:, i::2].flatten(0, 1) for i in range(2)), strict=True)
    elif role == "gate_up":
        yield from zip(GATES, (half.reshape(-1, half.shape[-1]) for half in weight.chunk(2, -2)), strict=True)
    elif weight.ndim == 3:
        yield role, weight.flatten(0, 1)
    elif role != "qkv":
        yield role, weight
    elif fused == "heads":
        keys = recipe.sizes.key_heads
        rows = weight.unflatten(0, (keys, recipe.sizes.heads // keys + 2, -1))
        for part, of in zip(HEADS, rows.split([rows.shape[1] - 2, 1, 1], 1), strict=True):
            yield part, of.flatten(0, 2)
    else:
        rows = [recipe.maps[layer][part].fan_out for part in HEADS]
        yield from zip(HEADS, weight.split(rows), strict=True)


def chance(entries: int) -> float:
    """Relative deviation of a root mean square of so many random entries that chance does not exceed.

    Six standard deviations 1/√(2N) of that of Gaussian entries: with a thousand matrices once in 10⁵ models.
    """
    return 6 / math.sqrt(2 * entries)


def recognized(recipe: Recipe, found: Sequence[Matrix], branch: float = 1.0) -> Recipe | None:
    """The recipe with the scheme that explains most maps; None where none explains enough.

    ``branch``: factor by which output maps were multiplied since they were drawn.
    """
    best, agreeing = None, 0.0
    for scheme in USUAL:
        std = None if scheme.embedding is None else scheme.embedding(Map(recipe.sizes.width, 1))
        candidate = replace(recipe, scheme=scheme.scaled(branch), embedding=EmbeddingLaw(std))
        expected = [candidate.std(m.role, m.layer) for m in found]
        explained = [
            abs(m.std - std) <= std * (TOLERANCE + chance(m.entries.numel()))
            for m, std in zip(found, expected, strict=True)
        ]
        share = sum(explained) / max(len(explained), 1)
        if share > agreeing + 1e-9:
            best, agreeing = candidate, share
    return best if agreeing >= AGREEING else None
