"""Over the stacks that people use, does the accumulated exponent at initialization tell which will train?

Five stacks of 24 layers with their own initialization, the output maps of their branches as they are and scaled by
¼ to 4. The *total* is |accumulated angle exponent| + |accumulated gradient exponent|; the *check* is what
``auxin.check`` says of it. The plan is docs/architectures-study.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import torch

from auxin.config import ModelConfig, PresetName, preset
from auxin.errors import ConfigError
from auxin.lab.named import NamedRun
from auxin.lab.table import late
from auxin.models.transformer import TransformerLM
from auxin.probes.check import check
from auxin.probes.check_report import CheckReport
from auxin.studies.analysis import Finding, Found, Statement, Study, finding
from auxin.studies.classification import area, balanced, carried_over, cells_resampled, estimate, threshold
from auxin.studies.design import Scale, apart, base, resized
from auxin.studies.prediction import AT_MOST_CHANCE, WORDS
from auxin.studies.statistics import UNKNOWN, Array, contrast, mean
from auxin.theory.exponents import exponents
from auxin.values import changed

SETTINGS = ("stack", "branch_scale", "depth", "width")
STACKS: Mapping[str, PresetName] = {
    "GPT-2": "gpt2",
    "Llama": "llama",
    "Qwen": "qwen3",
    "Pythia": "pythia",
    "post-norm": "laptop",
}
"""The stacks, by the presets that they are, all with branches of strength 1 before these are scaled."""
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
TRAINS = 2.5
"""Loss (nats a token) below which a model counts as trained."""
TARGET = -1.0
"""Angle total that the remedy is asked for."""
HARM = 0.05
"""Nats by which the loss may rise where nothing was wrong."""
DRAWS, TOKENS, SEED = 64, 24, 300
SOURCE = "stated before the outcomes were seen"
AREA = "area under the ROC curve of the {}"
CARRIED = "balanced accuracy of a threshold from the other stacks"
CHECKED = "balanced accuracy of the check"
FLAGGED, PASSED = "flags a stack", "flags none"
CHANGE = "change of loss where the check {}"


def configs(scale: Scale) -> list[NamedRun]:
    """Every stack at every scale of its branches, three seeds each."""
    stacks, depth, width, size = list(STACKS), 24, 64, {}
    if scale == "minutes":
        stacks, depth, width, size = ["Llama", "post-norm"], 2, 32, {"seeds": [0, 1]}
    else:
        steps = {"laptop": 600, "paper": 10_000}[scale]
        optimizer = {"learning_rate": 1e-3, "warmup": 60, "schedule": "constant", "clip": 1.0}
        size = {f"optimizer.{name}": value for name, value in optimizer.items()} | {
            "steps": steps, "log_every": steps // 10, "checkpoint_every": steps, "batch_size": 16,
            "eval_size": 100, "final_size": 300, "shares": 1, "seeds": [*range(SEED, SEED + 3)],
        }  # fmt: skip
    runs: list[NamedRun] = []
    for stack in stacks:
        for factor in SCALES:
            settings = {"stack": stack, "branch_scale": factor, "depth": depth, "width": width}
            config = changed(base(scale), size | {"model": model_of(settings)})
            runs.append(NamedRun(f"{stack.lower()}-{factor:g}", config, settings))
    return apart(runs, scale)


def model_of(settings: Mapping[str, Any]) -> ModelConfig:
    """The model of a stack, its branches scaled; heads have a quarter of the width."""
    sizes = {name: settings[name] for name in ("depth", "width", "branch_scale")}
    return resized(preset(STACKS[settings["stack"]]).model, heads=4, **sizes)


def starts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``angle_total``, ``gradient_total`` and ``total`` of a cell, and ``blamed``, whether the check finds fault.

    Cost 1 to 5 s at 24 layers.
    """
    found = exponents(model_of(settings).network(), draws=DRAWS)
    angle, gradient = float(found.angle_total or 0.0), float(found.gradient_total or 0.0)
    blamed = flagged(checked(model_of(settings), SEED))
    total = abs(angle) + abs(gradient)
    return {"angle_total": angle, "gradient_total": gradient, "total": total, "blamed": blamed}


def checked(model: ModelConfig, seed: int) -> CheckReport:
    """The check of a fresh model; its findings and remedies do not need the prediction."""
    sized = dataclasses.replace(model, vocabulary_size=WORDS)
    return check(TransformerLM(sized, torch.Generator().manual_seed(seed)), n_tokens=TOKENS)


def flagged(report: CheckReport) -> bool:
    """Whether a check finds fault with the design."""
    return any(found.kinds & {"collapse", "explode"} for found in report.findings)


def recommended(settings: Mapping[str, Any]) -> float | None:
    """The scale, of those tried, nearest to the factor that brings a stack to the target; None: none does."""
    try:
        factor = checked(model_of({**settings, "branch_scale": 1.0}), SEED).remedies(TARGET)[-1].branch
    except ConfigError:
        return None
    return min(SCALES, key=lambda scale: abs(math.log(scale / factor)))


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    """A row a run: its loss late in the run, and of its cell the totals and what the check says."""
    runs = late(metrics, "train", "loss", SETTINGS).sort("stack", "branch_scale", "member")
    runs = runs.with_columns(AT_MOST_CHANCE)
    cells = runs.select(SETTINGS).unique(maintain_order=True)
    known = pl.DataFrame([starts(row) for row in cells.iter_rows(named=True)])
    return runs.join(cells.hstack(known), on=SETTINGS, maintain_order="left")


