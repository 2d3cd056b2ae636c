"""Fresh draws of a model's own class: what its tensors should be, where no table says it."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from auxin.probes.laws import COUNTED, Law, Reference, equal_pairs, laws_of, ties_of
from auxin.probes.residual import is_norm
from auxin.values import check

LARGEST, LARGE = 2e9, 1e8
"""Parameters up to which a model is drawn anew, and beyond which it is drawn layer by layer."""
DRAWS = 2
RANDOM = (torch.ops.aten.normal_, torch.ops.aten.uniform_)
"""Operations that fill a tensor with random numbers."""
HOOKS = ("init_weights", "initialize_weights", "reset_parameters")
"""Methods by which models of one's own draw their weights."""
Given = nn.Module | Callable[[], nn.Module]


def reference_of(model: nn.Module, given: Given | None) -> Reference | None:
    """The caller's reference, else fresh draws of the model's own class; None where neither can be had.

    A class is asked for a fresh model by its constructor, where the model keeps the arguments, or a copy by one of
    ``HOOKS``. Memory: that of one more model; of a large one of transformers, that of one of its parts. Raises
    ``ConfigError`` where the caller's function builds no module, or one without a name in common.
    """
    if isinstance(given, nn.Module):
        return _reference(f"the given {type(given).__name__}", "", [given])
    if given is not None:
        title = f"the model of {getattr(given, '__name__', 'the given function')}"
        found = _reference(title, "", _draws(given))
        common = any(name in found.laws for name, _ in model.named_parameters())
        check(common, "reference", "a model of other names", "one with the model's parameters")
        return found
    prefix, inner = _built_from_config(model)
    size = sum(p.numel() for p in inner.parameters())
    if size > LARGEST:
        return None
    try:
        if size > LARGE and of_library(inner):
            title = f"{type(inner).__name__} drawn anew layer by layer"
            return _reference(title, prefix, _draws(lambda: _twin(inner), "meta"), _laws_by_part)
        if (arguments := _arguments(inner)) is not None:
            words = "config" if len(arguments) == 1 else "arguments"
            title = f"{type(inner).__name__} drawn anew from its {words}"
            return _reference(title, prefix, _draws(lambda: type(inner)(**copy.deepcopy(arguments))))
        hook = next((h for h in HOOKS if _without_arguments(getattr(type(inner), h, None))), None)
        if hook is not None:
            title = f"{type(inner).__name__} drawn anew by its {hook}"
            return _reference(title, prefix, _draws(lambda: _redrawn(inner, hook)))
    except Exception:  # of a class that needs more than its config, in a user's code
        return None
    return None


def _built_from_config(model: nn.Module) -> tuple[str, Any]:
    """The model of transformers that a module is or holds, with its name and a dot; else the model itself."""
    library = sys.modules.get("transformers.modeling_utils")
    if library is not None:
        for name, module in model.named_modules():
            if isinstance(module, library.PreTrainedModel):
                return f"{name}." if name else "", module
    return "", model


def of_library(model: nn.Module) -> bool:
    """Whether a model's class is one of transformers'."""
    return type(model).__module__.startswith("transformers.") and hasattr(model, "config")


def _twin(model: nn.Module) -> nn.Module:
    return type(model)(copy.deepcopy(model.config))


def library_twin(model: nn.Module) -> nn.Module | None:
    """Another model of the same class and config, where it is small and the class is one of transformers'."""
    if not of_library(model) or sum(p.numel() for p in model.parameters()) > LARGE:
        return None
    try:
        return next(_draws(lambda: _twin(model)))
    except Exception:  # of a class that needs more than its config
        return None


def _needed(function: Any) -> list[str]:
    """The parameters of a method, after self, that have no default."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return [p.name for p in parameters if p.default is p.empty and p.kind not in several]


def _arguments(model: nn.Module) -> dict[str, Any] | None:
    """The arguments of the class's constructor, where the model keeps them: a config, or all by their names."""
    init = type(model).__init__
    known = list(inspect.signature(init).parameters)[1:]
    if not known or "generator" in known:  # nothing is drawn without one
        return None
    (first, *others) = _needed(init) or known[:1]
    if not others and first in ("config", "cfg", "args") and hasattr(model, "config"):
        return {first: model.config}
    kept = {name: vars(model)[name] for name in known if name in vars(model)}
    return kept if len(kept) == len(known) else None


