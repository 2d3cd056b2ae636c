"""Losses after training, predicted from numbers at initialization: what the studies of that have in common.

They train the block of Cowsik et al. 2024 (arXiv 2403.02579) within one pass over the training set, so that the
training loss, without dropout, is a test loss.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from auxin.architecture.block import STRENGTHS, Block
from auxin.config import RunConfig
from auxin.lab.table import curve, late
from auxin.studies.analysis import Finding, finding
from auxin.studies.statistics import Array, Estimate, paired, r_squared, spearman
from auxin.values import changed

TOKENS = 24  # mean length of a sequence of question
WORDS = 71
"""Tokens of question's vocabulary."""
CHANCE = math.log(WORDS)
"""Loss of a uniform guess (nats a token), the worst that counts: what diverged is no better."""
AT_MOST_CHANCE = pl.col("loss").fill_null(CHANCE).clip(upper_bound=CHANCE)
RANGES = {
    "alpha_attention": (0.05, 0.7),
    "alpha_mlp": (0.2, 0.95),
    "sigma_w": (0.5, 8.0),
    "sigma_a": (0.25, 4.0),
}
"""Of the hyperparameters, the σ's on a logarithmic scale."""
FOLDS = 8
LOGARITHMS = ("initial_loss", "initial_gradient_norm")
"""What is measured at initialization enters by its logarithm."""


