"""Rotary positions as configs set them, in the words of every version of transformers: base, fraction, scaling."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from auxin.architecture import Rotary
from auxin.values import check

Settings = Mapping[str, Any]
Scaled = tuple[list[float], float]
"""A factor on the angle of every pair, and one on queries and on keys."""


def rotary_of(settings: Settings, head_dim: int, longest: int) -> tuple[Rotary, float]:
    """The rotation of heads, and the factor on their queries and on their keys.

    Args:
        settings: rope_theta, partial_rotary_factor, rope_type and what the type has of its own.
        head_dim: dimensions of a head.
        longest: tokens that the model is made for, max_position_embeddings.

    Raises ``ConfigError`` for a rope_type that is not covered, and for what a type's settings lack.
    """
    for name, value in settings.items():
        check(name in KNOWN, f"{name} of the rotation", value, f"none ({', '.join(KNOWN)})")
    base, fraction = (_number(settings, name, 0.0) for name in ("rope_theta", "partial_rotary_factor"))
    rotary = Rotary(base, min(fraction, 1.0))
    kind = settings.get("rope_type", settings.get("type", "default"))
    check(kind in SCALINGS, "rope_type", kind, ", ".join(SCALINGS))
    rates = rotary.rates(head_dim)
    factors, strength = SCALINGS[kind](settings, rates, longest)
    check(len(factors) == len(rates), "number of factors", len(factors), f"{len(rates)}, a pair each")
    whole = strength == 1 or rotary.turned(head_dim) == head_dim
    check(whole, "attention_factor", strength, "1, where a part of the head is turned")
    same = all(factor == 1 for factor in factors)
    return (rotary if same else Rotary(base, rotary.fraction, tuple(factors))), strength


def _number(settings: Settings, name: str, low: float, default: float | None = None) -> float:
    value: Any = settings.get(name)
    value = default if value is None else value
    number = type(value) in (int, float) and low <= value < 1e12
    check(number, name, value, f"a number of {low:g} or more")
    return float(value)


def _unchanged(settings: Settings, rates: tuple[float, ...], longest: int) -> Scaled:
    """Also of ``dynamic``, which acts on sequences longer than the model is made for."""
    return [1.0] * len(rates), 1.0


def _linear(settings: Settings, rates: tuple[float, ...], longest: int) -> Scaled:
    """Chen et al. 2023: positions divided by a factor."""
    return [1 / _number(settings, "factor", 1e-6)] * len(rates), 1.0


def _llama3(settings: Settings, rates: tuple[float, ...], longest: int) -> Scaled:
    """Llama 3.1: pairs that turn less than ``low`` times over the old length are slowed, none that turn ``high``."""
    factor = _number(settings, "factor", 1e-6)
    low, high = (_number(settings, name, 1e-6) for name in ("low_freq_factor", "high_freq_factor"))
    old = _number(settings, "original_max_position_embeddings", 1, longest)
    factors = []
    for rate in rates:
        turns = old * rate / (2 * math.pi)
        kept = min(max((turns - low) / max(high - low, 1e-9), 0.0), 1.0)
        factors.append((1 - kept) / factor + kept)
    return factors, 1.0


def _yarn(settings: Settings, rates: tuple[float, ...], longest: int) -> Scaled:
    """Peng et al. 2023: a ramp over pairs, from those that turn ``fast`` times over the old length to ``slow``."""
    old = _number(settings, "original_max_position_embeddings", 1, longest)
    factor = _number(settings, "factor", 1e-6, longest / old)
    base, turned = _number(settings, "rope_theta", 1), 2 * len(rates)
    ends = [
        turned * math.log(old / (_number(settings, name, 1e-6, turns) * 2 * math.pi)) / (2 * math.log(base))
        for name, turns in (("beta_fast", 32), ("beta_slow", 1))
    ]
    if settings.get("truncate", True):
        ends = [math.floor(ends[0]), math.ceil(ends[1])]
    first, last = max(ends[0], 0), min(ends[1], turned - 1)
    last = last + 0.001 if first == last else last
    slowed = [min(max((i - first) / (last - first), 0.0), 1.0) for i in range(len(rates))]
    return [s / factor + (1 - s) for s in slowed], _yarn_strength(settings, factor)


def _yarn_strength(settings: Settings, factor: float) -> float:
    given, scales = settings.get("attention_factor"), (settings.get("mscale"), settings.get("mscale_all_dim"))
    if given is not None:
        return _number(settings, "attention_factor", 0)

    both = [_longer(factor, float(scale)) for scale in scales if scale]
    return both[0] / both[1] if len(both) == 2 else _longer(factor, 1.0)


def _longer(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0


def strength_of_all(settings: Settings) -> float:
    """The factor on all dimensions of queries and of keys that DeepSeek's attention has beside its rotation."""
    scale = _number(settings, "mscale_all_dim", 0, 0.0)
    if settings.get("rope_type", settings.get("type", "default")) == "default" or scale == 0:
        return 1.0
    return _longer(_number(settings, "factor", 1e-6), scale)


def _longrope(settings: Settings, rates: tuple[float, ...], longest: int) -> Scaled:
    """Ding et al. 2024: a divisor for each pair; those of short sequences, as nothing longer is predicted."""
    old = _number(settings, "original_max_position_embeddings", 1, longest)
    factor = _number(settings, "factor", 1e-6, longest / old)
    short = settings.get("short_factor")
    numbers = isinstance(short, (list, tuple)) and all(type(x) in (int, float) and x > 0 for x in short)
    check(numbers, "short_factor", short, "a list of numbers above 0")
    assert isinstance(short, (list, tuple))
    natural = math.sqrt(1 + math.log(factor) / math.log(old)) if factor > 1 else 1.0
    return [1 / x for x in short], _number(settings, "attention_factor", 0, natural)


KNOWN = """
rope_theta partial_rotary_factor rope_type type factor original_max_position_embeddings low_freq_factor high_freq_factor
attention_factor beta_fast beta_slow mscale mscale_all_dim truncate short_factor long_factor
""".split()  # noqa: SIM905
"""Settings of a rotation."""
SCALINGS: dict[str, Callable[[Settings, tuple[float, ...], int], Scaled]] = {
    "default": _unchanged,
    "dynamic": _unchanged,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
    "su": _longrope,
}
"""By ``rope_type``; ``su`` is what Phi-3's first configs call longrope."""
