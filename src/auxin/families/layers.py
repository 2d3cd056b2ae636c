"""Where a model keeps its repeated layers, found from the modules alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from auxin.errors import ConfigError
from auxin.values import check

LISTS = (nn.ModuleList, nn.Sequential)
PARALLEL = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")
"""Wrappers that hold a model as their ``module``."""
RIVAL = 0.5
"""A second stack with at least this share of the first one's parameters is an ambiguity that the caller settles."""


@dataclass(frozen=True)
class LayerStack:
    """The layers of a model, by name; a layer that runs several times (ALBERT) stands here once."""

    name: str
    """That of the container; empty where the layers are attributes of the model itself."""
    layers: dict[str, nn.Module]

    @property
    def called(self) -> bool:
        """Whether the layers are modules that are called, and not mere lists or dicts of their parts."""
        return not any(_uncalled(layer) for layer in self.layers.values())

    def place(self, name: str) -> tuple[int | None, str]:
        """Number of the layer, and the name inside it, of a module or parameter; None and its name outside."""
        for index, layer in enumerate(self.layers):
            if name.startswith(f"{layer}." if layer else ""):
                return index, name.removeprefix(layer).removeprefix(".")
        return None, name


Layers = LayerStack | str | Sequence[str] | Sequence[nn.Module]
"""A stack that was found, a container's name, or the layers or their names, in the order in which they run."""


def find_layers(model: nn.Module, layers: Layers | None = None) -> LayerStack:
    """The layers that the caller names, or the container of equal modules with most parameters.

    Raises ``ConfigError`` where no module holds several matrices in each of its equal children, where a second
    stack is of similar size (encoder and decoder), or where a name is none of the model's.
    """
    if isinstance(layers, LayerStack):
        return layers
    if layers is not None:
        return _named(model, layers)
    found = _groups(model)
    if not found:
        raise ConfigError(
            f"{type(model).__name__} has no repeated layers that can be found; allowed: any module, with "
            "layers='the name of the container', or a list of the layers' names in the order in which they run"
        )
    sizes = {name: _size(group) for name, group in found.items()}
    best = max(sizes, key=lambda name: (sizes[name], -name.count(".")))
    for name, size in sizes.items():
        nested = name.startswith(f"{best}.") or best.startswith(f"{name}.") or not name
        if name != best and not nested and size >= RIVAL * sizes[best]:
            raise ConfigError(
                f"{type(model).__name__} has two stacks of layers, {best!r} and {name!r}; "
                f"allowed: one, with layers={best!r} or layers={name!r}"
            )
    if all(_list_of_one_part(layer) for layer in found[best].values()):
        lists = ", ".join(found[best])
        raise ConfigError(
            f"the parts of {type(model).__name__}'s layers stand in lists side by side ({lists}); allowed: layers that "
            "are modules, or one list of parts for each layer"
        )
    return LayerStack(best, found[best])


def find_stacks(model: nn.Module, layers: Layers | None = None) -> list[LayerStack]:
    """An encoder's layers and its decoder's, where no others are named; else the one stack of ``find_layers``."""
    return (pair_of(model) if layers is None else []) or [find_layers(model, layers)]


def pair_of(model: nn.Module) -> list[LayerStack]:
    """An encoder's layers and its decoder's, which have the same name but for that; empty where there is no pair."""
    found = _groups(model)
    for name, group in found.items():
        decoder = name.replace("encoder", "decoder")
        if name != decoder and decoder in found:
            return [LayerStack(name, group), LayerStack(decoder, found[decoder])]
    return []


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that torch.compile, data parallelism, or a module of Lightning without a forward, has wrapped."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in PARALLEL:
            inner = getattr(model, "module", None)
        if inner is None and not isinstance(model, (*LISTS, nn.ModuleDict)) and _uncalled(model):
            holding = [m for m in model.children() if next(m.parameters(), None) is not None]
            inner = holding[0] if len(holding) == 1 else None
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _uncalled(module: nn.Module) -> bool:
    """Whether a module has no forward of its own."""
    if isinstance(module, torch.jit.ScriptModule):
        return False
    forward = getattr(type(module).forward, "__qualname__", "")
    return forward.split(".")[0] in ("Module", "LightningModule") or forward == "_forward_unimplemented"


def _groups(model: nn.Module) -> dict[str, dict[str, nn.Module]]:
    """Of the modules that have one, the largest group of children of one class that hold two matrices or more each."""
    groups: dict[str, dict[str, nn.Module]] = {}
    for name, module in model.named_modules():
        a_list = isinstance(module, LISTS)
        layers = {
            f"{name}.{child}".removeprefix("."): layer
            for child, layer in module.named_children()
            if _matrices(layer) >= 2 and (isinstance(module, nn.ModuleList) or not _is_stack(layer))
        }
        classes = dict.fromkeys(type(layer) for layer in layers.values())
        kinds = [{key: layer for key, layer in layers.items() if type(layer) is kind} for kind in classes]
        largest = max(kinds, key=_size, default={})
        if a_list and 2 * len(largest) >= len(layers):
            largest = layers  # whatever class one of them is of
        if not a_list and any(_is_stack(inner) for layer in largest.values() for inner in layer.modules()):
            continue  # an encoder and a decoder
        if len(largest) >= (1 if a_list else 2):
            groups[name] = largest
    return groups


def _is_stack(module: nn.Module) -> bool:
    """Whether a module is a list whose items are alike: no layer (a list of unlike parts may be one)."""
    kinds = [type(child) for child in module.children() if _matrices(child) >= 2]
    return isinstance(module, LISTS) and len(kinds) > 1 and len(set(kinds)) == 1


def _list_of_one_part(module: nn.Module) -> bool:
    """The same part of every layer in a list, as in a model of one class."""
    parts = list(module.children())
    alike = len({type(part) for part in parts}) == 1 and len(parts) > 1
    return isinstance(module, nn.ModuleList) and alike and all(_matrices(part) <= 1 for part in parts)


def _matrices(module: nn.Module) -> int:
    return sum(p.ndim >= 2 for p in module.parameters())


def _size(group: dict[str, nn.Module]) -> int:
    return sum(p.numel() for layer in group.values() for p in layer.parameters())


def _named(model: nn.Module, layers: str | Sequence[str] | Sequence[nn.Module]) -> LayerStack:
    modules = dict(model.named_modules())

    def inside(name: str) -> str:
        """A name without the wrappers' part of it."""
        while name not in modules and name.startswith(("module.", "_orig_mod.")):
            name = name.partition(".")[2]
        return name

    if isinstance(layers, str):
        name = inside(layers)
        lists = [n for n, m in modules.items() if n and isinstance(m, LISTS)] or [n for n in modules if n]
        containers = ", ".join(lists[:8]) + (" …" if len(lists) > 8 else "")
        check(name in modules, "layers", name, f"the name of one of {containers}")
        children = {f"{name}.{child}".removeprefix("."): m for child, m in modules[name].named_children()}
        check(len(children) > 0, "layers", name, "a container of layers; it has none")
        return LayerStack(name, children)
    check(len(layers) > 0, "number of layers", 0, "1 or more")
    names = {id(module): name for name, module in modules.items()}
    chosen: dict[str, nn.Module] = {}
    for layer in layers:
        name = inside(layer) if isinstance(layer, str) else names.get(id(layer))
        check(name in modules, "layer", layer, f"a submodule of the {type(model).__name__}, or its name")
        chosen[str(name)] = modules[str(name)]
    return LayerStack("", chosen)
