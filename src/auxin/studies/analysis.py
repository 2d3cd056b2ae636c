"""A study as a declaration: what is varied, what is read off a model, what is estimated, what was claimed.

``Study.analyse`` turns the tidy metrics of all runs into findings with intervals, verdicts on the claims, an answer in
sentences, and the tables that figures draw. Below it, outcomes of whole runs, read off these metrics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from auxin.display import Displayed
from auxin.lab.named import NamedRun
from auxin.lab.table import curve, late
from auxin.measures.grokking import grokking_summary
from auxin.measures.intervals import limits
from auxin.studies.design import Scale
from auxin.studies.statistics import Estimate, mean

Verdict = Literal["supported", "not supported", "contradicted"]

FEWEST = 5
"""Models without which no claim is judged: a sign test over fewer cannot reach 5%."""


@dataclass(frozen=True)
class Finding:
    """One number that bears on the question."""

    name: str
    """What was measured, in a few words."""
    value: float
    low: float
    high: float
    """The 95% interval; NaN where there is none."""
    sentence: str
    """The finding in words, with its number and interval."""
    published: float | None = None
    """The published number, where there is one."""
    models: int | None = None
    """On how many independent models it rests, the fewest of those compared."""


def finding(
    name: str,
    estimate: Estimate,
    template: str,
    published: float | None = None,
    models: int | None = None,
) -> Finding:
    """A finding whose number is an estimate, which the template calls {}; it may be a whole sentence as well."""
    return Finding(name, *estimate, template.format(estimate), published, models)


@dataclass(frozen=True)
class Claim:
    """A statement that the runs could have proved wrong."""

    statement: str
    """What would be true, in a sentence."""
    source: str
    """Who says so, and where."""
    verdict: Verdict
    evidence: str
    """The numbers that decide, with their intervals, in a sentence."""
    finding: str = ""
    """The finding whose sentence the evidence begins with."""

    def doubted(self, why: str) -> Claim:
        """Not supported, for a reason that is added to the evidence."""
        return dataclasses.replace(self, verdict="not supported", evidence=f"{self.evidence} {why}")


@dataclass(frozen=True)
class Statement:
    """A claim before its verdict, which one finding decides."""

    text: str
    source: str
    finding: str
    """Its name."""
    above: float = 0.0
    """Supported where the whole interval is above this, contradicted where it is below …"""
    below: float | None = None
    """… or the other way round, where this is given."""

    def judged(self, found: Finding | None) -> Claim:
        """The claim with its verdict; not supported without the finding, or with fewer than ``FEWEST`` models."""
        if found is None:
            return Claim(self.text, self.source, "not supported", "No model has this number.")
        over, under = found.low > self.above, found.high < self.above
        if self.below is not None:
            over, under = found.high < self.below, found.low > self.below
        verdict = "supported" if over else "contradicted" if under else "not supported"
        claim = Claim(self.text, self.source, verdict, found.sentence, found.name)
        if found.models is not None and found.models < FEWEST:
            return claim.doubted(f"Fewer than {FEWEST} models are no test.")
        return claim


@dataclass(frozen=True)
class Analysis(Displayed):
    """A study's answer."""

    question: str
    answer: str
    """One sentence with the number that decides and its interval."""
    more: str
    """Further sentences of the answer, or nothing."""
    answered: tuple[str, ...]
    """The findings whose sentences these are."""
    claims: tuple[Claim, ...]
    findings: tuple[Finding, ...]
    tables: Mapping[str, pl.DataFrame]

    @property
    def text(self) -> str:
        """The whole answer."""
        return f"{self.answer} {self.more}".rstrip()


@dataclass(frozen=True)
class Found:
    """What a study's estimates gave."""

    findings: Sequence[Finding]
    tables: Mapping[str, pl.DataFrame]
    answer: Sequence[str] = ()
    """The answer in sentences, where it is more than those of the findings that answer."""
    answered: Sequence[str] = ()
    """Findings that answer the question, by name, beside those that the study names."""
    claims: Sequence[Claim | Statement] = ()
    """Claims beyond those that the study declares, or judged by a rule of their own."""


@dataclass(frozen=True)
class Study:
    """A study as data."""

    question: str
    configs: Callable[[Scale], list[NamedRun]]
    """The runs at a scale."""
    models: Callable[[pl.DataFrame], pl.DataFrame]
    """From the tidy metrics a row a model, with its settings and outcomes."""
    estimates: Callable[[pl.DataFrame, pl.DataFrame], Found]
    """From the models and the metrics."""
    claims: Sequence[Statement] = ()
    answered: Sequence[str] = ()
    """Findings that answer the question, by name."""

    def analyse(self, metrics: pl.DataFrame) -> Analysis:
        """The answer from the table of all finished runs."""
        found = self.estimates(self.models(metrics), metrics)
        named = {f.name: f for f in found.findings}
        answered = tuple(name for name in (*self.answered, *found.answered) if name in named)
        first, *others = found.answer or [named[name].sentence for name in answered]
        claims = tuple(
            claim.judged(named.get(claim.finding)) if isinstance(claim, Statement) else claim
            for claim in (*self.claims, *found.claims)
        )
        more = " ".join(others)
        return Analysis(self.question, first, more, answered, claims, tuple(found.findings), found.tables)


def outcomes(
    metrics: pl.DataFrame, settings: Sequence[str], late_values: Mapping[str, tuple[str, str]] = {}
) -> pl.DataFrame:
    """Every model's grokking summary, and means over the last fifth of the steps.

    Columns: run, the settings, those of ``grokking_summary(…).members``, and those of ``late_values``, each a metric
    of a split.
    """
    rows: list[pl.DataFrame] = []
    for key, group in metrics.group_by("run", *settings, maintain_order=True):
        summary = grokking_summary(group).members
        columns = [pl.lit(v).alias(n) for n, v in zip(("run", *settings), key, strict=True)]
        rows.append(summary.select(*columns, *summary.columns))
    models = pl.concat(rows, how="vertical_relaxed")
    for column, (split, name) in late_values.items():
        values = late(metrics, split, name, settings).rename({name: column})
        models = models.join(values, on=["run", *settings, "member"], how="left")
    return models


def summarized(models: pl.DataFrame, by: Sequence[str], columns: Mapping[str, str]) -> pl.DataFrame:
    """A row a group: ``by``, models, those that ``grokked``, and each column's mean with its interval.

    ``columns`` say what metric each is.
    """
    rows: list[dict[str, object]] = []
    for key, group in models.group_by(by, maintain_order=True):
        row: dict[str, object] = dict(zip(by, key, strict=True))
        row |= {"models": len(group), "grokked": int(group["grokked"].sum())}
        for column, metric in columns.items():
            row |= mean(group[column].drop_nulls().to_numpy(), *limits(metric)).columns(column)
        rows.append(row)
    return pl.DataFrame(rows)


def first_task(metrics: pl.DataFrame) -> pl.DataFrame:
    """The rows of the task that comes first."""
    return metrics.filter(pl.col("task") == metrics["task"][0])


def fewest(models: pl.DataFrame, by: str) -> int:
    """Models in the smallest group."""
    return int(models[by].value_counts()["count"].min())  # pyright: ignore[reportArgumentType]


def first_below(metrics: pl.DataFrame, name: str, threshold: float, settings: Sequence[str]) -> pl.DataFrame:
    """The first logged step at which a training metric is below a threshold, null where it never is.

    Columns: run, settings, member, ``step``.
    """
    below = pl.col("step").filter(pl.col("value") < threshold).min().alias("step")
    return curve(metrics, "train", name).group_by("run", *settings, "member", maintain_order=True).agg(below)
