"""Do two numbers at initialization, the angle and the gradient exponent, predict the loss after training?

Cowsik et al. 2024 (arXiv 2403.02579): the block of that paper on a grid over α_M and σ_w around the phase
boundary λ_a = 0, at a depth where it matters, for a fixed budget. A grid of two hyperparameters is itself two
numbers, so interpolation on it proves little; the runs off the grid, where all four hyperparameters differ, are
predicted from the grid through (λ_a, λ_g) alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from auxin.architecture.block import STRENGTHS, Block
from auxin.config import RunConfig
from auxin.studies.answers import Analysis, Claim, Finding, finding, judged
from auxin.studies.curves import curve, late
from auxin.studies.design import NamedRun, Scale, Setting, base, replace
from auxin.studies.papers import TWO_EXPONENTS
from auxin.studies.regression import KernelRidge, cross_validated, folds
from auxin.studies.statistics import Estimate, paired, r_squared, spearman
from auxin.theory.exponents import exponents_grid
from auxin.theory.phase import phase_diagram

QUESTION = "Do the two exponents at initialization predict the loss after training?"
HYPERPARAMETERS = ("alpha_attention", "alpha_mlp", "sigma_w", "sigma_a")
SETTINGS = ("place", *HYPERPARAMETERS, "angle", "gradient", "depth")

TOKENS = 24  # mean length of a sequence of question
FIXED = {"alpha_attention": 0.3, "sigma_a": 1.0}
"""What the grid holds fixed."""
RANGES = {
    "alpha_attention": (0.05, 0.7),
    "alpha_mlp": (0.2, 0.95),
    "sigma_w": (0.5, 8.0),
    "sigma_a": (0.25, 4.0),
}
"""Of the hyperparameters, the σ's on a logarithmic scale; the grid spans those of α_M and σ_w."""
LOGARITHMIC = ("sigma_w", "sigma_a")
POINTS = {"minutes": (3, 3), "laptop": (8, 16), "paper": (16, 64)}
"""Points along each side of the grid, and off it."""
CHANCE = float(np.log(71))
"""Loss of a uniform guess (nats a token), the worst that counts: what diverged is no better."""
PREDICTORS = {
    "both exponents": ("angle", "gradient"),
    "the angle exponent": ("angle",),
    "the gradient exponent": ("gradient",),
    "initial loss": ("initial_loss",),
    "initial gradient norm": ("initial_gradient_norm",),
    "depth·α²": ("depth_alpha2",),
    "α_M and σ_w themselves": ("alpha_mlp", "log_sigma_w"),
}
"""Columns that each prediction is made from; what a run starts from enters by its logarithm."""
BASELINES = ("initial loss", "initial gradient norm", "depth·α²")
FINE = 41
"""Points a side of the phase diagram."""
FOLDS = 8


def configs(scale: Scale) -> list[NamedRun]:
    """A run for each point of the grid and each one off it, all with the same seed.

    The budget stays within one pass over the training set: no sentence is seen twice, so that the training loss,
    without dropout, is a test loss.
    """
    side, off = POINTS[scale]
    grid = {name: _spaced(name, np.linspace(0, 1, side)) for name in ("alpha_mlp", "sigma_w")}
    points = {name: values.ravel() for name, values in zip(grid, np.meshgrid(*grid.values()), strict=True)}
    runs = _runs(scale, "grid", points | {n: np.full(side**2, v) for n, v in FIXED.items()})
    drawn = np.random.default_rng(0).random((len(HYPERPARAMETERS), off))
    return runs + _runs(scale, "off", {n: _spaced(n, u) for n, u in zip(HYPERPARAMETERS, drawn, strict=True)})


