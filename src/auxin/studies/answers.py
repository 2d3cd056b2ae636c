"""What a study found: an answer in a sentence, findings with intervals, and the tables that figures draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from auxin.display import Displayed
from auxin.runs.record import runs_as_recorded, write_study
from auxin.studies.design import NamedRun
from auxin.studies.directory import RUNS
from auxin.studies.pool import Outcome
from auxin.studies.statistics import Estimate

if TYPE_CHECKING:
    import polars


Verdict = Literal["supported", "not supported", "contradicted"]


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


FEWEST = 5
"""Models without which no claim is judged: a sign test over fewer cannot reach 5%."""


def judged(statement: str, source: str, estimate: Estimate, evidence: str, models: int) -> Claim:
    """A claim that a number is above zero: contradicted where its whole interval is below.

    ``models`` is how many independent ones the number rests on; an interval of fewer than ``FEWEST`` says little.
    """
    if models < FEWEST:
        return Claim(
            statement, source, "not supported", f"{evidence} Fewer than {FEWEST} models are no test."
        )
    verdict = "supported" if estimate.low > 0 else "contradicted" if estimate.high < 0 else "not supported"
    return Claim(statement, source, verdict, evidence)


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


def finding(name: str, estimate: Estimate, sentence: str, published: float | None = None) -> Finding:
    """A finding whose number is an estimate."""
    return Finding(name, estimate.value, estimate.low, estimate.high, sentence, published)


@dataclass(frozen=True)
class Analysis(Displayed):
    """A study's answer."""

    question: str
    answer: str
    """One sentence with the number that decides and its interval."""
    claims: tuple[Claim, ...]
    findings: tuple[Finding, ...]
    tables: Mapping[str, polars.DataFrame]


def save_study(
    out: str | Path,
    analysis: Analysis,
    metrics: polars.DataFrame,
    runs: Sequence[NamedRun],
    outcomes: Sequence[Outcome],
    about: Mapping[str, Any],
) -> None:
    """Write a study's record into its directory; raises ``RunError`` when it cannot be written.

    ``about`` joins ``study.json``: study, scale, command, sessions, environment.
    """
    ends = [
        {"name": o.name, "status": o.status, "detail": o.detail, "settings": dict(run.settings)}
        for run, o in zip(runs, outcomes, strict=True)
    ]
    shared, rows = runs_as_recorded(ends, Path(out) / RUNS)
    write_study(
        out, {**about, **answer_values(analysis), "shared": shared, "runs": rows}, analysis.tables, metrics
    )


def answer_values(analysis: Analysis) -> dict[str, Any]:
    """What ``study.json`` has of an answer."""
    return {
        "question": analysis.question,
        "answer": analysis.answer,
        "claims": [asdict(claim) for claim in analysis.claims],
        "findings": [asdict(finding) for finding in analysis.findings],
    }
