"""The tensors of two models in pairs, by names, roles or places; and modules that hold the same, but differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from auxin.errors import ConfigError
from auxin.families.description import describe
from auxin.families.layers import LayerStack
from auxin.families.preparation import ROUNDING, hooks
from auxin.probes.findings import counted
from auxin.probes.inputs import Reading, call_of
from auxin.probes.observe import run
from auxin.probes.states import tensors_of
from auxin.probes.weights import owner

TIMES = 10.0  # times the rounding of a type that outputs may differ by, relative
PROBED = (1e-4, 3.0)
"""Sizes of random inputs at which norms of another ε differ, and activations of another form."""
EPSILON: dict[str, str] = {"epsilon": "eps", "variance_epsilon": "eps"}  # what norms call ε


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
        name, entries = m.parameter + share, m.entries.detach()
        found[m.role, m.layer] = NamedTensor(name, m.layer, m.role, entries, m.parameter)
    return found


def _fits(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape or (one.ndim == 2 and one.shape == other.mT.shape)


def unlike_modules(
    models: Sequence[nn.Module], stack: LayerStack, rows: Iterable[Mapping[str, Any]], reading: Reading
) -> list[str]:
    """A sentence for every innermost module whose outputs differ; one alone for a part of several layers.

    ``rows`` are those of ``Difference.tensors``. Cost: a pass of the first model, in which the others run, too.
    """
    pairs = _Pairs(dict(_partners(models, rows)))
    with torch.no_grad(), hooks() as hook:
        for name, (module, _) in pairs.modules.items():
            hook(module.register_forward_pre_hook(partial(pairs.before, name), with_kwargs=True))
            hook(module.register_forward_hook(partial(pairs.after, name)))
        run(models[0], call_of(models[0], reading))
    groups: dict[Any, list[str]] = defaultdict(list)
    for name, (_, why) in pairs.found.items():
        if not any(inner.startswith(f"{name}.") for inner in pairs.found):
            layer, part = stack.place(name)
            groups[name if layer is None else (part, why)].append(name)
    depth = len(stack.layers)
    return [counted(f"{n[0]} {''.join(pairs.found[n[0]])}", len(n), depth) for n in groups.values()]


def _partners(
    models: Sequence[nn.Module], rows: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, tuple[nn.Module, nn.Module]]]:
    """By its name in the first model a module and its partner, whose tensors are all the same."""
    tensors = [dict((*model.named_parameters(), *model.named_buffers())) for model in models]
    others: dict[str, str] = {}
    unlike: set[int] = set()
    for row in rows:
        one, other = (None if row[n] is None else row[n].partition(" [")[0] for n in ("name", "other"))
        if row["same"] and row["matched"] != "role":
            others[owner(str(one))] = owner(str(other))
        else:
            unlike |= {id(named[n]) for named, n in zip(tensors, (one, other), strict=True) if n is not None}
    there = dict(models[1].named_modules())
    for name, module in models[0].named_modules():
        partner = there.get(others.get(name, name))
        if name and partner is not None and partner is not module:
            held = (x for m in (module, partner) for x in (*m.parameters(), *m.buffers()))
            if unlike.isdisjoint(map(id, held)):
                yield name, (module, partner)


@dataclass
class _Pairs:
    """Runs partners on the inputs that modules of the first model get, and keeps those whose outputs are apart."""

    modules: dict[str, tuple[nn.Module, nn.Module]]
    found: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By the module's name how far outputs are apart, and what of the settings differs, in words."""
    _ran: set[str] = field(default_factory=set)
    _outputs: dict[str, Any] = field(default_factory=dict)
    _busy: bool = False

    def before(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """The first time that a module runs: what its partner makes of its inputs, which it may overwrite."""
        if not self._busy and name not in self._ran:
            self._ran.add(name)
            copy = lambda x: x.clone() if isinstance(x, Tensor) else x
            self._outputs[name] = self._run(self.modules[name][1], *tree_map(copy, (args, kwargs)))

    def after(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        """Compares the outputs, and those of a norm or an activation for small and for large inputs."""
        if self._busy or name not in self._outputs:
            return
        partner, apart, where = self.modules[name][1], _apart(output, self._outputs.pop(name)), ""
        few = all(p.ndim <= 1 for p in module.parameters()) and not any(module.children())
        x = args[0] if len(args) == 1 and isinstance(args[0], Tensor) else None
        if not apart and few and x is not None and x.is_floating_point():
            noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
            both = [[self._run(m, (size * noise,), {}) for m in (module, partner)] for size in PROBED]
            apart, size = max((_apart(*outputs), size) for outputs, size in zip(both, PROBED, strict=True))
            where = f", of size {size:g}"
        if apart:
            words = f"gives outputs {100 * apart:.2g}% apart for the same inputs{where}"
            self.found[name] = words, _why(module, partner)

    def _run(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Its output; None where it takes other inputs."""
        self._busy = True
        try:
            return module(*args, **kwargs)
        except Exception:  # of a user's module
            return None
        finally:
            self._busy = False


def _apart(output: Any, other: Any) -> float:
    """The largest relative difference of two outputs' tensors; 0 where rounding explains it, or they are unlike."""
    both = [[x for x in tensors_of(value) if x.is_floating_point()] for value in (output, other)]
    if [x.shape for x in both[0]] != [x.shape for x in both[1]]:
        return 0.0
    found = 0.0
    for one, another in zip(*both, strict=True):
        size = one.double().norm().item()
        apart = (another.double().to(one.device) - one.double()).norm().item() / (size or 1.0)
        found = max(found, apart if apart > TIMES * ROUNDING.get(one.dtype, 1e-5) else 0.0)
    return found


def _why(module: nn.Module, partner: nn.Module) -> str:
    """What differs of two modules' classes and settings, in words."""
    here, there = ({EPSILON.get(n, n): v for n, v in vars(m).items()} for m in (module, partner))
    plain = [n for n, v in here.items() if type(v) in (int, float, str) and type(there.get(n)) is type(v)]
    unlike = [f"{n} is {here[n]}, in the second {there[n]}" for n in plain if here[n] != there[n]]
    kinds = [type(m).__name__ for m in (module, partner)]
    if not unlike and kinds[0] != kinds[1]:
        unlike = [f"a {kinds[0]}, in the second a {kinds[1]}"]
    return f" ({'; '.join(unlike)})" if unlike else ""
