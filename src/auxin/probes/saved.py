"""A model's state at initialization as plain values, and what a later one changes: tensors, laws, signals, findings."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from auxin.errors import ConfigError
from auxin.probes.check_report import PROFILED, CheckReport
from auxin.probes.difference import compared_streams
from auxin.probes.findings import Thresholds
from auxin.probes.laws import Law, laws_of
from auxin.theory.profile import Profile

LAW = ("shape", "size", "mean", "zeros", "kurtosis")  # what is kept of a tensor's law


def state_of(model: nn.Module, report: CheckReport) -> dict[str, Any]:
    """The laws of a model's tensors, its profile and what was found, for JSON."""
    seen = report.observation
    profile = {} if seen is None else {name: seen[name].tolist() for name in PROFILED}
    return {
        "width": 0 if seen is None else seen.width,
        "profile": profile,
        "laws": {name: [getattr(law, field) for field in LAW] for name, law in laws_of(model).items()},
        "findings": [finding.sentence for finding in report.findings],
    }


def changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """What has changed since: sentences. Weights may be other draws of their laws.

    Raises ``ConfigError`` where ``before`` is no state.
    """
    try:
        return [*_laws(now["laws"], before["laws"]), *_profiles(now, before), *_findings(now, before)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"the saved state is damaged: {type(error).__name__} {error}; allowed: a file of --save"
        ) from None


def _laws(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """A sentence a tensor; one alone where those of all layers have changed alike."""
    alike: dict[Any, list[str]] = defaultdict(list)
    for name in [*before, *(name for name in now if name not in before)]:
        if found := _change(now.get(name), before.get(name)):
            alike[re.sub(r"\d+", "#", name), found[0]].append(f"{name} {found[1]}")
    for first, *others in alike.values():
        count = f" (in {len(others) + 1} layers, this is the first)" if others else ""
        yield f"{first}{count}."


def _change(now: Sequence[Any] | None, before: Sequence[Any] | None) -> tuple[str, str] | None:
    """What has happened to a tensor: its kind, and in words."""
    if now is None or before is None:
        return ("gone", "is gone") if now is None else ("new", "is new")
    new, old = _law(now), _law(before)
    if new.shape != old.shape:
        return "shape", f"has shape {new.shape}; it had {old.shape}"
    words = new.difference(old, Thresholds(), draws=1)
    if words is None:
        return None
    larger = new.size > old.size if "size" in words[0] else new.mean > old.mean
    return f"{words[0].split()[1]} {larger}", f"{words[0]}; before it {words[1].replace('has', 'had', 1)}"


def _law(values: Sequence[Any]) -> Law:
    shape, size, mean, zeros, kurtosis = values
    return Law(tuple(shape), size, mean, zeros, kurtosis, entries=None)


def _profiles(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    profiles = [
        Profile({n: np.array(x, dtype=np.float64) for n, x in state["profile"].items()})
        for state in (before, now)
    ]
    if not all(profile.columns for profile in profiles):
        return
    if profiles[0].depth != profiles[1].depth:
        yield f"It runs {profiles[1].depth} layers; before {profiles[0].depth}."
        return
    width = min(before["width"], now["width"]) or math.inf
    for sentence in compared_streams(profiles, width, PROFILED, equal=False):  # pyright: ignore[reportArgumentType]
        yield (
            sentence.replace(", in the second ", "; now ")
            .replace("differs first", "has changed, first")
            .replace(": ", ": before ", 1)
        )


def _findings(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """By kind and module, as the numbers of a sentence change from draw to draw."""
    known = {sentence.partition(" ")[0] for sentence in before["findings"]}
    for sentence in now["findings"]:
        if sentence.partition(" ")[0] not in known:
            yield f"Found, and not before: {sentence}"
