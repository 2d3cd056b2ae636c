"""What a model's tensors are expected to be where no table says it: what its own class draws, or another model has.

A tensor's law is taken from one or more draws: its size (rms), mean, share of zeros, kurtosis, and whether all draws
hold the same numbers (ones, zeros, rotary tables).
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.probes.tracing import is_norm
from auxin.values import check

LARGEST = 1e9
"""Parameters up to which a model is drawn anew."""
DRAWS = 2
ENTRIES = 256
"""Entries of a tensor that are compared one by one."""
HOOKS = ("init_weights", "initialize_weights", "reset_parameters")
"""Methods by which models of one's own draw their weights."""

Given = nn.Module | Callable[[], nn.Module]


@dataclass(frozen=True)
class Statistics:
    """Of one tensor in one draw."""

    shape: tuple[int, ...]
    size: float
    """Root mean square."""
    mean: float
    zeros: float
    """Share of entries that are zero."""
    kurtosis: float
    """In excess of a Gaussian's; 0 where all entries are equal."""
    entries: Tensor
    """Some of them."""


@dataclass(frozen=True)
class Law:
    """What a tensor is drawn from: means over the draws."""

    size: float
    mean: float
    zeros: float
    kurtosis: float
    shape: tuple[int, ...]
    fixed: Tensor | None
    """Entries that all draws share; None where they differ."""


@dataclass(frozen=True)
class Reference:
    """The laws of a model's tensors."""

    name: str
    """What they are those of, as "FalconForCausalLM drawn anew from its config"."""
    prefix: str
    """Name of the module that they are of, in the model."""
    laws: Mapping[str, Law]
    """By the tensor's name in the model."""
    ties: Mapping[str, str]
    """Of a parameter with several names, the first by each of the others."""
    norms: Mapping[str, str]
    """Classes of the modules that are norms."""
    draws: int


def reference_of(model: nn.Module, given: Given | None) -> Reference | None:
    """The caller's reference, else fresh draws of the model's own class; None where neither can be had.

    A class is asked for a fresh model by ``type(model)(model.config)``, or a copy of the model by its own
    ``init_weights``, ``initialize_weights`` or ``reset_parameters``. Memory: that of one more model. torch's random
    state is left as it was, and what constructors print is not shown.

    Raises ``ConfigError`` where the caller's function builds no module, or one without a name in common.
    """
    if isinstance(given, nn.Module):
        return _reference(f"the given {type(given).__name__}", "", [given])
    if given is not None:
        found = _reference(
            f"the model of {getattr(given, '__name__', 'the given function')}", "", _draws(given)
        )
        assert found is not None
        common = [name for name, _ in model.named_parameters() if name in found.laws]
        check(len(common) > 0, "reference", "a model of other names", "one with the model's parameters")
        return found
    prefix, inner = _built_from_config(model)
    title = f"{type(inner).__name__} drawn anew from its config"
    if sum(p.numel() for p in inner.parameters()) > LARGEST:
        return None
    try:
        if _takes_its_config(inner):
            return _reference(title, prefix, _draws(lambda: type(inner)(copy.deepcopy(inner.config))))
        hook = next((h for h in HOOKS if _without_arguments(getattr(type(inner), h, None))), None)
        if hook is not None:
            title = f"{type(inner).__name__} drawn anew by its {hook}"
            return _reference(title, prefix, _draws(lambda: _redrawn(inner, hook)))
    except Exception:  # of a class that needs more than its config, in a user's code
        return None
    return None


def _built_from_config(model: nn.Module) -> tuple[str, Any]:
    """The model of transformers that a module is or holds, with its name; else the model itself."""
    library = sys.modules.get("transformers.modeling_utils")
    if library is not None:
        for name, module in model.named_modules():
            if isinstance(module, library.PreTrainedModel):
                return name, module
    return "", model