def _estimates(runs: pl.DataFrame, _: pl.DataFrame) -> Found:
    """Whether totals and check tell which models train, and what the remedy does to the loss."""
    cells: list[dict[str, Any]] = []
    for _key, own in runs.group_by(SETTINGS, maintain_order=True):
        first = own.drop("run", "member", "loss").row(0, named=True)
        counts = {"models": len(own), "failed": int((own["loss"] >= TRAINS).sum())}
        settings = {name: first.pop(name) for name in SETTINGS}
        cells.append(settings | counts | mean(own["loss"].to_numpy(), 0).columns("loss") | first)
    return Found([*_telling(runs), *_remedy(runs)], {"models": runs, "cells": pl.DataFrame(cells)})


def _telling(runs: pl.DataFrame) -> list[Finding]:
    """How well the totals and the check tell the models that do not train from those that do."""
    cell = runs.select(pl.struct("stack", "branch_scale").rank("dense")).to_series().to_numpy()
    failed, weights = (runs["loss"] >= TRAINS).to_numpy(), cells_resampled(cell)
    total, cells = runs["total"].to_numpy(), len(np.unique(cell))
    larger = (
        "Of a model that fails and one that trains, the first has the larger {} in {{:%}} of pairs (area under the "
        f"ROC curve; {int(failed.sum())} of {len(runs)} models do not train)."
    )
    carried, limit = carried_over(total, failed, runs["stack"].to_numpy()), threshold(total, failed)
    rows = [
        *((AREA.format(name), area(runs[name.replace(" ", "_")].abs().to_numpy(), failed, weights), larger.format(name))
          for name in ("total", "angle total", "gradient total")),
        (CARRIED, balanced(carried, failed, weights),
         "A threshold found on the other stacks has a balanced accuracy of {:%}."),
        ("best threshold of the total", np.array([limit]),
         f"Over all stacks, the best threshold of the total is {limit:.1f}."),
        (CHECKED, balanced(runs["blamed"].to_numpy(), failed, weights),
         f"The check has a balanced accuracy of {{:%}}: {_wrong(runs)}."),
    ]  # fmt: skip
    return [finding(name, estimate(draws), template, models=cells) for name, draws, template in rows]


def _wrong(runs: pl.DataFrame) -> str:
    """The cells about which the check is wrong in most of their runs, in words."""
    failed = pl.col("loss").median() >= TRAINS
    cells = runs.group_by("stack", "branch_scale", "blamed", maintain_order=True).agg(failed=failed)
    words: list[str] = []
    for blamed, what in ((True, "flagged and trained"), (False, "not flagged and failed")):
        wrong = cells.filter(blamed=blamed, failed=not blamed)
        names = [f"{stack} × {scale:g}" for stack, scale in wrong.select("stack", "branch_scale").iter_rows()]
        words.append(f"{what}: {', '.join(names) or 'none'}")
    return "; ".join(words)


def _remedy(runs: pl.DataFrame) -> list[Finding]:
    """What the recommended scale does to the loss, where the check flags a stack and where not: the mean over stacks
    of the change from scale 1."""
    changes: dict[bool, dict[str, list[Array]]] = {True: {}, False: {}}
    for settings in runs.filter(branch_scale=1.0).unique("stack", maintain_order=True).iter_rows(named=True):
        best = recommended(settings)
        if best is not None:
            own = runs.filter(stack=settings["stack"])
            pair = [own.filter(branch_scale=scale)["loss"].to_numpy() for scale in (best, 1.0)]
            changes[settings["blamed"]][f"{settings['stack']} × {best:g}"] = pair
    found: list[Finding] = []
    for blamed, where in ((True, FLAGGED), (False, PASSED)):
        pairs = changes[blamed]
        groups = [losses for pair in pairs.values() for losses in pair]
        weights = [1 / len(pairs), -1 / len(pairs)] * len(pairs) if pairs else []
        template = (
            f"Where the check {where} ({', '.join(pairs) or 'no stack'}), the recommended scale changes the loss by "
            "{:2} nats."
        )
        models = sum(min(map(len, pair)) for pair in pairs.values())
        change = contrast(groups, weights) if pairs else UNKNOWN
        found.append(finding(CHANGE.format(where), change, template, models=models))
    return found


STUDY = Study(
    question="Over the stacks that people use, does the accumulated exponent tell which will train?",
    configs=configs,
    models=_models,
    estimates=_estimates,
    claims=[
        Statement("The total tells which models train.", SOURCE, AREA.format("total"), above=0.5),
        Statement("A threshold carries over to another stack.", SOURCE, CARRIED, above=0.5),
        Statement("The check tells which models train.", SOURCE, CHECKED, above=0.5),
        Statement(
            "Where the check flags a stack, its remedy lowers the loss.",
            SOURCE,
            CHANGE.format(FLAGGED),
            below=0,
        ),
        Statement(
            f"Where it flags none, the remedy raises the loss by less than {HARM:g} nats.",
            SOURCE,
            CHANGE.format(PASSED),
            below=HARM,
        ),
    ],
    answered=[AREA.format("total"), CHANGE.format(FLAGGED)],
)
