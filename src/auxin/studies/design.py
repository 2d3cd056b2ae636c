"""The scales of studies, and the configurations that they vary."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from auxin.architecture import Attention, Layer
from auxin.config import ModelConfig, OptimizerConfig, RunConfig, preset
from auxin.lab.named import NamedRun, seed_by_seed
from auxin.values import changed

Scale = Literal["minutes", "laptop", "paper"]
"""minutes: tiny models, to see that everything works; laptop: two cores; paper: the published sizes, a GPU."""

StudyName = Literal[
    "grokking",
    "depth",
    "dynamics",
    "trainability",
    "joint",
    "repair",
    "totals",
    "architectures",
    "failure",
    "remedies",
]

FIVE_SEEDS = {"steps": 10_000, "seeds": [0, 1, 2, 3, 4], "eval_size": 500, "final_size": 500}
"""At ``laptop``, of the studies of depth."""


def base(scale: Scale, task: str = "question") -> RunConfig:
    """The configuration from which a study varies: a tiny one, a narrow one or the ``paper`` preset.

    The narrow one, at ``laptop``, is the preset with the published branches of strength 1, eight layers deep.

    A CPU run has one thread: its numbers then do not depend on how many workers a sweep has, and runs side by
    side use the cores better than threads within one.
    """
    if scale == "paper":  # few checkpoints: those of a stack of ten at 10 layers take 1.3 GB each
        return changed(preset("paper", task), {"checkpoint_every": 100_000})
    if scale == "laptop":
        published = {"model.depth": 8, "model.attention_branch": 1.0, "model.mlp_branch": 1.0}
        return changed(preset("laptop", task), published | {"steps": 6000, "threads": 1})
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


def apart(runs: Iterable[NamedRun], scale: Scale) -> list[NamedRun]:
    """The runs with their seeds stacked, or at ``laptop`` a run for each seed, the first seed of all runs first.

    On a CPU a stack of five takes as long as five runs (507 against 533 ms a step at d=128, 4 layers, batch 32, on
    one core), which can be spread over the cores; a GPU wants the stack, and tiny runs to load their data once.
    """
    return list(runs) if scale != "laptop" else seed_by_seed(runs)


def resized(model: ModelConfig, *, heads: int, **sizes: Any) -> ModelConfig:
    """A model with other sizes and branches of strength 1; where its layers say how large a head is, of that width."""
    head_dim = sizes["width"] // heads

    def narrow(layer: Layer) -> Layer:
        sublayers = (
            dataclasses.replace(s, body=dataclasses.replace(s.body, head_dim=head_dim))
            if isinstance(s.body, Attention) and s.body.head_dim
            else s
            for s in layer.sublayers
        )
        return dataclasses.replace(layer, sublayers=tuple(sublayers))

    strengths = {"attention_branch": 1.0, "mlp_branch": 1.0, "max_length": 64}
    layers = tuple(map(narrow, model.layers))
    return dataclasses.replace(model, layers=layers, heads=heads, **strengths, **sizes)