def spaced(name: str, unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of a hyperparameter at places from 0 to 1 of its range, to four digits."""
    low, high = RANGES[name]
    values = low * (high / low) ** unit if name.startswith("sigma") else low + (high - low) * unit
    return np.round(values, 4)


def block_at(settings: Mapping[str, Any]) -> Block:
    """The block with these hyperparameters, and their ``norm`` if they have one."""
    block = Block.cowsik(**{name: settings[name] for name in RANGES}, n_tokens=TOKENS)
    return dataclasses.replace(block, norm=settings.get("norm", block.norm))


def with_block(config: RunConfig, settings: Mapping[str, Any], depth: int) -> RunConfig:
    """The run of a network of that block, initialized as in the paper, of so many layers."""
    block = block_at(settings)
    model = {name: float(getattr(block, name)) for name in (*STRENGTHS, "sigma_w", "sigma_a")} | {
        "norm": block.norm, "activation": "tanh", "dropout": 0.0, "initialization": "gaussian",
        "sigma_v": 1.0, "sigma_o": 1.0, "sigma_b": 0.0, "tied": False, "depth": depth,
    }  # fmt: skip
    return changed(config, {f"model.{name}": value for name, value in model.items()})


def losses(metrics: pl.DataFrame, settings: Sequence[str]) -> pl.DataFrame:
    """A row a run: settings, loss and gradient norm at initialization, and the last loss.

    A diverged run ends at the loss of a guess.
    """
    points = late(metrics, "train", "loss", settings)
    for name, column in zip(("loss", "gradient_norm"), LOGARITHMS, strict=True):
        first = curve(metrics, "train", name).filter(step=1).select("run", pl.col("value").alias(column))
        points = points.join(first, on="run", how="left", maintain_order="left")
    return points.with_columns(
        AT_MOST_CHANCE,
        *(pl.col(name).fill_null(pl.col(name).max()).log() for name in LOGARITHMS),
        log_sigma_w=pl.col("sigma_w").log(),
        log_sigma_a=pl.col("sigma_a").log(),
    )


@dataclass(frozen=True)
class Unseen:
    """Points whose losses are predicted from others: from those of other groups, or from ``fitted``."""

    name: str
    points: pl.DataFrame
    groups: NDArray[Any] | None = None
    """[N]: points of one group are left out together."""
    fitted: pl.DataFrame | None = None

    def predicted(self, columns: Sequence[str]) -> Array:
        """[N]: from these columns."""
        features = self.points.select(columns).to_numpy().astype(float)
        if self.groups is not None:
            return cross_validated(features, self.points["loss"].to_numpy(), self.groups)
        assert self.fitted is not None
        known = self.fitted.select(columns).to_numpy().astype(float)
        return KernelRidge(known, self.fitted["loss"].to_numpy())(features)


LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Length scales that are tried, in standard deviations of a feature times the root of their number."""
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties that are tried, relative to the kernel's 1."""


class KernelRidge:
    """Kernel ridge regression with a Gaussian kernel on standardized features.

    ŷ(x) = ȳ + k(x)ᵀ(K + ρI)⁻¹(y − ȳ), k(x)_i = exp(−|x − x_i|²/2ℓ²). Length ℓ and ridge ρ are those of the least
    leave-one-out error, whose residuals are ((K + ρI)⁻¹(y − ȳ))_i / ((K + ρI)⁻¹)_ii (Rasmussen & Williams 2006,
    eq. 5.12). Cost O(N³) for each of the 20 pairs tried.
    """

    def __init__(self, features: Array, response: Array) -> None:
        """features [N, D], response [N]."""
        self._center, spread = features.mean(0), features.std(0)
        self._scale = np.where(spread > 0, spread, 1.0)
        self._points = (features - self._center) / self._scale
        self._mean, least = response.mean(), np.inf
        for length in LENGTHS:
            kernel = self._kernel(self._points, length)
            for ridge in RIDGES:
                inverse = np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
                weights = inverse @ (response - self._mean)
                error = float(((weights / np.diag(inverse)) ** 2).sum())
                if error < least:
                    least, self._length, self._weights = error, length, weights

    def __call__(self, features: Array) -> Array:
        """[N']: predictions for features [N', D]."""
        points = (features - self._center) / self._scale
        return self._mean + self._kernel(points, self._length) @ self._weights

    def _kernel(self, points: Array, length: float) -> Array:
        squares = ((points[:, None] - self._points) ** 2).sum(2)
        return np.exp(-squares / (2 * points.shape[1] * length**2))


def cross_validated(
    features: Array,
    response: NDArray[Any],
    groups: NDArray[Any],
    fit: Callable[[Array, Any], Callable[[Array], Array]] = KernelRidge,
) -> Array:
    """[N]: each group's responses predicted from a fit to the points of all other groups alone."""
    predictions = np.empty(len(response))
    for group in np.unique(groups):
        held = groups == group
        predictions[held] = fit(features[~held], response[~held])(features[held])
    return predictions


class Predictions:
    """What each predictor, named columns, says of each set of unseen points, and how good that is."""

    def __init__(self, predictors: Mapping[str, Sequence[str]], unseen: Sequence[Unseen]) -> None:
        self.table = pl.concat(
            test.points.select("run", "loss", predictor=pl.lit(name), test=pl.lit(test.name)).with_columns(
                predicted=pl.Series(test.predicted(columns))
            )
            for test in unseen
            for name, columns in predictors.items()
        )
        rows: list[dict[str, Any]] = []
        self.findings: list[Finding] = []
        for (test, name), own in self.table.group_by("test", "predictor", maintain_order=True):
            truth, predicted = own["loss"].to_numpy(), own["predicted"].to_numpy()
            fit, rank = paired(r_squared, truth, predicted), paired(spearman, truth, predicted)
            row: dict[str, Any] = {"predictor": name, "test": test, "points": len(own)}
            rows.append(row | fit.columns("r2") | rank.columns("rank"))
            template = f"From {name}, {test}: R² = {{:2}}, rank correlation {rank:2} ({len(own)} models)."
            self.findings.append(finding(f"R² from {name}, {test}", fit, template, models=len(own)))
        self.scores = pl.DataFrame(rows)
        """Columns: predictor, test, points, and R² and rank correlation with their intervals."""

    def score(self, predictor: str, test: str) -> dict[str, Any]:
        """A row of ``scores``."""
        (row,) = self.scores.filter(predictor=predictor, test=test).iter_rows(named=True)
        return row

    def more(self, own: str, rival: str, test: str) -> Estimate:
        """By how much the R² of one predictor is above another's, models resampled together."""
        rows = [self.table.filter(test=test, predictor=name) for name in (own, rival)]
        both = np.stack([row["predicted"].to_numpy() for row in rows], axis=-1)
        gain = lambda t, p: r_squared(t, p[..., 0]) - r_squared(t, p[..., 1])
        return paired(gain, rows[0]["loss"].to_numpy(), both)
