"""A study on the page: question, answer, claims, figures, numbers, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auxin.report.drawings import Drawings
from auxin.report.markup import Markup, details, duration, element, join, number, setting, table
from auxin.report.record import RunRecord, StudyRecord
from auxin.report.study_figures import study_figures

OF_THE_RUN = ("seeds", "data_seed", "threads", "device")
"""What ``environment.json`` repeats of a run's settings."""


def study_section(study: StudyRecord, name: str, drawings: Drawings) -> Markup:
    """The study as the section ``name``; raises ``RunError`` for a damaged one, ``ConfigError`` for an unknown."""
    drawn, undrawn = study_figures(study.study, study.tables)
    values = study.values
    return element(
        "section",
        element("h2", values["question"], id=f"{name}-question"),
        element("p", f"Study {study.study}, at {values['scale']} scale.", class_="soft"),
        element("p", values["answer"], class_="answer"),
        _missing(study.runs, undrawn),
        element("h3", "Claims put to the test"),
        element("ul", *map(_claim, values["claims"]), class_="claims"),
        element("h3", "Figures"),
        *map(drawings.place, drawn),
        element("h3", "Numbers"),
        _findings(values["findings"]),
        element("h3", "How it was made"),
        *_making(study),
        id=name,
        aria_labelledby=f"{name}-question",
    )


def _missing(runs: Sequence[RunRecord], undrawn: Sequence[str]) -> Markup:
    """What a study lacks that has not been trained to its end."""
    unfinished = [run for run in runs if run.status != "finished"]
    parts: list[Markup] = []
    if unfinished:
        count = f"{len(unfinished)} of {len(runs)} runs have not finished"
        named = [f"{run.name} {run.status}{run.detail and ': '}{run.detail}" for run in unfinished]
        parts.append(element("p", f"{count}; everything here rests on the others."))
        parts.append(details("Which", *(element("p", line) for line in named)))
    parts += [element("p", f"A figure is missing: {reason}.") for reason in undrawn]
    return element("div", *parts, class_="missing", role="note") if parts else Markup()


def _claim(claim: Mapping[str, Any]) -> Markup:
    verdict = element("span", claim["verdict"], class_="verdict", data_verdict=claim["verdict"])
    source = element("span", f"({claim['source']})", class_="source")
    return element(
        "li",
        element("p", verdict, ": ", claim["statement"]),
        element("p", claim["evidence"], " ", source),
    )


def _findings(findings: Sequence[Mapping[str, Any]]) -> Markup:
    heads = ("what was measured", "here", "95% interval", "published")
    return table("Every number that bears on the question", heads, map(_finding, findings))


def _finding(finding: Mapping[str, Any]) -> list[str]:
    low, high, published = (finding[name] for name in ("low", "high", "published"))
    known = low is not None and high is not None
    written = number(published)
    if known and published is not None:
        written += " (inside)" if low <= published <= high else " (outside)"
    interval = f"{number(low)} to {number(high)}" if known else "–"
    sentence = element("p", finding["sentence"], class_="source")
    return [join([finding["name"], sentence]), number(finding["value"]), interval, written]


def _making(study: StudyRecord) -> list[Markup]:
    """The command, the cost, the machines and every setting."""
    configs = [run.config for run in study.runs if run.config is not None]
    shared = {
        name: value
        for name, value in (configs[0] if configs else {}).items()
        if all(config.get(name) == value for config in configs)
    }
    settings = ((name, setting(value)) for name, value in shared.items())
    return [
        element("p", "This command trains what is missing, and answers again:"),
        element("pre", element("code", study.values["command"])),
        element("p", _cost(study)),
        _environments(study),
        details(f"Settings of all {len(configs)} runs", table("Settings", ("setting", "value"), settings)),
        details(f"The {len(study.runs)} runs", _runs(study.runs, shared)),
    ]


def _cost(study: StudyRecord) -> str:
    sessions = study.values["sessions"]
    seconds = [run.seconds for run in study.runs if run.seconds is not None]
    workers = sorted({session["workers"] for session in sessions})
    total = duration(sum(session["seconds"] for session in sessions))
    at_a_time = f" (runs at a time: {' or '.join(map(str, workers))})" if workers else ""
    return (
        f"Wall time of training: {total}{at_a_time}; the times of {len(seconds)} of {len(study.runs)} runs "
        f"add up to {duration(sum(seconds))}."
    )


def _environments(study: StudyRecord) -> Markup:
    """Versions, commits and machines, a column for each that runs were made with, and one for the answer."""
    made: dict[str, list[str]] = {}
    kinds: dict[str, Mapping[str, Any]] = {}
    for label, environment in [(r.name, r.environment) for r in study.runs if r.environment] + [
        ("the answer", study.values["environment"])
    ]:
        kept = {name: value for name, value in environment.items() if name not in OF_THE_RUN}
        kinds[str(kept)] = kept
        made.setdefault(str(kept), []).append(label)
    names = list(dict.fromkeys(name for kept in kinds.values() for name in kept))
    rows = [(name, *(setting(kept.get(name)) for kept in kinds.values())) for name in names]
    heads = [_counted(labels, len(study.runs)) for labels in made.values()]
    return table("Versions and machine", ("", *heads), rows)


def _counted(labels: Sequence[str], runs: int) -> str:
    answered = "the answer" in labels
    count = len(labels) - answered
    told = [f"{'all' if count == runs else count} runs"] if count else []
    return " and ".join([*told, *(["the answer"] if answered else [])])


def _runs(runs: Sequence[RunRecord], shared: Mapping[str, Any]) -> Markup:
    """A row a run with what sets it apart from the others."""
    varied = list(dict.fromkeys(name for run in runs for name in run.config or () if name not in shared))
    rows = (
        [
            run.name,
            run.status,
            *(setting((run.config or {}).get(name)) for name in varied),
            duration(run.seconds) if run.seconds is not None else "–",
        ]
        for run in runs
    )
    return table("Runs and the settings that vary", ("run", "status", *varied, "wall time"), rows)
