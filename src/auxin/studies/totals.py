"""Do the accumulated exponents predict the loss after training where all hyperparameters vary?

The block of Cowsik et al. 2024 (arXiv 2403.02579) with its four hyperparameters, the depth and the norm's placement
drawn together. *Totals* are what a network of that depth does to an angle and to a gradient, layer by layer from where
it starts; *limits* are the exponents at the fixed point times the depth, which is what was used before. The plan is
docs/totals-study.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import qmc

from auxin.lab.named import NamedRun
from auxin.studies.analysis import Finding, Found, Statement, Study, finding
from auxin.studies.design import Scale, base
from auxin.studies.prediction import (
    FOLDS,
    RANGES,
    Predictions,
    Unseen,
    block_at,
    cross_validated,
    losses,
    spaced,
    with_block,
)
from auxin.studies.statistics import contrast, paired, proportion, r_squared
from auxin.theory.exponents import exponents
from auxin.values import changed

SETTINGS = ("point", "norm", "depth", *RANGES)
DEPTHS = (6, 24)
SPLIT = 15
"""Models deeper than this are predicted from those that are not, in one of the two tests."""
NEAR = 1.0
"""A total counts as near zero up to this: e-fold growth or decay of an angle or a gradient, squared, in all layers."""
PREDICTORS = {
    "totals": ("angle_total", "gradient_total"),
    "limits": ("angle_limit", "gradient_limit"),
    "initial gradient norm": ("initial_gradient_norm",),
    "initial loss": ("initial_loss",),
    "all hyperparameters": ("alpha_attention", "alpha_mlp", "log_sigma_w", "log_sigma_a", "depth", "pre"),
}
"""Columns that each prediction is made from."""
TESTS = ("points left out", "deep from shallow")
RIVALS = tuple(name for name in PREDICTORS if name != "totals")
MORE = "R² from totals less that from {}, {}"
SOURCE = "stated before the runs"


def configs(scale: Scale) -> list[NamedRun]:
    """Sobol points, scrambled by seed 0, each with pre- and with post-norm; one seed."""
    points = {"minutes": 8, "laptop": 128, "paper": 256}[scale]
    steps = {"minutes": base(scale).steps, "laptop": 600, "paper": 10_000}[scale]
    size = {"seeds": [0], "steps": steps, "log_every": 0, "checkpoint_every": steps, "eval_size": 10}
    rate = {"final_size": 10, "optimizer.warmup": steps // 20, "optimizer.schedule": "linear"}
    config = changed(base(scale), size | rate)
    low, high = (1, 3) if scale == "minutes" else DEPTHS
    runs: list[NamedRun] = []
    for index, unit in enumerate(qmc.Sobol(len(RANGES) + 1, rng=0).random(points)):
        at = {name: float(spaced(name, u)) for name, u in zip(RANGES, unit[:-1], strict=True)}
        depth = low + int(unit[-1] * (high - low + 1))
        for norm in ("pre", "post"):
            settings = {"point": index, "norm": norm, "depth": depth, **at}
            own = with_block(config, settings, depth)
            runs.append(NamedRun(f"point{index:03d}-{norm}", own, settings))
    return runs


def starts(settings: Mapping[str, Any]) -> dict[str, float]:
    """Totals and limits of a model, given by its settings.

    ``angle_total`` and ``gradient_total`` are those of ``exponents`` at the model's depth, from its default start;
    ``angle_limit`` is L·λ_a and ``gradient_limit`` L·λ_g. Cost 5 ms a layer.
    """
    depth = int(settings["depth"])
    found = exponents(block_at(settings), depth=depth)
    return {
        "angle_total": float(found.angle_total or 0.0),
        "gradient_total": float(found.gradient_total or 0.0),
        "angle_limit": depth * float(found.angle),
        "gradient_limit": depth * float(found.gradient),
    }


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    points = losses(metrics, SETTINGS)
    known = pl.DataFrame([starts(row) for row in points.select(SETTINGS).iter_rows(named=True)])
    return points.hstack(known).with_columns(pre=(pl.col("norm") == "pre").cast(pl.Float64))


def _estimates(points: pl.DataFrame, _: pl.DataFrame) -> Found:
    """R² of each predictor for points left out and for deep models from shallow ones; where the best losses are."""
    middle = min(SPLIT, max(points["depth"].to_list()) - 1)
    shallow, deep = points.filter(pl.col("depth") <= middle), points.filter(pl.col("depth") > middle)
    tests = (Unseen(TESTS[0], points, _folds(points)), Unseen(TESTS[1], deep, fitted=shallow))
    predictions = Predictions(PREDICTORS, tests)
    findings = list(predictions.findings)
    for test in TESTS:
        for rival in RIVALS:
            text = f"For {test}, totals have an R² that is {{:2}} above that of {rival}."
            more, count = predictions.more("totals", rival, test), predictions.score("totals", test)["points"]
            findings.append(finding(MORE.format(rival, test), more, text, models=count))
    findings += [*_best(points), *_missed(points, predictions.table)]
    return Found(findings, {"points": points, "predictions": predictions.table, "scores": predictions.scores})


def _folds(points: pl.DataFrame) -> NDArray[np.intp]:
    """Which models are left out together: both of a point, and those of every eighth."""
    return np.asarray(points["point"].to_numpy()) % min(FOLDS, points["point"].n_unique())


def _best(points: pl.DataFrame) -> list[Finding]:
    """Whether both totals near zero are enough for a loss among the best third, and whether it takes them."""
    near = (points["angle_total"].abs() <= NEAR) & (points["gradient_total"].abs() <= NEAR)
    best = points["loss"] <= float(np.quantile(points["loss"].to_numpy(), 1 / 3))
    both = int((near & best).sum())
    sides = (
        ("enough", int(near.sum()), "with both totals near zero", "are among the best third"),
        ("needed", int(best.sum()), "among the best third", "have both totals near zero"),
    )
    return [
        finding(f"both totals near zero: {name}", proportion(both, count),
                f"Of {count} models {those}, {both} {do}: {{:%}}.")
        for name, count, those, do in sides
    ]  # fmt: skip


def _missed(points: pl.DataFrame, predicted: pl.DataFrame) -> list[Finding]:
    """Which one hyperparameter accounts for most of what the totals leave of the loss, and where they are most wrong.

    Exploratory: the hyperparameter is chosen by what it explains, and the region of it by the error there.
    """
    own = predicted.filter(test=TESTS[0], predictor="totals")
    residual = (own["loss"] - own["predicted"]).to_numpy()
    fold = _folds(points)
    columns = {name: points[name].to_numpy().astype(float) for name in PREDICTORS["all hyperparameters"]}
    left = {
        name: paired(r_squared, residual, cross_validated(values[:, None], residual, fold))
        for name, values in columns.items()
    }
    name = max(left, key=lambda column: left[column].value)
    values, label = columns[name], name.removeprefix("log_")
    limits = np.quantile(values, [0, 1 / 3, 2 / 3, 1])
    part = np.searchsorted(limits[1:-1], values, side="left")
    worst = max(np.unique(part), key=lambda third: float(np.abs(residual[part == third]).mean()))
    there, elsewhere = (np.abs(residual[mask]) for mask in (part == worst, part != worst))
    shown = np.exp(values[part == worst]) if name != label else values[part == worst]
    ends = " to ".join(f"{end:.2g}" for end in sorted({float(shown.min()), float(shown.max())}))
    return [
        finding("R² of what totals leave, from one hyperparameter", left[name],
                f"Of what totals leave, {label} alone accounts for R² = {{:2}}, more than any other."),
        finding("error of totals where it is largest, less elsewhere", contrast([there, elsewhere], [1, -1]),
                f"Predictions from totals are furthest off where {label} is {ends}: by {there.mean():.2f} nats on "
                "average, {:2} more than elsewhere."),
    ]  # fmt: skip


def _claims(test: str) -> list[Statement]:
    half = f"For {test}, totals account for more than half of the variance of the loss."
    better = f"For {test}, totals predict the loss better than {{}}."
    return [
        Statement(half, SOURCE, f"R² from totals, {test}", above=0.5),
        *(Statement(better.format(rival), SOURCE, MORE.format(rival, test)) for rival in RIVALS),
    ]


STUDY = Study(
    question="Do the accumulated exponents predict the loss after training where all hyperparameters vary?",
    configs=configs,
    models=_models,
    estimates=_estimates,
    claims=[claim for test in TESTS for claim in _claims(test)],
    answered=[f"R² from totals, {test}" for test in TESTS],
)
