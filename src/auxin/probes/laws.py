"""The law of a tensor: as measured, and as expected where no table says it, from its own class or another model.

An expected law is that of one or more draws: its size (rms), mean, share of zeros, kurtosis, and where all draws hold
the same numbers (ones, zeros, rotary tables), those numbers.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from auxin.families.matrices import chance
from auxin.probes.findings import Thresholds
from auxin.probes.residual import is_norm
from auxin.values import check

LARGEST = 1e9
"""Parameters up to which a model is drawn anew."""
DRAWS = 2
ENTRIES = 256
"""Entries of a tensor that are compared one by one."""
HOOKS = ("init_weights", "initialize_weights", "reset_parameters")
"""Methods by which models of one's own draw their weights."""
FEW = 32
"""Random entries in which nothing but a tenfold size differs by more than chance."""
MEAN, ZEROS, KURTOSIS = 0.05, 0.02, 0.4
"""Differences of a mean (in standard deviations), of a share of zeros and of a kurtosis that count, beside chance."""
SAME = 0.02
"""Relative difference of numbers that all draws share: half precision rounds by 0.4%."""

Given = nn.Module | Callable[[], nn.Module]


@dataclass(frozen=True)
class Law:
    """What is known of one tensor from its entries, or of all draws of it."""

    shape: tuple[int, ...]
    size: float
    """Root mean square."""
    mean: float
    zeros: float
    """Share of entries that are zero."""
    kurtosis: float
    """In excess of a Gaussian's; 0 where all entries are equal."""
    entries: Tensor | None
    """Some of them; of several draws those that all share, None where they differ."""

    @property
    def constant(self) -> bool:
        """Whether the entries are one number."""
        return self.entries is not None and bool((self.entries == self.entries[0]).all())

    @property
    def random(self) -> Law:
        """That of a single draw: but for a constant, other draws have other entries."""
        return self if self.constant else replace(self, entries=None)

    @property
    def shape_words(self) -> str:
        """A distribution's name by its kurtosis: −1.2 uniform, −0.6 a Gaussian cut at 2σ, 0 Gaussian."""
        names = {-0.9: "uniform", -0.3: "a cut Gaussian", 0.5: "Gaussian"}
        return next((name for end, name in names.items() if self.kurtosis < end), "of heavy tails")

    def difference(
        self, law: Law, limits: Thresholds, draws: int, branch: float = 1.0
    ) -> tuple[str, str] | None:
        """What is measured here and expected by another law, in words, where they differ beyond chance; else None.

        The other is the mean of so many ``draws``. With ``branch``, a tensor may be so many times as large.
        """
        count = math.prod(self.shape)
        size = f"has size {self.size:.4g} (rms)", f"has {law.size:.4g}"
        if law.entries is not None:
            assert self.entries is not None
            allowed = SAME * (law.entries.abs() + law.size) + 1e-7
            return None if bool(((self.entries - law.entries).abs() <= allowed).all()) else size
        if law.size == 0:
            return None if self.size == 0 else size
        scatter = math.sqrt(1 + 1 / draws)
        allowed = 1 + limits.std + scatter * chance(count)
        allowed = max(allowed, 10.0) if count < FEW else allowed
        ratio = self.size / law.size
        if all(not 1 / allowed <= ratio / factor <= allowed for factor in (1.0, branch)):
            return size
        if count < FEW:
            return None
        deviation = math.sqrt(max(law.size**2 - law.mean**2, 0.0))
        if branch == 1 and abs(self.mean - law.mean) > deviation * (MEAN + scatter * 6 / math.sqrt(count)):
            return f"has mean {self.mean:.4g}", f"has {law.mean:.4g}"
        share = max(self.zeros, law.zeros, 1 / count)
        if abs(self.zeros - law.zeros) > ZEROS + scatter * 6 * math.sqrt(share / count):
            return f"is zero in {self.zeros:.1%} of its entries", f"has {law.zeros:.1%}"
        usual = abs(law.kurtosis) < 3  # so few entries do not determine the kurtosis of heavier tails
        if usual and abs(self.kurtosis - law.kurtosis) > KURTOSIS + scatter * 6 * math.sqrt(24 / count):
            return f"is {self.shape_words}", f"is {law.shape_words}"
        return None


@dataclass(frozen=True)
class Reference:
    """The laws of a model's tensors."""

    name: str
    """What they are those of, as "FalconForCausalLM drawn anew from its config"."""
    laws: Mapping[str, Law]
    """By the tensor's name in the model."""
    ties: Mapping[str, str]
    """Of a parameter with several names, the first by each of the others."""
    norms: Mapping[str, str]
    """Classes of the modules that are norms."""
    copies: Set[str]
    """Parameters that have another one's entries."""
    draws: int


