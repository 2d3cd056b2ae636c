"""How likely is a model to fail, given its signals at initialization and its learning rate?

About a thousand small models: eight stacks that people use, depth, width, branch scale, rate and warm-up drawn at
random, one in ten with a slip. A model *fails* if its training loss ends above that of the words' frequencies, or
diverges. Predictors are judged on stacks that they were not fitted to. The plan is docs/failure-study.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from auxin.architecture.attention import Attention, Relative, Rotary
from auxin.architecture.experts import Experts
from auxin.architecture.layer import Layer, Sublayer
from auxin.architecture.mlp import MLP
from auxin.architecture.norm import Norm
from auxin.config import ModelConfig, preset
from auxin.lab.named import NamedRun
from auxin.lab.table import curve, late
from auxin.studies.analysis import Finding, Found, Statement, Study, finding
from auxin.studies.classification import (
    Logistic,
    area,
    calibration_bins,
    calibration_error,
    estimate,
    resampled,
)
from auxin.studies.design import Scale, base, resized
from auxin.studies.prediction import cross_validated
from auxin.studies.statistics import Array, proportion
from auxin.values import changed

RMS = Norm("rms", epsilon=1e-6)
LLAMA = preset("llama").model
HEAD_DIM = 16


def _llama(attention: Attention, mlp: MLP | Experts, after: Norm | None = None, **fields: Any) -> ModelConfig:
    """Llama with another layer."""
    sublayers = (Sublayer(body, before=RMS, after=after) for body in (attention, mlp))
    return dataclasses.replace(LLAMA, layers=(Layer(tuple(sublayers)),), **fields)


ROTATED = Attention(head_dim=HEAD_DIM, rotary=Rotary())
STACKS: Mapping[str, ModelConfig] = {
    "GPT-2": preset("gpt2").model,
    "Llama": LLAMA,
    "Qwen": preset("qwen3").model,
    "T5": _llama(Attention(scale=1.0, head_dim=HEAD_DIM, relative=Relative()), MLP("relu"), tied=True),
    "experts": _llama(ROTATED, Experts(count=4, active=2)),
    "sandwich": _llama(ROTATED, MLP("gelu", gated=True), after=RMS),
    "post-norm": preset("laptop").model,
    "no norm": dataclasses.replace(preset("laptop").model, norm="none"),
}
"""The stacks, as they are before sizes and branches are drawn."""
SLIPS: Mapping[str, Callable[[ModelConfig], dict[str, Any]]] = {
    "initialization forgotten": lambda _: {"initialization": "pytorch"},
    "branches scaled up with depth": lambda m: {"branch_scale": m.branch_scale * math.sqrt(2 * m.depth)},
    "embeddings scaled the other way": lambda m: {"scale_embedding": not m.scale_embedding},
}
NO_SLIP, SLIPPED = "none", 0.1
UNIGRAM = {"question": 3.9138, "tense": 3.9157, "passivization": 3.8326, "agreement": 3.8182}
"""Entropy (nats a token) of the words that are predicted in 5,000 training sentences, by task."""
SEED_OF_DESIGN = 400
DEPTHS, WIDTHS, BRANCHES, RATES = (2, 48), (32, 48, 64, 96), (0.25, 4.0), (1e-4, 1e-1)
STEPS, STEP_SHARES = (100, 200, 400), (0.5, 0.3, 0.2)
SETTINGS = (
    "stack", "depth", "width", "branch_scale", "learning_rate", "warmup", "steps", "task", "slip",
)  # fmt: skip
COMMON = ("log_learning_rate", "log_depth")
OURS = "auxin's totals"
PREDICTORS = {
    OURS: (*COMMON, "angle_total", "gradient_total"),
    "gradient norm": (*COMMON, "log_loss_gradient"),
    "all hyperparameters": (*COMMON, "log_width", "log_branch_scale", "log_steps", "warm", "slipped"),
    "near-unit mass": (*COMMON, "near_unit_mass"),
    "rate and depth": COMMON,
}
"""Columns that each prediction is made from."""
RIVALS = tuple(name for name in PREDICTORS if name != OURS)
CALIBRATED = 0.05
BOTH = 3
"""Stacks that must hold failures and successes, three or more of each, for a claim."""
SOURCE = "stated before the runs"
AREA, MORE = "area under the ROC curve of {}", "area of auxin's totals less that of {}"
ERROR = "calibration error of {}"


def configs(scale: Scale) -> list[NamedRun]:
    """A model a run; the stacks in turn, everything else drawn from one generator."""
    count = 16 if scale == "minutes" else 1024
    rng = np.random.default_rng(SEED_OF_DESIGN)
    spread = lambda low, high: float(f"{low * (high / low) ** rng.random():.4g}")
    bases = {task: base("minutes", task) for task in UNIGRAM}
    runs: list[NamedRun] = []
    for index in range(count):
        drawn = {
            "stack": list(STACKS)[index % len(STACKS)],
            "depth": round(spread(*DEPTHS)),
            "width": int(rng.choice(WIDTHS)),
            "branch_scale": spread(*BRANCHES),
            "learning_rate": spread(*RATES),
            "warmup": int(rng.integers(2)),
            "steps": int(rng.choice(STEPS, p=STEP_SHARES)),
            "task": str(rng.choice(list(UNIGRAM))),
            "slip": str(rng.choice(list(SLIPS))) if rng.random() < SLIPPED else NO_SLIP,
        }
        if scale == "minutes":
            drawn |= {"depth": 2, "width": 32, "steps": 10, "task": "question"}
        elif scale == "paper":
            drawn |= {"width": 8 * drawn["width"], "steps": 20 * drawn["steps"]}
        size = short(model_of(drawn), drawn["steps"], drawn["learning_rate"], drawn["warmup"])
        size |= {"seeds": [index], "measures": ["signals"]}
        runs.append(NamedRun(f"model{index:04d}", changed(bases[drawn["task"]], size), drawn))
    return runs


def short(model: ModelConfig, steps: int, rate: float, warmup: int) -> dict[str, Any]:
    """The settings of a short run of a small model, at a constant rate after ``warmup`` tenths of its steps."""
    return {
        "model": model, "steps": steps, "train_size": 5000, "batch_size": 8, "log_every": max(1, steps // 10),
        "checkpoint_every": steps, "eval_size": 4, "final_size": 4, "optimizer.learning_rate": rate,
        "optimizer.schedule": "constant", "optimizer.warmup": warmup * steps // 10, "optimizer.clip": 1.0,
    }  # fmt: skip


def model_of(settings: Mapping[str, Any]) -> ModelConfig:
    """The model of a stack with its sizes, branches and slip."""
    sizes = {name: settings[name] for name in ("depth", "width", "branch_scale")}
    stack, heads = STACKS[settings["stack"]], settings["width"] // HEAD_DIM
    model = resized(stack, heads=heads, key_heads=min(stack.key_heads, 1), dropout=0.0, **sizes)
    slip = SLIPS.get(settings["slip"])
    return model if slip is None else dataclasses.replace(model, **slip(model))


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    """A row a model: its settings, whether it failed, and what every predictor sees."""
    models = late(metrics, "train", "loss", SETTINGS).sort("run")
    models = models.with_columns(unigram=pl.col("task").replace_strict(UNIGRAM))
    failed = pl.col("loss").is_null() | (pl.col("loss") >= pl.col("unigram"))
    for name in ("angle_total", "gradient_total", "near_unit_mass", "loss_gradient"):
        first = curve(metrics, "train", name).sort("step").group_by("run", maintain_order=True).first()
        models = models.join(
            first.select("run", pl.col("value").alias(name)), on="run", maintain_order="left"
        )
    logs = ("learning_rate", "depth", "width", "branch_scale", "steps", "loss_gradient")
    return models.with_columns(
        *(pl.col(name).log().alias(f"log_{name}") for name in logs),
        failed=failed,
        warm=pl.col("warmup").cast(pl.Float64),
        slipped=(pl.col("slip") != NO_SLIP).cast(pl.Float64),
    )


def _estimates(models: pl.DataFrame, _: pl.DataFrame) -> Found:
    """Areas and calibration of every predictor on stacks left out, and how far auxin's lies above each other."""
    stack, failed = models["stack"].to_numpy(), models["failed"].to_numpy()
    weights, areas = resampled(stack), dict[str, Array]()
    findings, scores = [_fails(models)], list[dict[str, Any]]()
    tables: dict[str, list[pl.DataFrame]] = {"predictions": [], "calibration": []}
    for name, columns in PREDICTORS.items():
        p = cross_validated(_features(models, columns), failed, stack, Logistic)
        areas[name] = area(p, failed, weights, stack)
        ranks, error = estimate(areas[name]), estimate(calibration_error(p, failed, weights))
        findings += [
            finding(AREA.format(name), ranks,
                    f"Of a failed and a trained model of a stack left out, {name} gives the first the higher "
                    "probability in {:%} of pairs.", models=len(models)),
            finding(ERROR.format(name), error,
                    f"Its probabilities ({name}) are off by {{:2}} on average over ten bins.", models=len(models)),
        ]  # fmt: skip
        scores.append({"predictor": name} | ranks.columns("area") | error.columns("error"))
        predicted = models.select("run", "stack", "failed", predictor=pl.lit(name))
        tables["predictions"].append(predicted.with_columns(probability=p))
        tables["calibration"].append(
            calibration_bins(p, failed).select(pl.lit(name).alias("predictor"), pl.all())
        )
    for rival in RIVALS:
        text = f"The area of {OURS} less that of {rival} is {{:2}}."
        more = estimate(areas[OURS] - areas[rival])
        findings.append(finding(MORE.format(rival), more, text, models=_judged(models)))
    drawn = {name: pl.concat(parts) for name, parts in tables.items()}
    return Found(findings, {"models": models, "scores": pl.DataFrame(scores), **drawn})


