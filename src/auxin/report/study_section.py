"""A study on the page: question, answer, claims, figures, numbers, and how it was made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from auxin.report.drawings import Drawings
from auxin.report.markup import Table, duration, number, setting
from auxin.report.stories import SCALES, STORIES
from auxin.report.study_figures import study_figures
from auxin.runs.record import RunRecord, StudyRecord

OF_THE_RUN = ("seeds", "data_seed", "threads", "device")
"""What ``environment.json`` repeats of a run's settings."""


def study_section(study: StudyRecord, name: str, drawings: Drawings) -> dict[str, Any]:
    """What study.html shows of the study as the section ``name``.

    Raises ``RunError`` for a damaged study, ``ConfigError`` for an unknown one.
    """
    drawn, undrawn = study_figures(study.study, study.tables)
    values, story = study.values, STORIES[study.study]
    configs = [run.config for run in study.runs if run.config is not None]
    shared = _shared(configs)
    sentences = {finding["name"]: finding["sentence"] for finding in values["findings"]}
    shown = {*values["answered"], *(claim["finding"] for claim in values["claims"])}
    return {
        "template": "study.html",
        "id": name,
        "title": story.question,
        "setting": story.setting,
        "asked": values["question"],
        "answer": values["answer"],
        "rest": values["more"],
        "figures": drawings.place(drawn),
        "undrawn": undrawn,
        "claims": [_claim(claim, values["answered"], sentences) for claim in values["claims"]],
        "findings": [_finding(finding, shown) for finding in values["findings"]],
        "published": any(finding["published"] is not None for finding in values["findings"]),
        "scale": SCALES.get(values["scale"], f"Scale: {values['scale']}."),
        "command": values["command"],
        "cost": _cost(study),
        "runs": study.runs,
        "unfinished": [run for run in study.runs if run.status != "finished"],
        "configs": len(configs),
        "environment": _environments(study),
        "settings": [(key, setting(value)) for key, value in shared.items()],
        "varied": _runs(study.runs, shared),
    }


def _claim(claim: Mapping[str, str], answered: Sequence[str], sentences: Mapping[str, str]) -> dict[str, str]:
    """The claim; evidence that the answer has given is not given again, but for what is said beside it."""
    if claim["finding"] not in answered:
        return dict(claim)
    beside = claim["evidence"].removeprefix(sentences.get(claim["finding"], ""))
    return {**claim, "evidence": f"as answered above.{beside}"}


def _finding(finding: Mapping[str, Any], shown: Collection[str]) -> dict[str, Any]:
    """A row of the numbers, and its sentence unless the section has it already."""
    low, high, published = (finding[name] for name in ("low", "high", "published"))
    known = low is not None and high is not None
    written = "" if published is None else number(published)
    if known and published is not None:
        written += " (inside)" if low <= published <= high else " (outside)"
    return {
        "name": finding["name"],
        "sentence": "" if finding["name"] in shown else finding["sentence"],
        "value": finding["value"],
        "interval": f"{number(low)} to {number(high)}" if known else "–",
        "published": written,
    }


def _shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that are the same in all of them."""
    first = configs[0] if configs else {}
    return {name: v for name, v in first.items() if all(config.get(name) == v for config in configs)}


def _cost(study: StudyRecord) -> str:
    if not study.runs:
        return "The runs themselves are gone: the figures show what was kept in tables."
    sessions = study.values["sessions"]
    seconds = [run.seconds for run in study.runs if run.seconds is not None]
    workers = sorted({session["workers"] for session in sessions})
    total = duration(sum(session["seconds"] for session in sessions))
    at_a_time = f" (runs at a time: {' or '.join(map(str, workers))})" if workers else ""
    return (
        f"Wall time of training: {total}{at_a_time}; the times of {len(seconds)} of {len(study.runs)} runs "
        f"add up to {duration(sum(seconds))}."
    )


def _environments(study: StudyRecord) -> Table:
    """Versions, commits and machines, a column for each that runs were made with, and one for the answer."""
    made: dict[str, list[str]] = {}
    kinds: dict[str, Mapping[str, Any]] = {}
    for label, environment in [(r.name, r.environment) for r in study.runs if r.environment is not None] + [
        ("the answer", study.values["environment"])
    ]:
        kept = {name: value for name, value in environment.items() if name not in OF_THE_RUN}
        kinds[str(kept)] = kept
        made.setdefault(str(kept), []).append(label)
    names = list(dict.fromkeys(name for kept in kinds.values() for name in kept))
    rows = [(name, *(setting(kept.get(name)) for kept in kinds.values())) for name in names]
    return Table(["", *(_counted(labels, len(study.runs)) for labels in made.values())], rows)


def _counted(labels: Sequence[str], runs: int) -> str:
    answered = "the answer" in labels
    count = len(labels) - answered
    told = [f"{'all' if count == runs else count} runs"] if count else []
    return " and ".join([*told, *(["the answer"] if answered else [])])


def _runs(runs: Sequence[RunRecord], shared: Mapping[str, Any]) -> Table:
    """A row a run with what sets it apart from the others."""
    varied = list(dict.fromkeys(name for run in runs for name in run.config or () if name not in shared))
    rows = [
        [
            run.name,
            run.status,
            *(setting((run.config or {}).get(name)) for name in varied),
            duration(run.seconds) if run.seconds is not None else "–",
        ]
        for run in runs
    ]
    return Table(["run", "status", *varied, "wall time"], rows)