def _spaced(name: str, unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of a hyperparameter at places from 0 to 1 of its range, to four digits."""
    low, high = RANGES[name]
    values = low * (high / low) ** unit if name in LOGARITHMIC else low + (high - low) * unit
    return np.round(values, 4)


def _runs(scale: Scale, place: str, points: Mapping[str, NDArray[np.float64]]) -> list[NamedRun]:
    """The runs at points given by hyperparameter, with their exponents among the settings."""
    config = _config(scale)
    blocks = _block(dict.fromkeys(HYPERPARAMETERS, 0.5))
    predicted = exponents_grid(blocks, {name: points[name] for name in HYPERPARAMETERS})
    runs: list[NamedRun] = []
    for i in range(len(predicted.angle)):
        here = {name: float(points[name][i]) for name in HYPERPARAMETERS}
        block = _block(here)
        exponents = {"angle": float(predicted.angle[i]), "gradient": float(predicted.gradient[i])}
        settings: dict[str, Setting] = {"place": place, **here, **exponents, "depth": config.model.depth}
        model = {name: float(getattr(block, name)) for name in (*STRENGTHS, "sigma_w", "sigma_a")}
        runs.append(NamedRun(f"{place}{i:03d}", replace(config, model=model), settings))
    return runs


def _block(at: Mapping[str, float]) -> Block:
    return Block.cowsik(
        alpha_attention=at["alpha_attention"],
        alpha_mlp=at["alpha_mlp"],
        sigma_w=at["sigma_w"],
        sigma_a=at["sigma_a"],
        n_tokens=TOKENS,
    )


def _config(scale: Scale) -> RunConfig:
    """What all points share; logged at step 1, too, where the loss is still that of the initialization."""
    depth, width, heads = {"minutes": (4, 16, 2), "laptop": (12, 64, 4), "paper": (24, 512, 8)}[scale]
    rate = {"minutes": 1e-2, "laptop": 1e-3, "paper": 3e-4}[scale]
    budget: dict[str, Any] = {}
    if scale == "laptop":
        budget = {"steps": 300, "batch_size": 16, "checkpoint_every": 300}
    elif scale == "paper":
        budget = {"steps": 10_000, "checkpoint_every": 10_000}
    config = replace(base(scale), seeds=(0,), log_every=0, eval_size=10, final_size=10, **budget)
    optimizer = {"learning_rate": rate, "warmup": config.steps // 20, "schedule": "linear"}
    model: dict[str, Setting] = {
        "depth": depth, "width": width, "heads": heads, "norm": "pre", "activation": "tanh", "dropout": 0.0,
        "initialization": "gaussian", "sigma_v": 1.0, "sigma_o": 1.0, "sigma_b": 0.0, "tied": False,
    }  # fmt: skip
    return replace(config, model=model, optimizer=optimizer)


def analyse(metrics: pl.DataFrame) -> Analysis:
    """How well each predictor tells the loss of points that it was not fitted to, on the grid and off it."""
    points = _points(metrics)
    predicted = pl.concat([_predictions(points, name) for name in PREDICTORS])
    groups = predicted.group_by("predictor", "test", maintain_order=True)
    scores = pl.DataFrame([_score(str(name), str(test), group) for (name, test), group in groups])
    exponents = scores.filter(predictor="both exponents")
    baselines = scores.filter(pl.col("predictor").is_in(BASELINES))
    findings = [_finding(row) for row in scores.iter_rows(named=True)]
    answer = "; ".join(
        _compared(test, exponents.filter(test=test), baselines.filter(test=test))
        for test in exponents["test"]
    )
    claims: list[Claim] = []
    for test, row in zip(exponents["test"], exponents.iter_rows(named=True), strict=True):
        own, others = exponents.filter(test=test), baselines.filter(test=test)
        claims += [_well_predicted(row), _better(predicted.filter(test=test), own, others)]
    tables = {"points": points, "predictions": predicted, "scores": scores, "phase": _phase()}
    return Analysis(QUESTION, f"{answer[0].upper()}{answer[1:]}.", tuple(claims), tuple(findings), tables)


def _points(metrics: pl.DataFrame) -> pl.DataFrame:
    """A row a run: settings, what it starts from and ends at; a diverged run ends at the loss of a guess."""
    points = late(metrics, "train", "loss", SETTINGS)
    for name, column in (("loss", "initial_loss"), ("gradient_norm", "initial_gradient_norm")):
        first = curve(metrics, "train", name).filter(step=1).select("run", pl.col("value").alias(column))
        points = points.join(first, on="run", how="left", maintain_order="left")
    strengths = pl.col("alpha_attention") ** 2 + pl.col("alpha_mlp") ** 2
    start = ("initial_loss", "initial_gradient_norm")
    return points.with_columns(
        pl.col("loss").fill_null(CHANCE).clip(upper_bound=CHANCE),
        *(pl.col(name).fill_null(pl.col(name).max()).log() for name in start),
        depth_alpha2=pl.col("depth") * strengths,
        log_sigma_w=pl.col("sigma_w").log(),
    )


def _predictions(points: pl.DataFrame, predictor: str) -> pl.DataFrame:
    """The loss of points that the predictor was not fitted to: points left out, columns left out, off the grid."""
    columns = list(PREDICTORS[predictor])
    grid, off = points.filter(place="grid"), points.filter(place="off")
    features, loss = grid.select(columns).to_numpy(), grid["loss"].to_numpy()
    random = folds(len(loss), min(FOLDS, len(loss)), seed=0)
    tests = {
        "points left out": (grid, cross_validated(features, loss, random)),
        "columns left out": (grid, cross_validated(features, loss, grid["alpha_mlp"].to_numpy())),
        "points off the grid": (off, KernelRidge(features, loss)(off.select(columns).to_numpy())),
    }
    return pl.concat(
        at.select("run", "loss", predictor=pl.lit(predictor), test=pl.lit(test), predicted=pl.Series(values))
        for test, (at, values) in tests.items()
    )


def _score(predictor: str, test: str, group: pl.DataFrame) -> dict[str, Any]:
    """R² and rank correlation of predictions with what was measured."""
    truth, predicted = group["loss"].to_numpy(), group["predicted"].to_numpy()
    fit, rank = paired(r_squared, truth, predicted), paired(spearman, truth, predicted)
    return (
        {"predictor": predictor, "test": test, "points": len(truth)}
        | {"r2": fit.value, "r2_low": fit.low, "r2_high": fit.high}
        | {"rank": rank.value, "rank_low": rank.low, "rank_high": rank.high}
    )


def _finding(row: Mapping[str, Any]) -> Finding:
    fit, rank = (Estimate(*(row[name + end] for end in ("", "_low", "_high"))) for name in ("r2", "rank"))
    sentence = (
        f"From {row['predictor']}, {row['test']}: R² = {fit.text()}, rank correlation {rank.text()} "
        f"({row['points']} points)."
    )
    return finding(f"R² from {row['predictor']}, {row['test']}", fit, sentence)


def _well_predicted(row: Mapping[str, Any]) -> Claim:
    """That the exponents account for more than half of the variance."""
    statement = (
        f"For {row['test']}, the two exponents account for more than half of the variance of the loss."
    )
    half = Estimate(row["r2"] - 0.5, row["r2_low"] - 0.5, row["r2_high"] - 0.5)
    return judged(statement, TWO_EXPONENTS, half, _finding(row).sentence, row["points"])


def _better(predicted: pl.DataFrame, exponents: pl.DataFrame, baselines: pl.DataFrame) -> Claim:
    """That the exponents beat every baseline, by how much their R² is above the best one's on the same points."""
    own, best = exponents.row(0, named=True), baselines.sort("r2", descending=True).row(0, named=True)
    truth = predicted.filter(predictor=own["predictor"])["loss"].to_numpy()
    both = [predicted.filter(predictor=row["predictor"])["predicted"].to_numpy() for row in (own, best)]
    gain = paired(
        lambda t, p: r_squared(t, p[..., 0]) - r_squared(t, p[..., 1]), truth, np.stack(both, axis=-1)
    )
    sentence = _compared(own["test"], exponents, baselines)
    return judged(
        f"For {own['test']}, the two exponents predict the final loss better than every baseline.",
        "asked here",
        gain,
        f"{sentence[0].upper()}{sentence[1:]}: {gain.text()} more.",
        own["points"],
    )


def _compared(test: str, exponents: pl.DataFrame, baselines: pl.DataFrame) -> str:
    own, best = exponents.row(0, named=True), baselines.sort("r2", descending=True).row(0, named=True)
    fit = Estimate(own["r2"], own["r2_low"], own["r2_high"])
    return (
        f"for {test}, the two exponents alone predict the final loss with R² = {fit.text()} (rank correlation "
        f"{own['rank']:.2f}), the best baseline, {best['predictor']}, with {best['r2']:.2f}"
    )


def _phase() -> pl.DataFrame:
    """Both exponents over the grid's plane, for the lines where they vanish."""
    axes = [_spaced(name, np.linspace(0, 1, FINE)).tolist() for name in ("alpha_mlp", "sigma_w")]
    block = _block(dict.fromkeys(HYPERPARAMETERS, 0.5) | FIXED)
    return phase_diagram(block, x=("alpha_mlp", axes[0]), y=("sigma_w", axes[1]))