def _without_arguments(method: Any) -> bool:
    own = callable(method) and not getattr(method, "__module__", "").startswith("torch.")
    return own and not _needed(method)


@torch.no_grad()
def _redrawn(model: nn.Module, hook: str) -> nn.Module:
    """A copy whose parameters the model's own method has set; those that it leaves are NaN and have no law."""
    fresh = copy.deepcopy(model)
    for p in fresh.parameters():
        p.fill_(math.nan)
    getattr(fresh, hook)()
    return fresh


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's random state is that of a seed, and afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        yield


class _Sampled(TorchDispatchMode):
    """Of a large tensor so many entries are drawn as its law is taken from, and repeated."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        x = args[0] if func.overloadpacket in RANDOM else None
        if x is None or x.numel() <= COUNTED or not x.is_contiguous():
            return func(*args, **(kwargs or {}))
        first, *others = x.view(-1).split(COUNTED)
        func(first, *args[1:], **(kwargs or {}))
        for piece in others:
            piece.copy_(first[: len(piece)])
        return x


@torch.no_grad()
def _laws_by_part(model: Any, seed: int) -> dict[str, Law]:
    """Of a model of transformers on the meta device, whose parts are filled, drawn and given up in turn."""
    found: dict[str, Law] = {}
    with _seeded(seed):
        for name, part in _parts(model):
            part.to_empty(device="cpu")
            for tensor in (*part.parameters(), *part.buffers()):
                if tensor.is_floating_point():
                    tensor.fill_(math.nan)  # what stays so has no law
            with _Sampled():
                part.apply(model._init_weights)
            found |= {f"{name}.{n}".removeprefix("."): law for n, law in laws_of(part).items()}
            part.to("meta")
    return found


def _parts(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules that are not large."""
    children = list(module.named_children())
    size, own = (sum(p.numel() for p in module.parameters(recurse=deep)) for deep in (True, False))
    if not children or size <= LARGE or 2 * own > size:
        yield name, module
        return
    for child, inner in children:
        yield from _parts(inner, f"{name}.{child}".removeprefix("."))


def _draws(build: Callable[[], Any], device: str = "cpu") -> Iterator[nn.Module]:
    for seed in range(DRAWS):
        silent = contextlib.redirect_stdout(io.StringIO())
        with _seeded(seed), torch.device(device), silent:
            model = build()
        check(isinstance(model, nn.Module), "reference", type(model).__name__, "a torch.nn.Module")
        yield model


def _reference(
    title: str,
    prefix: str,
    models: Iterable[nn.Module],
    laws: Callable[[nn.Module, int], Mapping[str, Law]] = lambda model, _: laws_of(model),
) -> Reference:
    draws: list[dict[str, Law]] = []
    ties, norms, copies = dict[str, str](), dict[str, str](), set[str]()
    for seed, model in enumerate(models):
        ties = {prefix + name: prefix + other for name, other in ties_of(model).items()}
        norms = {prefix + name: type(m).__name__ for name, m in model.named_modules() if is_norm(m)}
        copies = {prefix + name for name, _ in equal_pairs(model)}
        draws.append({prefix + name: law for name, law in laws(model, seed).items()})
    names = [name for name in draws[0] if all(name in draw for draw in draws)]
    varied = [name for name in names if not draws[0][name].constant]
    if all(torch.equal(draws[0][name].entries, draws[-1][name].entries) for name in varied):  # pyright: ignore[reportArgumentType]
        del draws[1:]  # a function that seeds itself: its draws are one
    means = {name: _mean([draw[name] for draw in draws]) for name in names}
    return Reference(title, means, ties, norms, copies, len(draws))


def _mean(draws: list[Law]) -> Law:
    first = draws[0]
    shared = all(torch.equal(law.entries, first.entries) for law in draws)  # pyright: ignore[reportArgumentType]
    return Law(
        shape=first.shape,
        size=math.sqrt(fmean(law.size**2 for law in draws)),
        mean=fmean(law.mean for law in draws),
        zeros=fmean(law.zeros for law in draws),
        kurtosis=fmean(law.kurtosis for law in draws),
        entries=first.entries if shared and (len(draws) > 1 or first.constant) else None,
    )
