"""Runs with names: what sweeps and studies are made of, what waits for workers, and how it ended."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from auxin.config import RunConfig
from auxin.runs.run import Data
from auxin.values import check

ATTEMPTS = 2
"""Times that a run is begun whose worker was killed; the second death is taken to be its own doing."""
Setting = str | int | float | bool
"""The value of a run's setting, as tables hold it."""


@dataclass(frozen=True)
class NamedRun:
    """One run of a study or a sweep; the name is its directory, the settings become columns of the tables.

    >>> NamedRun("deep", RunConfig(seeds=(0,)), {"depth": 8}).name
    'deep'
    """

    name: str
    config: RunConfig
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        valid = re.fullmatch(r"[a-z0-9][a-z0-9.=+_-]{0,99}", self.name) is not None
        check(valid, "name of a run", self.name, "up to 100 of a-z 0-9 . = + _ -, a letter or digit first")
        plain = {name: getattr(value, "item", lambda v=value: v)() for name, value in self.settings.items()}
        object.__setattr__(self, "settings", plain)  # numpy's numbers as Python's
        for name, value in plain.items():
            named = isinstance(name, str) and re.fullmatch(r'[^\s"]([^"]{0,58}[^\s"])?', name)
            fits = bool(named) and name.isprintable()
            check(fits, "name of a setting", name, '1 to 60 printable characters but "')
            check(_fits_table(value), f"setting {name!r}", value, "a finite number or a word")


def _fits_table(value: object) -> bool:
    """Whether a table and JSON hold the value as it is."""
    if isinstance(value, str):
        return value.isprintable()
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 2**63


@dataclass(frozen=True)
class Job:
    """A run to be trained in a directory."""

    name: str
    config: RunConfig
    path: Path
    data: Data
    """Digest of a config's sentences."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended; ``detail`` says why it failed."""

    name: str
    status: Literal["finished", "failed", "stopped", "again"]
    """``again``: back to the queue, as another process was at it or its worker died; no sweep ends with it."""
    seconds: float = 0.0
    """Wall time of the last attempt."""
    detail: str = ""


def check_names(runs: Sequence[NamedRun]) -> None:
    """Refuse two runs of one name."""
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    check(not twice, "name of a run", twice[0] if twice else "", "each name once")


def seed_by_seed(runs: Iterable[NamedRun]) -> list[NamedRun]:
    """A run for each seed, the first seed of all runs first."""
    alone = ((seed, run) for run in runs for seed in run.config.seeds)
    only = lambda run, seed: dataclasses.replace(run.config, seeds=(seed,))
    return [
        NamedRun(f"{run.name}-seed{seed}", only(run, seed), run.settings)
        for seed, run in sorted(alone, key=lambda pair: pair[0])
    ]
