"""The table of a sweep: a row a trained model, from what its run logged and from the theory of its initialization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from auxin.architecture.model import ModelConfig
from auxin.errors import AuxinError, DataError
from auxin.lab.named import Setting
from auxin.lab.sweep_record import word
from auxin.measures.grokking import grokking_summary
from auxin.runs import Run, open_run
from auxin.theory.exponents import exponents

GROKKING = (
    "saturation_step", "at_saturation", "early_stopping", "final", "best", "grokking_step", "grokked", "relapsed",
    "delay_ratio", "total_variation", "committed",
)  # fmt: skip
LATE = {"loss": "train", "hierarchical": "gen", "linear": "gen"}
"""Metrics averaged over the last fifth of the steps, with their splits."""
SPLITS = ("val", "gen", "test")
STEPS = ("saturation_step", "grokking_step", "diverged")
SHARES = ("grokked", "relapsed")
RESULTS = (
    *LATE, *(f"accuracy_{split}" for split in SPLITS), *GROKKING, "diverged", "angle_total", "gradient_total",
)  # fmt: skip
RESERVED = ("run", "seed", *RESULTS)
"""Columns that no setting can be called."""
DRAWS = 64
"""Attention matrices drawn where layers have no closed form: totals within 0.002, in half a minute of a core."""

LAST = 0.2
"""The last share of a run's steps over which an outcome is averaged: single evaluations relapse."""

Start = tuple[float | None, float | None]
"""Accumulated angle and gradient exponent at initialization."""


def summary_table(
    runs: Mapping[str, Mapping[str, Setting]],
    finished: Sequence[str],
    directory: Path,
    known: Mapping[str, Start],
    theory: bool,
) -> pl.DataFrame:
    """The rows of the finished runs in their order, and a column for every setting of any run.

    ``known`` are exponents that need not be computed again, by run; without ``theory`` no others are.
    """
    names = list(dict.fromkeys(name for settings in runs.values() for name in settings))
    kinds = {name: _kind([s[name] for s in runs.values() if name in s]) for name in names}
    start = _starts(known, theory)
    rows: list[dict[str, Any]] = []
    for name in finished:
        values = {key: runs[name].get(key) for key in names}
        settings = {k: word(v) if v is not None and kinds[k] == pl.String else v for k, v in values.items()}
        run = open_run(directory / name)
        angle, gradient = start(name, run.config.model)
        both = {"angle_total": angle, "gradient_total": gradient}
        rows += [{"run": name, **settings, **results, **both} for results in _members(run)]
    schema: dict[str, Any] = {"run": pl.String, **kinds, "seed": pl.Int64}
    schema |= {n: pl.Int64 if n in STEPS else pl.Boolean if n in SHARES else pl.Float64 for n in RESULTS}
    return pl.DataFrame(rows, schema=schema)


def _kind(values: Sequence[Setting]) -> Any:
    """The column's type: words where any value is one."""
    if any(isinstance(value, (str, bool)) for value in values):
        return pl.String
    return pl.Float64 if any(isinstance(value, float) for value in values) else pl.Int64


def _members(run: Run) -> list[dict[str, Any]]:
    """Each model's seed and what came out."""
    metrics = run.metrics.with_columns(run=pl.lit(""))
    means = {
        name: _by_seed(lambda n=name, s=split: late(metrics, s, n, ()), name) for name, split in LATE.items()
    }
    try:
        curves = {row["member"]: row for row in grokking_summary(metrics).members.iter_rows(named=True)}
    except DataError:
        curves = {}
    accuracy, frozen = (run.summary.get(key, {}) for key in ("accuracy", "frozen"))
    return [
        {
            "seed": seed,
            **{name: values.get(seed) for name, values in means.items()},
            **{f"accuracy_{split}": accuracy.get(split, {}).get(str(seed)) for split in SPLITS},
            **{name: curves.get(seed, {}).get(name) for name in GROKKING},
            "diverged": frozen.get(str(seed)),
        }
        for seed in run.config.seeds
    ]


def _by_seed(table: Callable[[], pl.DataFrame], column: str) -> dict[int, float]:
    """A column by seed; empty where the run has not logged it."""
    try:
        return dict(table().select("member", column).iter_rows())
    except DataError:
        return {}


def _starts(known: Mapping[str, Start], theory: bool) -> Callable[[str, ModelConfig], Start]:
    """The exponents of a run's model; models that are the same are computed once."""
    by_model: dict[ModelConfig, Start] = {}

    def start(name: str, model: ModelConfig) -> Start:
        if model not in by_model:
            there = known.get(name, (None, None))
            by_model[model] = exponents_of(model) if there[0] is None and theory else there
        return by_model[model]

    return start


def exponents_of(model: ModelConfig) -> Start:
    """Accumulated exponents at initialization, to four digits; None where there is no theory of the model."""
    try:
        found = exponents(model.network(), norm=model.input_norm(), draws=DRAWS)
    except AuxinError:
        return None, None
    assert found.angle_total is not None
    assert found.gradient_total is not None
    return round(found.angle_total, 4), round(found.gradient_total, 4)


def curve(metrics: pl.DataFrame, split: str, name: str) -> pl.DataFrame:
    """The rows of one metric; raises ``DataError`` when there are none."""
    rows = metrics.filter(split=split, name=name)
    if not len(rows):
        raise DataError(f"the runs have no {name!r} on {split}")
    return rows.with_columns(pl.col("value").fill_nan(None))


def late(metrics: pl.DataFrame, split: str, name: str, settings: Sequence[str]) -> pl.DataFrame:
    """Mean of a metric over the last fifth of each model's steps: run, settings, member, and a column ``name``.

    Null where the last value is: a model that diverged has no outcome.
    """
    rows = curve(metrics, split, name)
    last = pl.col("step").max().over("run")
    rows = rows.filter(pl.col("step") > (1 - LAST) * last)
    value = pl.col("value")
    mean = pl.when(value.sort_by("step").last().is_not_null()).then(value.mean())
    return rows.group_by("run", *settings, "member", maintain_order=True).agg(mean.alias(name))