def _takes_its_config(model: nn.Module) -> bool:
    """Whether the class's constructor needs one argument, and the model keeps what seems to be it."""
    needed = [
        p
        for p in list(inspect.signature(type(model).__init__).parameters.values())[1:]
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    first = list(inspect.signature(type(model).__init__).parameters)[1:2]
    named = [p.name for p in needed] or first
    if "generator" in inspect.signature(type(model).__init__).parameters:  # nothing is drawn without one
        return False
    return len(named) == 1 and named[0] in ("config", "cfg", "args") and hasattr(model, "config")


def _without_arguments(method: Any) -> bool:
    if not callable(method) or getattr(method, "__module__", "").startswith("torch."):
        return False
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _redrawn(model: nn.Module, hook: str) -> nn.Module:
    """A copy whose parameters the model's own method has set; those that it leaves are NaN and have no law."""
    anew = copy.deepcopy(model)
    with torch.no_grad():
        for p in anew.parameters():
            p.fill_(math.nan)
        getattr(anew, hook)()
    return anew


def _draws(build: Callable[[], Any]) -> Iterator[nn.Module]:
    for seed in range(DRAWS):
        with (
            torch.random.fork_rng(devices=[]),
            torch.device("cpu"),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
            model = build()
        check(isinstance(model, nn.Module), "reference", type(model).__name__, "a torch.nn.Module")
        yield model


def _reference(title: str, prefix: str, draws: Iterator[nn.Module] | Sequence[nn.Module]) -> Reference | None:
    found: list[dict[str, Statistics]] = []
    ties: dict[str, str] = {}
    norms: dict[str, str] = {}
    dot = f"{prefix}." if prefix else ""
    for model in draws:
        found.append({f"{dot}{name}": of for name, of in statistics_of(model).items()})
        ties = {f"{dot}{n}": f"{dot}{other}" for n, other in ties_of(model).items()}
        norms = {f"{dot}{n}": type(m).__name__ for n, m in model.named_modules() if is_norm(m)}
    names = [name for name in found[0] if all(name in each for each in found)]
    varied = [n for n in names if not _constant(found[0][n])]
    if all(torch.equal(found[0][n].entries, found[-1][n].entries) for n in varied):
        del found[1:]  # a function that seeds itself: its draws are one
    laws = {name: _law([each[name] for each in found]) for name in names}
    return Reference(title, prefix, laws, ties, norms, len(found))


def ties_of(model: nn.Module) -> dict[str, str]:
    """Of parameters with several names, the first by each of the others."""
    first: dict[int, str] = {}
    ties: dict[str, str] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        if first.setdefault(id(p), name) != name:
            ties[name] = first[id(p)]
    return ties


def statistics_of(model: nn.Module) -> dict[str, Statistics]:
    """Of the parameters and buffers that have any, by name."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {name: of for name, tensor in tensors if (of := statistics(tensor)) is not None}


def statistics(tensor: Tensor) -> Statistics | None:
    """Of a tensor of floats; None where it has no entries, or some that are not finite."""
    if not tensor.is_floating_point() or tensor.is_meta or not tensor.numel():
        return None
    x = tensor.detach().float().flatten()
    if not bool(x.isfinite().all()):
        return None
    size, mean = x.square().mean().sqrt().item(), x.mean().item()
    variance = max(size**2 - mean**2, 0.0)
    fourth = (x - mean).square().square().mean().item()
    kurtosis = fourth / variance**2 - 3 if variance > 1e-10 * size**2 else 0.0
    places = torch.linspace(0, len(x) - 1, min(ENTRIES, len(x)), device=x.device).round().long()
    zeros = (x == 0).float().mean().item()
    return Statistics(tuple(tensor.shape), size, mean, zeros, kurtosis, x[places].cpu().clone())


def _constant(draw: Statistics) -> bool:
    return bool((draw.entries == draw.entries[0]).all())


def _law(draws: Sequence[Statistics]) -> Law:
    first = draws[0]
    shared = all(torch.equal(each.entries, first.entries) for each in draws)
    mean = lambda name: sum(getattr(each, name) for each in draws) / len(draws)
    return Law(
        size=math.sqrt(sum(each.size**2 for each in draws) / len(draws)),
        mean=mean("mean"),
        zeros=mean("zeros"),
        kurtosis=mean("kurtosis"),
        shape=first.shape,
        fixed=first.entries if shared and (len(draws) > 1 or _constant(first)) else None,
    )


def scheme_named(name: str) -> Any:
    """The scheme that a caller names; ``ConfigError`` with the known ones."""
    from auxin.architecture.initialization import SCHEMES

    if name not in SCHEMES:
        raise ConfigError(
            f"reference is {name!r}; allowed: a model, a function that builds one, or {', '.join(SCHEMES)}"
        )
    return SCHEMES[name]
