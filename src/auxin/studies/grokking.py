"""Does generalization come long after in-domain accuracy saturates, and what does stopping early miss?

Murty et al. 2023 (arXiv 2305.18741), §3.1, Fig. 2: several seeds of each task trained far past saturation.
"""

from __future__ import annotations

import polars as pl

from auxin.config import preset
from auxin.lab.named import NamedRun
from auxin.lab.table import curve
from auxin.measures.intervals import bands
from auxin.studies.analysis import Finding, Found, Statement, Study, finding, outcomes
from auxin.studies.design import Scale, apart, base
from auxin.studies.papers import EARLY_STOPPING, LATE
from auxin.studies.statistics import mean, proportion
from auxin.values import changed

SETTINGS = ("task",)

TASKS: dict[Scale, tuple[str, ...]] = {
    "minutes": ("question", "tense"),
    "laptop": ("question", "tense"),
    "paper": ("question", "tense", "dyck"),
}
STEPS = {"tense": 12_000}
"""At ``laptop``, where the preset's are too few to fit a task."""
DEPTHS: dict[str, int] = {"question": 6, "tense": 4, "dyck": 6}
"""Layers of the published runs that early stopping was shown on."""
PUBLISHED = {  # seeds 42 … 132 of the authors' own logs: at the first best in-domain accuracy, and at the end
    "question": (0.073, 0.929),
    "tense": (0.547, 0.835),
    "dyck": (0.985, 1.0),
}


def configs(scale: Scale) -> list[NamedRun]:
    """Ten seeds a task at ``paper``, with Dyck; at ``laptop`` twenty of the preset, question's before tense's."""
    runs: list[NamedRun] = []
    for task in TASKS[scale]:
        config = preset("laptop", task) if scale == "laptop" else base(scale, task)
        changes = {
            "minutes": {"seeds": [0, 1, 2]},
            "laptop": {"seeds": [*range(120, 140)], "threads": 1, "steps": STEPS.get(task, config.steps)},
            "paper": {"model.depth": DEPTHS[task]},
        }[scale]
        runs += apart([NamedRun(task, changed(config, changes), {"task": task})], scale)
    return runs


def _estimates(models: pl.DataFrame, metrics: pl.DataFrame) -> Found:
    """Early stopping against extended training: the paired difference over seeds, task by task."""
    findings: list[Finding] = []
    claims: list[Statement] = []
    stopping: list[dict[str, object]] = []
    tasks = models["task"].unique(maintain_order=True).to_list()
    for task in tasks:
        group = models.filter(task=task)
        findings += _findings(task, group)
        raises = f"On {task}, training on past the best in-domain accuracy raises generalization."
        after = f"Seeds of {task} that pass 80% generalization do so after in-domain accuracy has passed 99%."
        claims += [
            Statement(raises, EARLY_STOPPING, f"{task}: gain over early stopping"),
            Statement(after, LATE, f"{task}: delay", above=1),
        ]
        places = {"early stopping": "early_stopping", "end of training": "final"}
        for (when, column), published in zip(places.items(), PUBLISHED[task], strict=True):
            value, low, high = mean(group[column].to_numpy(), 0, 1)
            row = {"task": task, "when": when, "value": value, "low": low, "high": high}
            stopping.append(row | {"models": len(group), "published": published})
    rows = [curve(metrics, split, "accuracy") for split in ("val", "gen")]
    accuracies = pl.concat(rows, how="vertical_relaxed")
    tables = {
        "seeds": models,
        "curves": bands(accuracies, ("task", "split", "step"), "accuracy"),
        "stopping": pl.DataFrame(stopping),
    }
    answered = [f"{task}: gain over early stopping" for task in tasks]
    return Found(findings, tables, answered=answered, claims=claims)


def _findings(task: str, group: pl.DataFrame) -> list[Finding]:
    columns = {name: group[name].drop_nulls().to_numpy() for name in group.columns[2:]}
    early, final, committed, delays = (
        columns[name] for name in ("early_stopping", "final", "committed", "delay_ratio")
    )
    n, grokked, relapsed = len(group), int(group["grokked"].sum()), int(group["relapsed"].sum())
    gain, stopped, ended = mean(final - early).within(-1, 1), mean(early, 0, 1), mean(final, 0, 1)
    direction = "raises" if gain.low > 0 else "lowers" if gain.high < 0 else "changes"
    published = PUBLISHED[task]
    kept = (
        f" (1: a single rise), committed to a rule {mean(committed, 0, 1):%} of the time since in-domain accuracy "
        "passed 99%"
    )
    rows = (
        ("gain over early stopping", gain, published[1] - published[0],
         f"On {task}, training on past the best in-domain accuracy {direction} generalization accuracy by "
         f"{-gain if direction == 'lowers' else gain:points} over {n} seeds: from {stopped:%} where early stopping "
         f"selects to {ended:%} at the end."),
        ("generalization at early stopping", stopped, published[0],
         f"At the first best in-domain accuracy, {task} generalizes on {{:%}}."),
        ("final generalization", ended, published[1],
         f"At the end, {task} generalizes on {{:%}}; the best evaluation of each seed averages "
         f"{100 * columns['best'].mean():.0f}%."),
        ("ever above 80%", proportion(grokked, n), None,
         f"{grokked} of {n} {task} seeds are ever above 80%, {{:%}}; {relapsed} of them fall below 60% again."),
        ("total variation", mean(columns["total_variation"], 0), None,
         f"Generalization on {task} varies by {{:2}} in total{kept if len(committed) else ''}."),
        ("delay", mean(delays, 0), None,
         f"On {task} generalization passes 80% after {{:1}} times the steps that in-domain accuracy takes to 99% "
         f"({len(delays)} seeds that did both)."),
    )  # fmt: skip
    return [
        finding(f"{task}: {name}", e, sentence, known, len(delays) if name == "delay" else n)
        for name, e, known, sentence in rows
        if name != "delay" or len(delays)
    ]


STUDY = Study(
    question="Does generalization come long after in-domain accuracy saturates, and is stopping early harmful?",
    configs=configs,
    models=lambda metrics: outcomes(metrics, SETTINGS),
    estimates=_estimates,
)
