"""Does the remedy help? Models that ``auxin check`` flags, mended by each row of its table of remedies.

The design space is that of the study of failures. A model is trained as it is and with the branches that each rule
gives it, from the same seed, at three learning rates, of which every arm has its best. The plan is
docs/remedies-study.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from auxin.config import ModelConfig
from auxin.lab.named import NamedRun
from auxin.lab.table import late
from auxin.probes.remedy import rules
from auxin.studies.analysis import Finding, Found, Statement, Study, finding
from auxin.studies.design import Scale, base
from auxin.studies.failure import BRANCHES, NO_SLIP, SLIPPED, SLIPS, STACKS, model_of, short
from auxin.studies.prediction import AT_MOST_CHANCE
from auxin.studies.statistics import Estimate, paired, proportion
from auxin.values import changed

DEPTHS, WIDTHS = (6, 24), (32, 48)
RATES = (1e-3, 3e-3, 1e-2)
STEPS = 100
SEED_OF_DESIGN = 500
FLAGGED: Mapping[str, Mapping[int, float]] = {
    "post-norm": {
        0: 0.5004, 1: 0.1465, 3: 0.1497, 5: 0.2014, 6: 0.254, 7: 0.2188, 9: 0.2205, 17: 0.1224, 19: 0.2256, 21: 0.1669,
        23: 0.03571, 24: 0.2211,
    },
    "no norm": {
        1: 0.152, 3: 0.1278, 5: 0.5906, 6: 0.2345, 7: 0.4948, 8: 0.5203, 9: 0.2543, 10: 0.1494, 13: 0.5518, 14: 0.1669,
        16: 0.231, 18: 0.09539,
    },
}  # fmt: skip
"""By stack, the first draws that ``auxin.check`` flags for collapse or explosion, and the factor that its table gives
each for an angle total of −1."""
AS_IT_IS, TARGETED = "as it is", "angle total -1"
ARMS = ("1/√branches (GPT-2)", "1/layers (CompleteP)", "DeepNorm", TARGETED)
MODEL = ("stack", "depth", "width", "branch_scale", "slip", "draw")
SETTINGS = (*MODEL, "arm", "learning_rate")
CHANGE, LOWERED = "change of loss by {}", "share of models whose loss {} lowers"


def drawn(stack: str, draw: int) -> dict[str, Any]:
    """The settings of a stack's model."""
    rng = np.random.default_rng([SEED_OF_DESIGN, list(STACKS).index(stack), draw])
    spread = lambda low, high: float(f"{low * (high / low) ** rng.random():.4g}")
    return {
        "stack": stack,
        "depth": round(spread(*DEPTHS)),
        "width": int(rng.choice(WIDTHS)),
        "branch_scale": spread(*BRANCHES),
        "slip": str(rng.choice(list(SLIPS))) if rng.random() < SLIPPED else NO_SLIP,
        "draw": draw,
    }


def arms(model: ModelConfig, factor: float) -> dict[str, ModelConfig]:
    """The model as it is and as each rule mends it; ``factor`` is that of the angle total."""

    def mended(branch: float, skip: float) -> ModelConfig:
        scaled = dataclasses.replace(model, branch_scale=model.branch_scale * branch)
        if skip == 1:
            return scaled
        return dataclasses.replace(
            scaled, attention_skip=model.attention_skip * skip, mlp_skip=model.mlp_skip * skip
        )

    factors = {AS_IT_IS: (1.0, 1.0), **rules(model.recipe()), TARGETED: (factor, 1.0)}
    return {arm: mended(*both) for arm, both in factors.items()}


def configs(scale: Scale) -> list[NamedRun]:
    """Every model that is flagged, in every arm, at every rate."""
    config, rates, steps, wider = base("minutes"), RATES, STEPS, 1
    if scale == "paper":
        steps, wider = 20 * STEPS, 8
    by_stack = [
        [(drawn(stack, i), factor) for i, factor in draws.items()] for stack, draws in FLAGGED.items()
    ]
    chosen = [of for pair in zip(*by_stack, strict=True) for of in pair]
    if scale == "minutes":
        steps, rates = 10, RATES[:2]
        chosen = [(settings | {"depth": 2, "width": 32}, factor) for settings, factor in chosen[:2]]
    runs: list[NamedRun] = []
    for settings, factor in chosen:
        settings = settings | {"width": wider * settings["width"]}
        for arm, model in arms(model_of(settings), factor).items():
            for rate in rates:
                size = short(model, steps, rate, 1) | {"seeds": [settings["draw"]]}
                here = settings | {"arm": arm, "learning_rate": rate}
                runs.append(NamedRun(f"model{len(runs):04d}", changed(config, size), here))
    return runs


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    """A row a model and arm, of models with all rates: the lowest loss, its rate, and the change from as it is."""
    runs = late(metrics, "train", "loss", SETTINGS).with_columns(AT_MOST_CHANCE).sort("loss")
    best = runs.group_by(*MODEL, "arm", maintain_order=True).agg(
        pl.col("loss").first(), pl.col("learning_rate").first(), rates=pl.len()
    )
    best = best.filter(pl.col("rates") == pl.col("rates").max()).drop("rates")
    before = best.filter(arm=AS_IT_IS).select(*MODEL, pl.col("loss").alias("before"))
    best = best.join(before, on=MODEL).with_columns(change=pl.col("loss") - pl.col("before"))
    return best.sort(*MODEL, "arm")


def _estimates(models: pl.DataFrame, _: pl.DataFrame) -> Found:
    """What every rule does to the loss, and in how many models it lowers it."""
    findings: list[Finding] = []
    effects: list[dict[str, Any]] = []
    for arm in ARMS:
        own = models.filter(arm=arm)
        if own.is_empty():
            continue
        change = _change(own)
        lowered = proportion(int((own["change"] < 0).sum()), len(own))
        findings += [
            finding(CHANGE.format(arm), change,
                    f"{arm} changes the loss of {len(own)} flagged models by {{:2}} nats.", models=len(own)),
            finding(LOWERED.format(arm), lowered, f"{arm} lowers the loss of {{:%}} of them."),
        ]  # fmt: skip
        for stack in ("all", *own["stack"].unique().sort()):
            part = own if stack == "all" else own.filter(stack=stack)
            effects.append(
                {"arm": arm, "stack": stack, "models": len(part)} | _change(part).columns("change")
            )
    return Found(findings, {"models": models, "effects": pl.DataFrame(effects)})


def _change(models: pl.DataFrame) -> Estimate:
    """Of the loss, the mean; models are drawn again."""
    after, before = (models[name].to_numpy() for name in ("loss", "before"))
    return paired(lambda x, y: (x - y).mean(-1), after, before)


STUDY = Study(
    question="Does mending what auxin check flags lower the loss?",
    configs=configs,
    models=_models,
    estimates=_estimates,
    claims=[
        Statement(f"{arm} lowers the loss of models that the check flags.", "stated before the runs",
                  CHANGE.format(arm), below=0.0)
        for arm in ARMS
    ],
    answered=[CHANGE.format(arm) for arm in ARMS],
)  # fmt: skip
