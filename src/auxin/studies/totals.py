"""Do the accumulated exponents predict the loss after training where all hyperparameters vary?

The block of Cowsik et al. 2024 (arXiv 2403.02579) with its four hyperparameters, the depth and the norm's placement
drawn together. *Totals* are what a network of that depth does to an angle and to a gradient, layer by layer from where
it starts; *limits* are the exponents at the fixed point times the depth, which is what was used before. The plan is
docs/totals-study.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import qmc

from auxin.architecture.block import STRENGTHS, Block, NormPlacement
from auxin.measures.intervals import wilson
from auxin.studies.answers import Analysis, Claim, Finding, finding, judged
from auxin.studies.curves import curve, late
from auxin.studies.design import NamedRun, Scale, Setting, base, replace
from auxin.studies.regression import KernelRidge, cross_validated
from auxin.studies.statistics import UNKNOWN, Estimate, contrast, paired, r_squared, spearman
from auxin.theory.exponents import exponents

QUESTION = "Do the accumulated exponents predict the loss after training where all hyperparameters vary?"
HYPERPARAMETERS = ("alpha_attention", "alpha_mlp", "sigma_w", "sigma_a")
SETTINGS = ("point", "norm", "depth", *HYPERPARAMETERS)
TOKENS = 24  # mean length of a sequence of question
RANGES = {
    "alpha_attention": (0.05, 0.7),
    "alpha_mlp": (0.2, 0.95),
    "sigma_w": (0.5, 8.0),
    "sigma_a": (0.25, 4.0),
}
"""Of the hyperparameters, the σ's on a logarithmic scale."""
DEPTHS = (6, 24)
SPLIT = 15
"""Models deeper than this are predicted from those that are not, in one of the two tests."""
CHANCE = float(np.log(71))
"""Loss of a uniform guess (nats a token), the worst that counts: what diverged is no better."""
FOLDS = 8
NEAR = 1.0
"""A total counts as near zero up to this: e-fold growth or decay of an angle or a gradient, squared, in all layers."""
PREDICTORS = {
    "totals": ("angle_total", "gradient_total"),
    "limits": ("angle_limit", "gradient_limit"),
    "initial gradient norm": ("initial_gradient_norm",),
    "initial loss": ("initial_loss",),
    "all hyperparameters": ("alpha_attention", "alpha_mlp", "log_sigma_w", "log_sigma_a", "depth", "pre"),
}
"""Columns that each prediction is made from; what a run starts from enters by its logarithm."""
TESTS = ("points left out", "deep from shallow")
RIVALS = ("limits", "initial gradient norm", "initial loss", "all hyperparameters")
SOURCE = "stated before the runs"


def configs(scale: Scale) -> list[NamedRun]:
    """Sobol points, scrambled by seed 0, each with pre- and with post-norm; one seed.

    The budget stays within one pass over the training set, so that the training loss, without dropout, is a test loss.
    """
    points = {"minutes": 8, "laptop": 128, "paper": 256}[scale]
    sobol = qmc.Sobol(len(HYPERPARAMETERS) + 1, rng=0)
    runs: list[NamedRun] = []
    for index, unit in enumerate(sobol.random(points)):
        at = {n: _spaced(n, u) for n, u in zip(HYPERPARAMETERS, unit[:-1], strict=True)}
        low, high = (1, 3) if scale == "minutes" else DEPTHS
        depth = low + int(unit[-1] * (high - low + 1))
        runs += [_run(scale, index, "pre", depth, at), _run(scale, index, "post", depth, at)]
    return runs


def _spaced(name: str, unit: float) -> float:
    """The value at a place from 0 to 1 of a hyperparameter's range, to four digits."""
    low, high = RANGES[name]
    value = low * (high / low) ** unit if name.startswith("sigma") else low + (high - low) * unit
    return round(float(value), 4)


