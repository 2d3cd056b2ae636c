"""Does the accumulated angle exponent at initialization, L·λ_a, decide which rule a model learns?

Depth and exponent are confounded in published models (post-norm, skip 1, branch 1: λ_a = −ln 2 a layer). Here
the branch strength b, with λ_a = −ln(1 + b²), sets the exponent at every depth. Hypotheses, outcomes and decision
rules were fixed before the runs: docs/joint-study.md.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import brentq

from auxin.architecture.block import Block, NormPlacement
from auxin.config import ModelConfig
from auxin.errors import DataError
from auxin.lab.named import NamedRun
from auxin.lab.table import curve, late
from auxin.measures.intervals import bands
from auxin.studies.analysis import Finding, Found, Study, finding
from auxin.studies.curves import first_below
from auxin.studies.design import Scale, apart, base
from auxin.studies.hypotheses import Evidence
from auxin.studies.statistics import mean, peak_test, proportion, share_contrast, written
from auxin.theory.exponents import angle_exponents
from auxin.values import changed

SETTINGS = ("task", "norm", "depth", "exponent", "branch")
RULES = ("hierarchical", "linear", "neither")

DEPTHS = (2, 4, 8, 12)
EXPONENTS = (-0.5, -1.0, -2.0, -3.0, -4.5, -7.0)
TRAINED = {"question": 1.10}
"""Training loss (nats a token) below which a model counts as trained."""
ABOVE_LOWEST = 1.08
"""The same for other tasks, as a multiple of the lowest loss that any model of the task reaches."""
REACHED = 0.9
"""Models are compared at the lowest training loss that this share of them reaches."""


def configs(scale: Scale) -> list[NamedRun]:
    """Depths × exponents × five seeds on question; one depth on tense; two depths with pre-norm."""
    exponents, size = EXPONENTS, {"seeds": [0, 1, 2, 3, 4]}
    arms: list[tuple[str, NormPlacement, tuple[int, ...]]] = [
        ("question", "post", DEPTHS), ("tense", "post", (4,)), ("question", "pre", (4, 12)),
    ]  # fmt: skip
    if scale == "minutes":
        exponents, size = (-0.5, -2.0, -7.0), {"seeds": [0, 1]}
        arms = [("question", "post", (1, 2)), ("tense", "post", (1,)), ("question", "pre", (1,))]
    elif scale == "laptop":
        size |= {
            "steps": 1500,
            "log_every": 150,
            "checkpoint_every": 1500,
            "eval_size": 500,
            "final_size": 500,
        }
    runs: list[NamedRun] = []
    for task, norm, depths in arms:  # one after another: the first decides
        points: list[NamedRun] = []
        for depth, exponent in product(depths, exponents):
            b = branch_strength(norm, depth, exponent)
            skip = math.sqrt(1 - b * b) if norm == "pre" else 1.0
            model = {"norm": norm, "depth": depth, "attention_skip": skip, "mlp_skip": skip}
            model |= {"attention_branch": b, "mlp_branch": b}
            config = changed(base(scale, task), size | {f"model.{name}": v for name, v in model.items()})
            settings = {"task": task, "norm": norm, "depth": depth, "exponent": exponent, "branch": b}
            points.append(NamedRun(f"{task}-{norm}-depth{depth}-exponent{exponent:g}", config, settings))
        runs += apart(points, scale)
    return runs


@cache
def branch_strength(norm: NormPlacement, depth: int, exponent: float) -> float:
    """The branch strength b at which depth·λ_a is ``exponent``, to six digits.

    Post-norm: skip 1, so that λ_a = −ln(1 + b²) (attention shrinks angles by 1 + b², a relu MLP keeps them).
    Pre-norm: skip √(1 − b²), without which the norm grows for ever and λ_a falls to 0 on the way; b is solved for,
    with λ_a at the norm's fixed point.
    """
    if norm == "post":
        return round(math.sqrt(math.expm1(-exponent / depth)), 6)
    block = Block.of(ModelConfig(norm="pre"))

    def excess(b: float) -> float:
        return depth * float(angle_exponents(block, {"alpha_attention": b, "alpha_mlp": b})) - exponent

    return round(float(brentq(excess, 1e-4, 1 - 1e-9)), 6)  # pyright: ignore[reportArgumentType]


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    arms = [_outcomes(arm) for _, arm in metrics.group_by("task", "norm", maintain_order=True)]
    return pl.concat(arms, how="vertical_relaxed")


def _estimates(models: pl.DataFrame, metrics: pl.DataFrame) -> Found:
    """Judge H1, H2 and H3 by post-norm question models at equal steps, and again at equal training loss; then the
    single peak in the other arms."""
    main = models.filter(task="question", norm="post")
    evidence = Evidence(main, "hierarchical")
    findings = evidence.findings("at equal steps")
    findings += Evidence(main, "matched").findings("at equal training loss")
    for (task, norm), arm in models.group_by("task", "norm", maintain_order=True):
        findings += _arm_findings(f"{task}, {norm}-norm", arm, main=(task, norm) == ("question", "post"))
    points: list[dict[str, Any]] = []
    for key, point in models.group_by(SETTINGS, maintain_order=True):
        counts = {"models": len(point), "trained": len(point["trained"].drop_nulls())}
        for rule in RULES:
            value, low, high = mean(point[rule].to_numpy(), 0, 1)
            row = dict(zip(SETTINGS, key, strict=True)) | {"rule": rule}
            points.append(row | {"share": value, "low": low, "high": high} | counts)
    shares = pl.concat([curve(metrics, "gen", rule) for rule in RULES], how="vertical_relaxed")
    tables = {
        "models": models,
        "points": pl.DataFrame(points),
        "curves": bands(shares, ("task", "norm", "depth", "exponent", "name", "step")),
    }
    return Found(findings, tables, evidence.verdict(), claims=evidence.claims())


def _outcomes(arm: pl.DataFrame) -> pl.DataFrame:
    """A row a model of one task and norm.

    Columns: run, settings, member; the three shares and in-domain accuracy, late in the run; the lowest ``loss``;
    ``trained``, the step at which the loss is first below the task's mark; ``matched``, the share of hierarchical
    answers when the loss is first at the level that nine of ten models reach.
    """
    keys = ["run", *SETTINGS, "member"]
    losses = curve(arm, "train", "loss")
    models = losses.group_by(keys, maintain_order=True).agg(pl.col("value").min().alias("loss"))
    lowest = models["loss"].drop_nulls().to_numpy()
    if not len(lowest):
        raise DataError(f"all {len(models)} models of {arm['task'][0]} diverged; allowed: one that did not")
    mark = TRAINED.get(arm["task"][0]) or ABOVE_LOWEST * float(lowest.min())
    level = float(np.quantile(lowest, REACHED))
    trained = first_below(arm, "loss", mark, SETTINGS).rename({"step": "trained"})
    reached = first_below(arm, "loss", level * (1 + 1e-9), SETTINGS)
    matched = curve(arm, "gen", "hierarchical").join(reached, on=[*keys, "step"])
    columns = [late(arm, "gen", rule, SETTINGS) for rule in RULES]
    columns += [late(arm, "val", "accuracy", SETTINGS).rename({"accuracy": "in_domain"}), trained]
    columns.append(matched.select(*keys, pl.col("value").alias("matched")))
    for column in columns:
        models = models.join(column, on=keys, how="left", maintain_order="left")
    return models


def _arm_findings(title: str, arm: pl.DataFrame, main: bool) -> list[Finding]:
    """How many models of an arm trained; the hierarchical share where exponents are in the third nearest to collapse,
    less that in the farthest; and outside the main arm whether its shares have a peak."""
    steps = arm["trained"].drop_nulls().to_numpy().astype(float)
    speed = f", after {mean(steps, 0):0} steps" if len(steps) else ""
    levels = arm["exponent"].unique().sort().to_list()
    third = max(1, len(levels) // 3)
    near, far = (
        arm.filter(pl.col("exponent").is_in(end))["hierarchical"].to_numpy()
        for end in (levels[:third], levels[-third:])
    )
    start = f"L·λ_a ≤ {written(levels[third - 1], 'g')} instead of ≥ {written(levels[-third], 'g')}"
    rows = [
        ("trained", proportion(len(steps), len(arm)),
         f"{len(steps)} of {len(arm)} models trained to the mark, {{:%}}{speed}."),
        ("near collapse less far from it", share_contrast([near, far], [1, -1]),
         f"{start} changes the hierarchical share by {{:points}}."),
    ]  # fmt: skip
    if not main:
        peak = peak_test(arm["exponent"].to_numpy(), arm["hierarchical"].to_numpy())
        text = f"over L·λ_a {peak.text()}; the share is highest at {{:1}}."
        rows.append(("L·λ_a of the peak", peak.location, text))
    return [finding(f"{title}: {name}", e, f"{title}: {text}") for name, e, text in rows]


STUDY = Study(
    question="Does the accumulated angle exponent at initialization, L·λ_a, decide which rule a model learns?",
    configs=configs,
    models=_models,
    estimates=_estimates,
)
