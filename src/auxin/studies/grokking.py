"""Does generalization come long after in-domain accuracy saturates, and what does stopping early miss?

Murty et al. 2023 (arXiv 2305.18741), §3.1, Fig. 2: several seeds of each task trained far past saturation.
"""

from __future__ import annotations

import polars as pl

from auxin.config import preset
from auxin.measures.intervals import bands, wilson
from auxin.studies.answers import Analysis, Claim, Finding, finding, judged
from auxin.studies.curves import curve, members
from auxin.studies.design import NamedRun, Scale, apart, base, replace
from auxin.studies.papers import EARLY_STOPPING, LATE
from auxin.studies.statistics import UNKNOWN, Estimate, mean, mean_share, mean_size

QUESTION = "Does generalization come long after in-domain accuracy saturates, and is stopping early harmful?"
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
        if scale == "laptop":
            config = replace(preset("laptop", task), seeds=tuple(range(120, 140)), threads=1)
            config = replace(config, steps=STEPS.get(task, config.steps))
        elif scale == "minutes":
            config = replace(base(scale, task), seeds=(0, 1, 2))
        else:
            config = replace(base(scale, task), model={"depth": DEPTHS[task]})
        runs += apart([NamedRun(task, config, {"task": task})], scale)
    return runs


def analyse(metrics: pl.DataFrame) -> Analysis:
    """Early stopping against extended training: the paired difference over seeds, task by task."""
    summaries = members(metrics, SETTINGS)
    claims: list[Claim] = []
    findings: list[Finding] = []
    stopping: list[pl.DataFrame] = []
    for (task,), group in summaries.group_by("task", maintain_order=True):
        numbers = _findings(str(task), group)
        claims += _claims(str(task), numbers, group)
        findings += numbers
        stopping.append(_stopping(str(task), group))
    accuracies = pl.concat(
        [curve(metrics, split, "accuracy") for split in ("val", "gen")], how="vertical_relaxed"
    )
    tables = {
        "seeds": summaries,
        "curves": bands(accuracies, ("task", "split", "step"), "accuracy"),
        "stopping": pl.concat(stopping),
    }
    answer = " ".join(f.sentence for f in findings if f.name.endswith("gain over early stopping"))
    return Analysis(QUESTION, answer, tuple(claims), tuple(findings), tables)


def _stopping(task: str, group: pl.DataFrame) -> pl.DataFrame:
    """Generalization where early stopping selects and at the end: mean over seeds with its interval, published."""
    places = {"early stopping": "early_stopping", "end of training": "final"}
    estimates = [mean_share(group[column].to_numpy()) for column in places.values()]
    return pl.DataFrame(
        {
            "task": task,
            "when": list(places),
            "value": [e.value for e in estimates],
            "low": [e.low for e in estimates],
            "high": [e.high for e in estimates],
            "models": len(group),
            "published": PUBLISHED[task],
        }
    )


def _claims(task: str, findings: list[Finding], group: pl.DataFrame) -> list[Claim]:
    """What the paper says of a task, judged by its findings."""
    named = {f.name: f for f in findings}
    gain, delay = named[f"{task}: gain over early stopping"], named.get(f"{task}: delay")
    later = f"Seeds of {task} that pass 80% generalization do so after in-domain accuracy has passed 99%."
    delayed = Estimate(delay.value - 1, delay.low - 1, delay.high - 1) if delay else UNKNOWN
    return [
        judged(
            f"On {task}, training on past the best in-domain accuracy raises generalization.",
            EARLY_STOPPING,
            Estimate(gain.value, gain.low, gain.high),
            gain.sentence,
            len(group),
        ),
        judged(
            later,
            LATE,
            delayed,
            delay.sentence if delay else "No seed passed both marks.",
            len(group["delay_ratio"].drop_nulls()),
        ),
    ]


def _findings(task: str, group: pl.DataFrame) -> list[Finding]:
    early, final, best = (group[name].to_numpy() for name in ("early_stopping", "final", "best"))
    gain, stopped, ended = mean(final - early).within(-1, 1), mean_share(early), mean_share(final)
    published = PUBLISHED[task]
    direction = "raises" if gain.low > 0 else "lowers" if gain.high < 0 else "changes"
    size = -gain if direction == "lowers" else gain
    n, grokked, relapsed = len(group), int(group["grokked"].sum()), int(group["relapsed"].sum())
    ever = Estimate(grokked / n, *wilson(grokked, n))
    found = [
        finding(
            f"{task}: gain over early stopping",
            gain,
            f"On {task}, training on past the best in-domain accuracy {direction} generalization "
            f"accuracy by {size.points()} over {n} seeds: from {stopped.percent()} where early stopping selects "
            f"to {ended.percent()} at the end.",
            published[1] - published[0],
        ),
        finding(
            f"{task}: generalization at early stopping",
            stopped,
            f"At the first best in-domain accuracy, {task} generalizes on {stopped.percent()}.",
            published[0],
        ),
        finding(
            f"{task}: final generalization",
            ended,
            f"At the end, {task} generalizes on {ended.percent()}; the best evaluation of each seed averages "
            f"{100 * best.mean():.0f}%.",
            published[1],
        ),
        finding(
            f"{task}: ever above 80%",
            ever,
            f"{grokked} of {n} {task} seeds are ever above 80%, {ever.percent()}; {relapsed} of them fall "
            "below 60% again.",
        ),
    ]
    variation = mean_size(group["total_variation"].to_numpy())
    committed = group["committed"].drop_nulls().to_numpy()
    kept = (
        f", committed to a rule {mean_share(committed).percent()} of the time since" if len(committed) else ""
    )
    found.append(
        finding(
            f"{task}: total variation",
            variation,
            f"Generalization on {task} varies by {variation.text(2)} in total (1: a single rise){kept} in-domain "
            "accuracy passed 99%."
            if kept
            else f"Generalization on {task} varies by {variation.text(2)} in total.",
        )
    )
    delays = group["delay_ratio"].drop_nulls().to_numpy()
    if len(delays):
        delay = mean_size(delays)
        found.append(
            finding(
                f"{task}: delay",
                delay,
                f"On {task} generalization passes 80% after {delay.text(1)} times the steps that in-domain "
                f"accuracy takes to 99% ({len(delays)} seeds that did both).",
            )
        )
    return found
