"""What a study or a sweep is made of: runs with names, and the settings that vary among them."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from auxin.config import ModelConfig, OptimizerConfig, RunConfig, preset
from auxin.report.sweep_record import Setting
from auxin.values import changed, check

Scale = Literal["minutes", "laptop", "paper"]
"""minutes: tiny models, to see that everything works; laptop: two cores; paper: the published sizes, a GPU."""

StudyName = Literal[
    "grokking", "depth", "dynamics", "trainability", "joint", "repair", "totals", "architectures"
]


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
            check(
                bool(named) and name.isprintable(),
                "name of a setting",
                name,
                '1 to 60 printable characters but "',
            )
            check(_fits_table(value), f"setting {name!r}", value, "a finite number or a word")


def _fits_table(value: object) -> bool:
    """Whether a table and JSON hold the value as it is."""
    if isinstance(value, str):
        return value.isprintable()
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 2**63


def check_names(runs: Sequence[NamedRun]) -> None:
    """Refuse two runs of one name."""
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    check(not twice, "name of a run", twice[0] if twice else "", "each name once")


def base(scale: Scale, task: str = "question") -> RunConfig:
    """The configuration from which a study varies: a tiny one, a narrow one or the ``paper`` preset.

    The narrow one, at ``laptop``, is the preset with the published branches of strength 1, eight layers deep.

    A CPU run has one thread: its numbers then do not depend on how many workers a sweep has, and runs side by
    side use the cores better than threads within one.
    """
    if scale == "paper":  # few checkpoints: those of a stack of ten at 10 layers take 1.3 GB each
        return dataclasses.replace(preset("paper", task), checkpoint_every=100_000)
    if scale == "laptop":
        published = {"depth": 8, "attention_branch": 1.0, "mlp_branch": 1.0}
        return replace(preset("laptop", task), model=published, steps=6000, threads=1)
    return RunConfig(
        task=task,
        train_size=1000,
        model=ModelConfig(depth=1, width=16, heads=2),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup=5),
        steps=40,
        batch_size=8,
        log_every=10,
        checkpoint_every=20,
        eval_size=50,
        threads=1,
        shares=1,
    )


def replace(
    config: RunConfig,
    *,
    model: Mapping[str, Setting] | None = None,
    optimizer: Mapping[str, Setting] | None = None,
    **settings: object,
) -> RunConfig:
    """The configuration with some settings, and some of its model and its optimizer, changed."""
    parts = {f"model.{name}": value for name, value in (model or {}).items()}
    parts |= {f"optimizer.{name}": value for name, value in (optimizer or {}).items()}
    return changed(config, {**parts, **settings})


def apart(runs: Iterable[NamedRun], scale: Scale) -> list[NamedRun]:
    """The runs with their seeds stacked, or at ``laptop`` a run for each seed, the first seed of all runs first.

    On a CPU a stack of five takes as long as five runs (507 against 533 ms a step at d=128, 4 layers, batch 32, on
    one core), which can be spread over the cores; a GPU wants the stack, and tiny runs to load their data once.
    """
    return list(runs) if scale != "laptop" else seed_by_seed(runs)


def seed_by_seed(runs: Iterable[NamedRun]) -> list[NamedRun]:
    """A run for each seed, the first seed of all runs first."""
    alone = [
        (
            seed,
            NamedRun(f"{run.name}-seed{seed}", dataclasses.replace(run.config, seeds=(seed,)), run.settings),
        )
        for run in runs
        for seed in run.config.seeds
    ]
    return [run for _, run in sorted(alone, key=lambda pair: pair[0])]
