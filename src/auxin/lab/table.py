"""Tables of many runs: all that they logged, and for a sweep a row a trained model, with its exponents at
initialization."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from auxin.architecture.model import ModelConfig
from auxin.errors import AuxinError, DataError
from auxin.experiment.data import Sentences
from auxin.lab.named import NamedRun, Setting
from auxin.lab.places import RUNS, has_finished
from auxin.lab.sweep_record import SweepRun, logged_by, word
from auxin.measures.grokking import grokking_summary
from auxin.runs import Run, open_run
from auxin.theory.exponents import exponents
from auxin.values import check

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


def summary_table(runs: Sequence[SweepRun], known: Mapping[str, Start], theory: bool) -> pl.DataFrame:
    """The rows of the finished runs in their order, and a column for every setting of any run.

    ``known`` are exponents that need not be computed again, by a run's identity; without ``theory`` no others are.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    kinds = {n: _kind([run.settings[n] for run in runs if n in run.settings]) for n in names}
    by_model: dict[ModelConfig, Start] = {}
    rows: list[dict[str, Any]] = []
    for done in (run for run in runs if run.status == "finished"):
        values = {name: done.settings.get(name) for name in names}
        settings = {n: word(v) if v is not None and kinds[n] == pl.String else v for n, v in values.items()}
        run = open_run(done.path)
        if run.config.model not in by_model:
            start = known.get(done.identity, (None, None))
            by_model[run.config.model] = (
                exponents_of(run.config.model) if start[0] is None and theory else start
            )
        angle, gradient = by_model[run.config.model]
        both = {"angle_total": angle, "gradient_total": gradient}
        rows += [{"run": done.name, **settings, **results, **both} for results in _members(run)]
    schema: dict[str, Any] = {"run": pl.String, **kinds, "seed": pl.Int64}
    schema |= {n: pl.Int64 if n in STEPS else pl.Boolean if n in SHARES else pl.Float64 for n in RESULTS}
    return pl.DataFrame(rows, schema=schema)


def _kind(values: Sequence[Setting]) -> Any:
    """The column's type: words where any value is one."""
    if any(isinstance(value, (str, bool)) for value in values):
        return pl.String
    return pl.Float64 if any(isinstance(value, float) for value in values) else pl.Int64


def _members(run: Run) -> list[dict[str, Any]]:
    """The seed of each model and what came out; null for what the run has not logged."""
    metrics = run.metrics.with_columns(run=pl.lit(""))
    means: dict[str, dict[int, float]] = {}
    curves: dict[int, dict[str, Any]] = {}
    for name, split in LATE.items():
        with contextlib.suppress(DataError):
            means[name] = dict(late(metrics, split, name, ()).select("member", name).iter_rows())
    with contextlib.suppress(DataError):
        curves = {row["member"]: row for row in grokking_summary(metrics).members.iter_rows(named=True)}
    accuracy, frozen = (run.summary.get(key, {}) for key in ("accuracy", "frozen"))
    return [
        {
            "seed": seed,
            **{name: means.get(name, {}).get(seed) for name in LATE},
            **{f"accuracy_{split}": accuracy.get(split, {}).get(str(seed)) for split in SPLITS},
            **{name: curves.get(seed, {}).get(name) for name in GROKKING},
            "diverged": frozen.get(str(seed)),
        }
        for seed in run.config.seeds
    ]


def exponents_of(model: ModelConfig) -> Start:
    """Accumulated exponents at initialization, to four digits; None where there is no theory of the model."""
    try:
        found = exponents(model.network(), draws=DRAWS)
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


def logged(runs: Sequence[NamedRun], out: str | Path, data: Sentences | None = None) -> pl.DataFrame:
    """What the finished runs in ``out`` logged, in one tidy table.

    Columns: run (its name), each setting, step, member (its seed), split, name, value. Runs that lack a setting
    have null there. Raises ``RunError`` naming a damaged file.
    """
    directory, data = Path(out) / RUNS, data or Sentences()
    places = [(run, directory / run.name) for run in runs]
    done = [(r.name, r.settings, path) for r, path in places if has_finished(r.config, path, data)]
    check(len(done) > 0, f"finished runs in {directory}", 0, "at least one")
    return logged_by(done)