def _run(scale: Scale, point: int, norm: NormPlacement, depth: int, at: dict[str, float]) -> NamedRun:
    settings: dict[str, Setting] = {"point": point, "norm": norm, "depth": depth, **at}
    block = _block(settings)
    model = {name: float(getattr(block, name)) for name in (*STRENGTHS, "sigma_w", "sigma_a")}
    config = base(scale)
    steps = {"minutes": config.steps, "laptop": 600, "paper": 10_000}[scale]
    config = replace(config, seeds=(0,), steps=steps, log_every=0, checkpoint_every=steps)
    config = replace(config, eval_size=10, final_size=10)
    shared: dict[str, Any] = {
        "depth": depth, "norm": norm, "activation": "tanh", "dropout": 0.0, "initialization": "gaussian",
        "sigma_v": 1.0, "sigma_o": 1.0, "sigma_b": 0.0, "tied": False,
    }  # fmt: skip
    optimizer = {"warmup": steps // 20, "schedule": "linear"}
    config = replace(config, model=shared | model, optimizer=optimizer)
    return NamedRun(f"point{point:03d}-{norm}", config, settings)


def _block(settings: Mapping[str, Any]) -> Block:
    block = Block.cowsik(
        alpha_attention=settings["alpha_attention"],
        alpha_mlp=settings["alpha_mlp"],
        sigma_w=settings["sigma_w"],
        sigma_a=settings["sigma_a"],
        n_tokens=TOKENS,
    )
    return dataclasses.replace(block, norm=settings["norm"])


def starts(settings: Mapping[str, Any]) -> dict[str, float]:
    """Totals and limits of a model, given by its settings.

    ``angle_total`` and ``gradient_total`` are those of ``exponents`` at the model's depth, from its default start;
    ``angle_limit`` is L·λ_a and ``gradient_limit`` L·λ_g. Cost 5 ms a layer.
    """
    depth = int(settings["depth"])
    found = exponents(_block(settings), depth=depth)
    return {
        "angle_total": float(found.angle_total or 0.0),
        "gradient_total": float(found.gradient_total or 0.0),
        "angle_limit": depth * float(found.angle),
        "gradient_limit": depth * float(found.gradient),
    }


def analyse(metrics: pl.DataFrame) -> Analysis:
    """R² of each predictor for points left out and for deep models from shallow ones; where the best losses are."""
    points = _points(metrics)
    predicted = pl.concat([_predictions(points, name) for name in PREDICTORS])
    groups = predicted.group_by("test", "predictor", maintain_order=True)
    scores = pl.DataFrame([_score(str(test), str(name), rows) for (test, name), rows in groups])
    findings = [_finding(row) for row in scores.iter_rows(named=True)]
    claims: list[Claim] = []
    for test in TESTS:
        own = {name: predicted.filter(test=test, predictor=name) for name in PREDICTORS}
        totals = next(f for f in findings if f.name == f"R² from totals, {test}")
        half = Estimate(totals.value - 0.5, totals.low - 0.5, totals.high - 0.5)
        statement = f"For {test}, totals account for more than half of the variance of the loss."
        claims.append(judged(statement, SOURCE, half, totals.sentence, len(own["totals"])))
        for rival in RIVALS:
            more = _more(own["totals"], own[rival])
            sentence = f"For {test}, totals have an R² that is {more.text()} above that of {rival}."
            findings.append(finding(f"R² from totals less that from {rival}, {test}", more, sentence))
            statement = f"For {test}, totals predict the loss better than {rival}."
            claims.append(judged(statement, SOURCE, more, sentence, len(own["totals"])))
    answer = " ".join(f.sentence for f in findings if f.name.startswith("R² from totals, "))
    findings += [*_best(points), *_missed(points, predicted)]
    tables = {"points": points, "predictions": predicted, "scores": scores}
    return Analysis(QUESTION, answer, tuple(claims), tuple(findings), tables)


def _points(metrics: pl.DataFrame) -> pl.DataFrame:
    """A row a run: settings, totals and limits, what it starts from and ends at.

    A diverged run ends at the loss of a guess.
    """
    points = late(metrics, "train", "loss", SETTINGS)
    start = {"loss": "initial_loss", "gradient_norm": "initial_gradient_norm"}
    for name, column in start.items():
        first = curve(metrics, "train", name).filter(step=1).select("run", pl.col("value").alias(column))
        points = points.join(first, on="run", how="left", maintain_order="left")
    known = pl.DataFrame([starts(row) for row in points.select(SETTINGS).iter_rows(named=True)])
    return points.hstack(known).with_columns(
        pl.col("loss").fill_null(CHANCE).clip(upper_bound=CHANCE),
        *(pl.col(name).fill_null(pl.col(name).max()).log() for name in start.values()),
        log_sigma_w=pl.col("sigma_w").log(),
        log_sigma_a=pl.col("sigma_a").log(),
        pre=(pl.col("norm") == "pre").cast(pl.Float64),
    )


def _predictions(points: pl.DataFrame, predictor: str) -> pl.DataFrame:
    """The loss of models that the predictor was not fitted to: both of a point are left out together."""
    columns = list(PREDICTORS[predictor])
    middle = min(SPLIT, max(points["depth"].to_list()) - 1)
    shallow, deep = points.filter(pl.col("depth") <= middle), points.filter(pl.col("depth") > middle)
    features, loss = points.select(columns).to_numpy().astype(float), points["loss"].to_numpy()
    fitted = KernelRidge(shallow.select(columns).to_numpy().astype(float), shallow["loss"].to_numpy())
    tests = {
        "points left out": (
            points,
            cross_validated(features, loss, _folds(points)),
        ),
        "deep from shallow": (deep, fitted(deep.select(columns).to_numpy().astype(float))),
    }
    return pl.concat(
        at.select("run", "loss", predictor=pl.lit(predictor), test=pl.lit(test), predicted=pl.Series(values))
        for test, (at, values) in tests.items()
    )


def _folds(points: pl.DataFrame) -> NDArray[np.intp]:
    """Which models are left out together: both of a point, and those of every eighth."""
    return np.asarray(points["point"].to_numpy()) % min(FOLDS, points["point"].n_unique())


def _score(test: str, predictor: str, rows: pl.DataFrame) -> dict[str, Any]:
    """R² and rank correlation of predictions with what was measured."""
    truth, predicted = rows["loss"].to_numpy(), rows["predicted"].to_numpy()
    fit, rank = paired(r_squared, truth, predicted), paired(spearman, truth, predicted)
    return (
        {"predictor": predictor, "test": test, "points": len(truth)}
        | {"r2": fit.value, "r2_low": fit.low, "r2_high": fit.high}
        | {"rank": rank.value, "rank_low": rank.low, "rank_high": rank.high}
    )


def _finding(row: dict[str, Any]) -> Finding:
    fit, rank = (Estimate(*(row[name + end] for end in ("", "_low", "_high"))) for name in ("r2", "rank"))
    sentence = (
        f"From {row['predictor']}, {row['test']}: R² = {fit.text()}, rank correlation {rank.text()} "
        f"({row['points']} models)."
    )
    return finding(f"R² from {row['predictor']}, {row['test']}", fit, sentence)


def _more(own: pl.DataFrame, rival: pl.DataFrame) -> Estimate:
    """By how much the R² of one prediction is above another's, models resampled together."""
    both = np.stack([own["predicted"].to_numpy(), rival["predicted"].to_numpy()], axis=-1)
    return paired(
        lambda t, p: r_squared(t, p[..., 0]) - r_squared(t, p[..., 1]), own["loss"].to_numpy(), both
    )


def _best(points: pl.DataFrame) -> list[Finding]:
    """Whether both totals near zero are enough for a loss among the best third, and whether it takes them."""
    near = (points["angle_total"].abs() <= NEAR) & (points["gradient_total"].abs() <= NEAR)
    best = points["loss"] <= float(np.quantile(points["loss"].to_numpy(), 1 / 3))
    both = int((near & best).sum())
    sides = (
        ("enough", int(near.sum()), "with both totals near zero", "are among the best third"),
        ("needed", int(best.sum()), "among the best third", "have both totals near zero"),
    )
    found: list[Finding] = []
    for name, count, those, do in sides:
        share = Estimate(both / count, *wilson(both, count)) if count else UNKNOWN
        sentence = f"Of {count} models {those}, {both} {do}: {share.percent()}."
        found.append(finding(f"both totals near zero: {name}", share, sentence))
    return found


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
    name = max(left, key=lambda each: left[each].value)
    values, label = columns[name], name.removeprefix("log_")
    limits = np.quantile(values, [0, 1 / 3, 2 / 3, 1])
    part = np.searchsorted(limits[1:-1], values, side="left")
    worst = max(np.unique(part), key=lambda third: float(np.abs(residual[part == third]).mean()))
    there, elsewhere = (np.abs(residual[mask]) for mask in (part == worst, part != worst))
    more = contrast([there, elsewhere], [1, -1])
    shown = np.exp(values[part == worst]) if name != label else values[part == worst]
    explained = (
        f"Of what totals leave, {label} alone accounts for R² = {left[name].text()}, more than any other."
    )
    ends = " to ".join(f"{end:.2g}" for end in sorted({float(shown.min()), float(shown.max())}))
    region = (
        f"Predictions from totals are furthest off where {label} is {ends}: by "
        f"{there.mean():.2f} nats on average, {more.text()} more than elsewhere."
    )
    return [
        finding("R² of what totals leave, from one hyperparameter", left[name], explained),
        finding("error of totals where it is largest, less elsewhere", more, region),
    ]