def law_of(tensor: Tensor) -> Law | None:
    """The law of a tensor of floats, as measured; None where it has no entries, or some that are not finite."""
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
    return Law(tuple(tensor.shape), size, mean, zeros, kurtosis, x[places].cpu().clone())


def laws_of(model: nn.Module) -> dict[str, Law]:
    """Of the parameters and buffers that have one, by name."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {name: law for name, tensor in tensors if (law := law_of(tensor)) is not None}


def ties_of(model: nn.Module) -> dict[str, str]:
    """Of parameters with several names, the first by each of the others."""
    first: dict[int, str] = {}
    names = model.named_parameters(remove_duplicate=False)
    return {name: of for name, p in names if (of := first.setdefault(id(p), name)) != name}


def equal_pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of two matrices with equal entries, which are no ties; the later one first."""
    first: dict[tuple[float, ...], tuple[str, Tensor]] = {}
    for name, p in module.named_parameters():
        if varied(p):
            key = *p.shape, *p.detach().flatten()[:8].tolist()
            source, other = first.setdefault(key, (name, p))
            if equal(other, p):
                yield name, source


def varied(p: Tensor) -> bool:
    """Whether a tensor is a matrix of random entries."""
    return p.ndim >= 2 and p.numel() >= FEW and bool((p != p.flatten()[0]).any())


def equal(p: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same entries, and are not one."""
    return p is not other and p.flatten()[:8].equal(other.flatten()[:8]) and torch.equal(p, other)


def reference_of(model: nn.Module, given: Given | None) -> Reference | None:
    """The caller's reference, else fresh draws of the model's own class; None where neither can be had.

    A class is asked for a fresh model by its constructor, where the model keeps the arguments, or a copy by its own
    ``init_weights``, ``initialize_weights`` or ``reset_parameters``. Memory: that of one more model. torch's random
    state is left as it was, and what constructors print is not shown.

    Raises ``ConfigError`` where the caller's function builds no module, or one without a name in common.
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
    if sum(p.numel() for p in inner.parameters()) > LARGEST:
        return None
    try:
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


def library_twin(model: nn.Module) -> nn.Module | None:
    """Another model of the same class and config, where that class is one of transformers'; torch's state is kept."""
    if not type(model).__module__.startswith("transformers.") or not hasattr(model, "config"):
        return None
    try:
        return next(_draws(lambda: type(model)(copy.deepcopy(model.config))))
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
    return (
        callable(method)
        and not getattr(method, "__module__", "").startswith("torch.")
        and not _needed(method)
    )


@torch.no_grad()
def _redrawn(model: nn.Module, hook: str) -> nn.Module:
    """A copy whose parameters the model's own method has set; those that it leaves are NaN and have no law."""
    fresh = copy.deepcopy(model)
    for p in fresh.parameters():
        p.fill_(math.nan)
    getattr(fresh, hook)()
    return fresh


def _draws(build: Callable[[], Any]) -> Iterator[nn.Module]:
    for seed in range(DRAWS):
        silent = contextlib.redirect_stdout(io.StringIO())
        with torch.random.fork_rng(devices=[]), torch.device("cpu"), silent:
            torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
            model = build()
        check(isinstance(model, nn.Module), "reference", type(model).__name__, "a torch.nn.Module")
        yield model


def _reference(title: str, prefix: str, models: Iterable[nn.Module]) -> Reference:
    draws: list[dict[str, Law]] = []
    ties: dict[str, str] = {}
    norms: dict[str, str] = {}
    copies: set[str] = set()
    for model in models:
        draws.append({f"{prefix}{name}": law for name, law in laws_of(model).items()})
        ties = {f"{prefix}{name}": f"{prefix}{other}" for name, other in ties_of(model).items()}
        norms = {f"{prefix}{name}": type(m).__name__ for name, m in model.named_modules() if is_norm(m)}
        copies = {f"{prefix}{name}" for name, _ in equal_pairs(model)}
    names = [name for name in draws[0] if all(name in draw for draw in draws)]
    varied = [name for name in names if not draws[0][name].constant]
    if all(torch.equal(draws[0][name].entries, draws[-1][name].entries) for name in varied):  # pyright: ignore[reportArgumentType]
        del draws[1:]  # a function that seeds itself: its draws are one
    laws = {name: _mean([draw[name] for draw in draws]) for name in names}
    return Reference(title, laws, ties, norms, copies, len(draws))


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
