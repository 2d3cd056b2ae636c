"""What a study found: an answer in a sentence, findings with intervals, and the tables that figures draw.

On disk, in the study's directory, where ``report`` reads it:

- ``study.json``: study, scale, question, answer, claims, findings, runs (name, settings, status, seconds, detail),
  command, sessions, environment.
- ``tables/NAME.csv``: each table; ``study.json`` holds their SHA-256, and its own.
- ``metrics.parquet``: what all finished runs logged, with the varied settings as columns.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from auxin.disk.folder import Folder, failing_clearly
from auxin.disk.plain import dump_signed
from auxin.display import Displayed
from auxin.studies.design import NamedRun
from auxin.studies.directory import LOCK, METRICS, STUDY, TABLES
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
    """Write a study's directory, the tables first; raises ``RunError`` when it cannot be written.

    ``about`` joins ``study.json``: study, scale, command, sessions, environment.
    """
    written = {n: t.write_csv(float_precision=6).encode() for n, t in sorted(analysis.tables.items())}
    parquet = io.BytesIO()
    metrics.write_parquet(parquet)
    record = {
        **about,
        "question": analysis.question,
        "answer": analysis.answer,
        "claims": [asdict(c) for c in analysis.claims],
        "findings": [asdict(f) for f in analysis.findings],
        "tables": list(written),
        "tables_sha256": {name: hashlib.sha256(table).hexdigest() for name, table in written.items()},
        "runs": [
            {**asdict(outcome), "settings": dict(run.settings)}
            for run, outcome in zip(runs, outcomes, strict=True)
        ],
    }
    with (
        Folder.make(out) as folder,
        failing_clearly(folder.path),
        folder.lock(LOCK, "", wait=True),  # for two that answer at a time: a study.json must fit its tables
        folder.make_sub(TABLES) as tables,
    ):
        folder.remove_temporaries()
        tables.remove_temporaries()
        for name, table in written.items():
            tables.replace(f"{name}.csv", table)
        folder.replace(METRICS, parquet.getvalue())
        folder.replace(STUDY, dump_signed(record))
