"""Do two numbers at initialization, the angle and the gradient exponent, predict the loss after training?

Cowsik et al. 2024 (arXiv 2403.02579): the block of that paper on a grid over α_M and σ_w around the phase
boundary λ_a = 0, at a depth where it matters, for a fixed budget. A grid of two hyperparameters is itself two
numbers, so interpolation on it proves little; the runs off the grid, where all four hyperparameters differ, are
predicted from the grid through (λ_a, λ_g) alone.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from auxin.lab.named import NamedRun
from auxin.studies.analysis import Finding, Found, Statement, Study, finding
from auxin.studies.design import Scale, base
from auxin.studies.papers import TWO_EXPONENTS
from auxin.studies.prediction import FOLDS, RANGES, Predictions, Unseen, block_at, losses, spaced, with_block
from auxin.studies.statistics import Estimate, written
from auxin.theory.exponents import exponents_grid
from auxin.theory.phase import phase_diagram
from auxin.values import changed

SETTINGS = ("place", *RANGES, "angle", "gradient", "depth")
FIXED = {"alpha_attention": 0.3, "sigma_a": 1.0}
"""What the grid holds fixed; it spans the ranges of α_M and σ_w."""
POINTS = {"minutes": (3, 3), "laptop": (8, 16), "paper": (16, 64)}
"""Points along each side of the grid, and off it."""
EXPONENTS, BASELINES = "both exponents", ("initial loss", "initial gradient norm", "depth·α²")
PREDICTORS = {
    EXPONENTS: ("angle", "gradient"),
    "the angle exponent": ("angle",),
    "the gradient exponent": ("gradient",),
    "initial loss": ("initial_loss",),
    "initial gradient norm": ("initial_gradient_norm",),
    "depth·α²": ("depth_alpha2",),
    "α_M and σ_w themselves": ("alpha_mlp", "log_sigma_w"),
}
"""Columns that each prediction is made from."""
TESTS = ("points left out", "columns left out", "points off the grid")
FINE = 41
"""Points a side of the phase diagram."""
GAIN = "R² from both exponents less that from the best baseline, {}"


def configs(scale: Scale) -> list[NamedRun]:
    """A run for each point of the grid and each one off it, all with the same seed; exponents are settings, too.

    Logged at step 1, too, where the loss is still that of the initialization.
    """
    depth, width, heads = {"minutes": (4, 16, 2), "laptop": (12, 64, 4), "paper": (24, 512, 8)}[scale]
    rate = {"minutes": 1e-2, "laptop": 1e-3, "paper": 3e-4}[scale]
    size = {
        "minutes": {"steps": base(scale).steps},
        "laptop": {"steps": 300, "batch_size": 16, "checkpoint_every": 300},
        "paper": {"steps": 10_000, "checkpoint_every": 10_000},
    }[scale]
    model = {"model.width": width, "model.heads": heads}
    optimizer = {"learning_rate": rate, "warmup": size["steps"] // 20, "schedule": "linear"}
    single = {"seeds": [0], "log_every": 0, "eval_size": 10, "final_size": 10}
    config = changed(base(scale), size | single | model | {f"optimizer.{n}": v for n, v in optimizer.items()})

    side, off = POINTS[scale]
    grid = {name: spaced(name, np.linspace(0, 1, side)) for name in ("alpha_mlp", "sigma_w")}
    points = {name: values.ravel() for name, values in zip(grid, np.meshgrid(*grid.values()), strict=True)}
    drawn = np.random.default_rng(0).random((len(RANGES), off))
    places = {
        "grid": points | {n: np.full(side**2, v) for n, v in FIXED.items()},
        "off": {n: spaced(n, u) for n, u in zip(RANGES, drawn, strict=True)},
    }
    runs: list[NamedRun] = []
    for place, values in places.items():
        found = exponents_grid(block_at(dict.fromkeys(RANGES, 0.5)), {name: values[name] for name in RANGES})
        for i, both in enumerate(zip(found.angle.tolist(), found.gradient.tolist(), strict=True)):
            here = {name: float(values[name][i]) for name in RANGES}
            settings = {"place": place, **here, "angle": both[0], "gradient": both[1], "depth": depth}
            runs.append(NamedRun(f"{place}{i:03d}", with_block(config, here, depth), settings))
    return runs


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    strengths = pl.col("alpha_attention") ** 2 + pl.col("alpha_mlp") ** 2
    return losses(metrics, SETTINGS).with_columns(depth_alpha2=pl.col("depth") * strengths)


def _estimates(points: pl.DataFrame, _: pl.DataFrame) -> Found:
    """How well each predictor tells the loss of points that it was not fitted to, on the grid and off it."""
    grid, off = points.filter(place="grid"), points.filter(place="off")
    random = np.random.default_rng(0).permutation(np.arange(len(grid)) % min(FOLDS, len(grid)))
    groups = (random, grid["alpha_mlp"].to_numpy(), None)
    where = zip(TESTS, (grid, grid, off), groups, strict=True)
    predictions = Predictions(PREDICTORS, [Unseen(*test, fitted=grid) for test in where])
    gains = [_gain(predictions, test) for test in TESTS]
    axes = [spaced(name, np.linspace(0, 1, FINE)).tolist() for name in ("alpha_mlp", "sigma_w")]
    block = block_at(dict.fromkeys(RANGES, 0.5) | FIXED)
    tables = {
        "points": points,
        "predictions": predictions.table,
        "scores": predictions.scores,  # and where both exponents vanish:
        "phase": phase_diagram(block, x=("alpha_mlp", axes[0]), y=("sigma_w", axes[1])),
    }
    return Found([*predictions.findings, *gains], tables)


def _gain(predictions: Predictions, test: str) -> Finding:
    """By how much the R² of the exponents is above that of the baseline which is best on the same points."""
    own = predictions.score(EXPONENTS, test)
    best = max((predictions.score(name, test) for name in BASELINES), key=lambda row: row["r2"])
    fit = Estimate(own["r2"], own["r2_low"], own["r2_high"])
    template = (
        f"For {test}, the two exponents alone predict the final loss with R² = {fit:2} (rank correlation "
        f"{written(own['rank'], 2)}), the best baseline, {best['predictor']}, with {written(best['r2'], 2)}: "
        "{:2} more."
    )
    gain = predictions.more(EXPONENTS, best["predictor"], test)
    return finding(GAIN.format(test), gain, template, models=own["points"])


_CLAIMS = (
    ("the two exponents account for more than half of the variance of the loss.", TWO_EXPONENTS,
     f"R² from {EXPONENTS}, {{}}", 0.5),
    ("the two exponents predict the final loss better than every baseline.", "asked here", GAIN, 0.0),
)  # fmt: skip

STUDY = Study(
    question="Do the two exponents at initialization predict the loss after training?",
    configs=configs,
    models=_models,
    estimates=_estimates,
    claims=[
        Statement(f"For {test}, {text}", source, name.format(test), above)
        for test in TESTS
        for text, source, name, above in _CLAIMS
    ],
    answered=[GAIN.format(test) for test in TESTS],
)
