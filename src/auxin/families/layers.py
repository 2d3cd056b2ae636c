"""Where a model keeps its repeated layers, found from the modules alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from auxin.errors import ConfigError
from auxin.values import check

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
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
    found = {name: group for name, group in _groups(model).items() if group}
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


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that torch.compile, data parallelism, or a module of Lightning without a forward, has wrapped."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in PARALLEL:
            inner = getattr(model, "module", None)
        if inner is None and not isinstance(model, CONTAINERS) and _uncalled(model):
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
    """Of every module the largest group of children of one class that hold two matrices or more each."""
    groups: dict[str, dict[str, nn.Module]] = {}
    for name, module in model.named_modules():
        kinds: dict[type, dict[str, nn.Module]] = defaultdict(dict)
        for child, layer in module.named_children():
            of_parts = isinstance(module, nn.ModuleList) or not _container_of_layers(layer)
            if _matrices(layer) >= 2 and of_parts:
                kinds[type(layer)][_key(name, child)] = layer
        alone = 1 if isinstance(module, (nn.ModuleList, nn.Sequential)) else 2
        largest = max(kinds.values(), key=_size, default={})
        every = {inner: layer for group in kinds.values() for inner, layer in group.items()}
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and 2 * len(largest) >= len(every):
            ordered = ((_key(name, child), layer) for child, layer in module.named_children())
            largest = {
                key: layer for key, layer in ordered if key in every
            }  # whatever class one of them is of
        if alone == 2 and any(_holds_stack(layer) for layer in largest.values()):  # an encoder and a decoder
            largest = {}
        groups[name] = largest if len(largest) >= alone else {}
    return groups


def _key(container: str, child: str) -> str:
    return f"{container}.{child}".removeprefix(".")


def _container_of_layers(module: nn.Module) -> bool:
    """A list whose items are alike: itself a stack, and no layer (a list of unlike parts may be one)."""
    if not isinstance(module, (nn.ModuleList, nn.Sequential)):
        return False
    kinds = [type(child) for child in module.children() if _matrices(child) >= 2]
    return len(kinds) > 1 and len(set(kinds)) == 1


def _list_of_one_part(module: nn.Module) -> bool:
    """The same part of every layer in a list, as in a model of one class."""
    parts = list(module.children())
    alike = len({type(part) for part in parts}) == 1 and len(parts) > 1
    return isinstance(module, nn.ModuleList) and alike and all(_matrices(part) <= 1 for part in parts)


def _holds_stack(module: nn.Module) -> bool:
    return any(_container_of_layers(inner) for inner in module.modules())


def _matrices(module: nn.Module) -> int:
    return sum(p.ndim >= 2 for p in module.parameters())


def _size(group: dict[str, nn.Module]) -> int:
    return sum(p.numel() for layer in group.values() for p in layer.parameters())


def _named(model: nn.Module, layers: str | Sequence[str] | Sequence[nn.Module]) -> LayerStack:
    modules = dict(model.named_modules())
    if isinstance(layers, str):
        layers = _inside(layers, modules)
        check(layers in modules, "layers", layers, f"the name of one of {_containers(modules)}")
        children = {_key(layers, n): child for n, child in modules[layers].named_children()}
        check(len(children) > 0, "layers", layers, "a container of layers; it has none")
        return LayerStack(layers, children)
    check(len(layers) > 0, "number of layers", 0, "1 or more")
    names = {id(module): name for name, module in modules.items()}
    chosen: dict[str, nn.Module] = {}
    for layer in layers:
        name = _inside(layer, modules) if isinstance(layer, str) else names.get(id(layer))
        check(name in modules, "layer", layer, f"a submodule of the {type(model).__name__}, or its name")
        chosen[str(name)] = modules[str(name)]
    return LayerStack("", chosen)


def _inside(name: str, modules: Mapping[str, nn.Module]) -> str:
    """A name without the wrappers' part of it."""
    while name not in modules and name.startswith(("module.", "_orig_mod.")):
        name = name.partition(".")[2]
    return name


def _containers(modules: dict[str, nn.Module]) -> str:
    lists = [n for n, m in modules.items() if n and isinstance(m, (nn.ModuleList, nn.Sequential))]
    names = lists or [n for n in modules if n]
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
