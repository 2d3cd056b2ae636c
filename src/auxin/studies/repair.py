"""Do deep models fail because of depth, or because their initialization is near collapse?

With branches of strength b the accumulated angle exponent L·λ_a = −L·ln(1 + b²) falls with depth L. Each depth is
trained as published, b = 1, and again *held*: with the b whose L·λ_a is that of eight layers with b = 1, near the
best value of the joint study. What holding repairs was the initialization's doing. The plan is docs/repair-study.md.
"""

from __future__ import annotations

import math

import polars as pl

from auxin.lab.named import NamedRun
from auxin.lab.table import curve
from auxin.measures.intervals import bands
from auxin.studies.analysis import Finding, Found, Statement, Study, finding, outcomes, summarized
from auxin.studies.design import Scale, apart, base
from auxin.studies.joint import branch_strength
from auxin.studies.statistics import Array, share_contrast
from auxin.values import changed

SETTINGS = ("depth", "line", "branch", "exponent")
DEPTHS = (8, 16, 24)
SHARED = 8
"""Layers at which the two lines meet: b is 1 on both."""
OUTCOMES = {"generalization": "late", "in-domain accuracy": "in_domain"}


def configs(scale: Scale) -> list[NamedRun]:
    """Question at three depths, as published and held, five seeds each."""
    depths, shared, size = DEPTHS, SHARED, {"seeds": [*range(200, 205)]}
    if scale == "laptop":
        size |= {"steps": 3000, "eval_size": 500, "final_size": 500}
    elif scale == "minutes":
        depths, shared, size = (1, 2, 4), 1, {"seeds": [0, 1]}
    runs: list[NamedRun] = []
    for depth in depths:
        for line, layers in {"published": depth, "held": shared}.items():
            if line == "held" and depth == shared:
                continue
            exponent = -layers * math.log(2)
            b = 1.0 if line == "published" else branch_strength("post", depth, exponent)
            model = {"model.depth": depth, "model.attention_branch": b, "model.mlp_branch": b}
            settings = {"depth": depth, "line": line, "branch": b, "exponent": round(exponent, 6)}
            runs.append(NamedRun(f"depth{depth}-{line}", changed(base(scale), size | model), settings))
    return apart(runs, scale)


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    """With in-domain and generalization accuracy and training loss late in the run; one that diverged has none."""
    late_values = {"in_domain": ("val", "accuracy"), "late": ("gen", "accuracy"), "loss": ("train", "loss")}
    return outcomes(metrics, SETTINGS, late_values)


def _estimates(models: pl.DataFrame, metrics: pl.DataFrame) -> Found:
    """The fall from the shared depth to depths of at least twice that, and how much of it holding L·λ_a repairs."""
    measured = {"in_domain": "accuracy", "late": "accuracy", "loss": "loss"}
    tables = {
        "models": models,
        "points": summarized(models.sort("line", "depth"), SETTINGS, measured),
        "curves": bands(curve(metrics, "gen", "accuracy"), ("line", "depth", "step"), "accuracy"),
        "training_loss": bands(curve(metrics, "train", "loss"), ("line", "depth", "step"), "loss"),
    }
    return Found([found for what in OUTCOMES for found in _fall_and_repair(models, what)], tables)


def _fall_and_repair(models: pl.DataFrame, what: str) -> list[Finding]:
    column = OUTCOMES[what]
    models = models.drop_nulls(column)
    held = models.filter(line="held")["depth"].unique().sort().to_list()
    shared = models.filter(~pl.col("depth").is_in(held))["depth"].unique().to_list()[0]

    def values(line: str, *depths: int) -> Array:
        return models.filter(pl.col("line") == line, pl.col("depth").is_in(depths))[column].to_numpy()

    deep = [depth for depth in held if depth >= 2 * shared]
    best, published, repaired = values("published", shared), values("published", *deep), values("held", *deep)
    depths, models_each = " and ".join(map(str, deep)), min(len(best), len(published), len(repaired))
    contrasts = (
        ("fall with depth", [best, published], [1, -1],
         f"With branches of strength 1, {what} falls by {{:points}} from {shared} to {depths} layers."),
        ("repair", [repaired, published], [1, -1],
         f"Held at the L·λ_a of {shared} layers, {depths} layers gain {{:points}} of {what}."),
        ("left", [best, repaired], [1, -1], f"What is left of that fall in {what} is {{:points}}."),
        ("repair beyond half", [repaired, best, published], [1, -0.5, -0.5],
         f"Half of the fall in {what} less what is left of it is {{:points}}."),
        *(
            (f"repair at {depth} layers", [values("held", depth), values("published", depth)], [1, -1],
             f"At {depth} layers holding L·λ_a changes {what} by {{:points}}.")
            for depth in held
        ),
    )  # fmt: skip
    return [
        finding(f"{what}: {name}", share_contrast(groups, weights), template, models=models_each)
        for name, groups, weights, template in contrasts
    ]


_CLAIMS = {
    "fall with depth": "With branches of strength 1 {} falls with depth.",
    "repair": "An initialization held at the best L·λ_a raises {} of deep models.",
    "repair beyond half": "The initialization accounts for most of the fall in {}.",
}

STUDY = Study(
    question="Do deep models fail because of depth, or because their initialization is near collapse?",
    configs=configs,
    models=_models,
    estimates=_estimates,
    claims=[
        Statement(text.format(what), "stated before the runs", f"{what}: {name}")
        for what in OUTCOMES
        for name, text in _CLAIMS.items()
    ],
    answered=["generalization: fall with depth", "generalization: repair"],
)
