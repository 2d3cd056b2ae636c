"""The tensors of two models in pairs: by their names, by their roles, or by their places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.families.description import describe
from auxin.families.layers import LayerStack


@dataclass(frozen=True)
class NamedTensor:
    """A parameter, a map's share of one, or a buffer."""

    name: str
    layer: int | None
    part: str
    """Its name inside the layer."""
    entries: Tensor
    parameter: str
    """The whole parameter's name."""


Match = tuple[NamedTensor | None, NamedTensor | None, str]
"""Of the first and the second model, and by what: name, role, place, none."""


def matched(models: Sequence[nn.Module], stacks: Sequence[LayerStack]) -> list[Match]:
    """Pairs of tensors in the first model's order, and those that are in one model alone."""
    tensors = [_tensors(model, stack) for model, stack in zip(models, stacks, strict=True)]
    first, second = (dict(named) for named in tensors)  # what is left to be matched
    pairs: list[Match] = []
    for name, tensor in tensors[0].items():
        if name in second and _fits(tensor.entries, second[name].entries):
            pairs.append((first.pop(name), second.pop(name), "name"))
    here, there = (_maps(model, stack) for model, stack in zip(models, stacks, strict=True))
    roles = [
        (one, other)
        for one, other in ((here[key], there[key]) for key in here if key in there)
        if one.parameter in first and other.parameter in second and _fits(one.entries, other.entries)
    ]
    pairs += [(one, other, "role") for one, other in roles]
    for one, other in roles:
        first.pop(one.parameter, None)
        second.pop(other.parameter, None)
    places: list[dict[Any, list[NamedTensor]]] = [defaultdict(list), defaultdict(list)]
    for rest, place in zip((first, second), places, strict=True):
        for tensor in rest.values():
            place[tensor.layer, tuple(sorted(tensor.entries.shape))].append(tensor)
    for key, group in places[0].items():
        if len(group) == len(places[1][key]):
            for one, other in zip(group, places[1][key], strict=True):
                pairs.append((first.pop(one.name), second.pop(other.name), "place"))
    order = {name: i for i, name in enumerate(tensors[0])}
    pairs += [(tensor, None, "none") for tensor in first.values()]
    pairs.sort(key=lambda pair: order[pair[0].parameter] if pair[0] else 0)
    return pairs + [(None, tensor, "none") for tensor in second.values()]


def _tensors(model: nn.Module, stack: LayerStack) -> dict[str, NamedTensor]:
    """Parameters and buffers of floats by name."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {
        name: NamedTensor(name, *stack.place(name), tensor.detach(), name)
        for name, tensor in named
        if tensor.is_floating_point()
    }


def _maps(model: nn.Module, stack: LayerStack) -> dict[tuple[str, int], NamedTensor]:
    """Maps of a model of a known family by role and layer."""
    try:
        described = describe(model, stack)
    except ConfigError:
        return {}
    whole = {name: p.numel() for name, p in model.named_parameters()}
    found = {}
    for m in described.matrices:
        share = "" if m.entries.numel() == whole.get(m.parameter) else f" [{m.role}]"
        found[m.role, m.layer] = NamedTensor(
            m.parameter + share, m.layer, m.role, m.entries.detach(), m.parameter
        )
    return found


def _fits(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape or (one.ndim == 2 and one.shape == other.mT.shape)
