"""The law of a tensor: as measured, and as expected where no table says it, from its own class or another model.

An expected law is that of one or more draws: its size (rms), mean, share of zeros, kurtosis, and where all draws hold
the same numbers (ones, zeros, rotary tables), those numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from auxin.families.matrices import chance
from auxin.probes.findings import Thresholds

COUNTED = 2**20  # entries of a tensor that its law is taken from, at most
ENTRIES = 256  # entries of a tensor that are compared one by one
HALF = (torch.float16, torch.bfloat16)
FEW = 32  # random entries in which nothing but a tenfold size differs by more than chance
MEAN, ZEROS, KURTOSIS = 0.05, 0.02, 0.4
"""Differences of a mean (in standard deviations), of a share of zeros and of a kurtosis that count, beside chance."""
SAME = 0.02  # relative difference of numbers that all draws share: half precision rounds by 0.4%


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

    def times(self, factor: float) -> Law:
        """That of the tensor multiplied."""
        return replace(self, size=self.size * factor, mean=self.mean * factor)

    @property
    def shape_words(self) -> str:
        """A distribution's name by its kurtosis: −1.2 uniform, −0.6 a Gaussian cut at 2σ, 0 Gaussian."""
        names = {-0.9: "uniform", -0.3: "a cut Gaussian", 0.5: "Gaussian"}
        return next((name for end, name in names.items() if self.kurtosis < end), "of heavy tails")

    def difference(
        self, law: Law, limits: Thresholds, draws: int, branch: float = 1.0
    ) -> tuple[str, str] | None:
        """What is measured, and expected by a law of so many ``draws``, in words; None where they agree up to chance.

        With ``branch``, a tensor may be so many times as large.
        """
        count = min(math.prod(self.shape), COUNTED)
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
    x = tensor.detach().flatten()
    x = x[:: max(1, len(x) // COUNTED) | 1].float()  # an odd step, so that no column is preferred
    size, mean = x.square().mean().sqrt().item(), x.mean().item()
    if not math.isfinite(size) and not bool(x.isfinite().all()):
        return None
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
    few = p.detach().flatten()[:COUNTED]
    return p.ndim >= 2 and p.numel() >= FEW and not p.is_meta and bool((few != few[0]).any())


def equal(p: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same entries, and are not one."""
    return p is not other and p.flatten()[:8].equal(other.flatten()[:8]) and torch.equal(p, other)


def rounded_tables(model: nn.Module, reference: Reference | None) -> Iterator[str]:
    """A note on buffers in half precision, of which a fresh model has other digits (frequencies of rotations)."""
    for name, buffer in model.named_buffers():
        law = None if reference is None else reference.laws.get(name)
        here = law_of(buffer) if buffer.dtype in HALF and law is not None else None
        if law is None or here is None or law.entries is None or law.shape != here.shape or law.constant:
            continue
        assert here.entries is not None
        off = float(((here.entries - law.entries) / law.entries.abs().clamp_min(1e-30)).abs().max())
        if 0 < off < torch.finfo(buffer.dtype).eps:
            kind = str(buffer.dtype).removeprefix("torch.")
            yield (
                f"{name} is rounded to {kind}, by up to {off:.2%}: what it is multiplied with (positions) is off by as "
                "much; float32 keeps it"
            )