def _features(models: pl.DataFrame, columns: Sequence[str]) -> Array:
    """[N, D]: signed logarithms where a number is no logarithm; what is not finite is the largest that there is."""
    values = models.select(columns).to_numpy().astype(float)
    for i, name in enumerate(columns):
        if name.endswith("_total"):
            values[:, i] = np.sign(values[:, i]) * np.log1p(np.abs(values[:, i]))
        finite = np.isfinite(values[:, i])
        values[~finite, i] = values[finite, i].max(initial=0.0)
    return values


def _judged(models: pl.DataFrame) -> int:
    """Models, or none where fewer than ``BOTH`` stacks hold failures and successes of their own."""
    counts = models.group_by("stack").agg(bad=pl.col("failed").sum(), good=(~pl.col("failed")).sum())
    mixed = counts.filter(pl.min_horizontal("bad", "good") >= BOTH)
    return len(models) if len(mixed) >= BOTH else 0


def _fails(models: pl.DataFrame) -> Finding:
    shares = models.group_by("stack", maintain_order=True).agg(pl.col("failed").sum(), pl.len()).sort("stack")
    words = ", ".join(f"{stack} {failed} of {count}" for stack, failed, count in shares.iter_rows())
    estimate = proportion(int(models["failed"].sum()), len(models))
    return finding("share that failed", estimate, f"Of {len(models)} models {{:%}} failed ({words}).")


STUDY = Study(
    question="Can one tell before training how likely a model is to fail at its learning rate?",
    configs=configs,
    models=_models,
    estimates=_estimates,
    claims=[
        *(
            Statement(f"On stacks left out, auxin's totals rank failures better than {rival}.", SOURCE,
                      MORE.format(rival))
            for rival in RIVALS
        ),
        Statement(
            f"Their probabilities are calibrated: off by less than {CALIBRATED:g} on stacks left out.",
            SOURCE, ERROR.format(OURS), below=CALIBRATED,
        ),
    ],
    answered=[AREA.format(OURS), ERROR.format(OURS)],
)  # fmt: skip
