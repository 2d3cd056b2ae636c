"""Is generalization an inverted U in depth, and does the training loss explain it?

Murty et al. 2023 (arXiv 2305.18741), §3.1, Fig. 3a, and appendix D, Fig. 5: the share of seeds that are ever above
80%, by depth, and the training loss, which is the same at all depths, so that fit does not explain the depth.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from auxin.measures.intervals import bands, wilson
from auxin.studies.answers import Analysis, Claim, Finding, finding, judged
from auxin.studies.curves import curve, late, members
from auxin.studies.design import NamedRun, Scale, apart, base, replace
from auxin.studies.papers import INVERTED_U, SAME_LOSS
from auxin.studies.statistics import (
    UNKNOWN,
    Estimate,
    Peak,
    contrast,
    mean_share,
    mean_size,
    p_text,
    paired,
    peak_test,
    spearman,
)

QUESTION = "Is generalization an inverted U in depth?"
SETTINGS = ("task", "depth")
DEPTHS = (2, 4, 6, 8, 10)
COMPARABLE = 0.05
"""Nats a token within which training losses are the same: as finely as the published figure can be read."""


def configs(scale: Scale) -> list[NamedRun]:
    """Question at depths 2 to 10, five seeds a depth (ten, and tense too, at ``paper``)."""
    runs: list[NamedRun] = []
    for task in ("question", "tense") if scale == "paper" else ("question",):
        config = base(scale, task)
        depths = DEPTHS
        if scale == "laptop":
            config = replace(config, steps=10_000, seeds=(0, 1, 2, 3, 4), eval_size=500, final_size=500)
        elif scale == "minutes":
            config, depths = replace(config, seeds=(0, 1, 2)), (1, 2, 3)
        for depth in depths:
            settings = {"task": task, "depth": depth}
            runs.append(NamedRun(f"{task}-depth{depth}", replace(config, model={"depth": depth}), settings))
    return apart(runs, scale)


def analyse(metrics: pl.DataFrame) -> Analysis:
    """The first task's inverted U: a test of a peak over depths against every monotone curve.

    The response is each seed's generalization accuracy averaged over the last fifth of its steps; the published
    one, the share of seeds ever above 80%, is tested likewise.
    """
    metrics = metrics.filter(pl.col("task") == metrics["task"][0])
    keys = ["run", *SETTINGS, "member"]
    models = members(metrics, SETTINGS)
    for split, name, column in (("gen", "accuracy", "late"), ("train", "loss", "loss")):
        values = late(metrics, split, name, SETTINGS).rename({name: column})
        models = models.join(values, on=keys, how="left")
    by_depth = _by_depth(models)
    depth = models["depth"].to_numpy().astype(float)
    peak = peak_test(depth, models["late"].to_numpy())
    share = peak_test(depth, models["grokked"].to_numpy().astype(float))
    ever, ties = (
        _largest(share, by_depth)
        if min(models["grokked"].n_unique(), len(by_depth)) > 1
        else (UNKNOWN, "no depth")
    )
    rise, fall = peak.rise.within(-1, 1), peak.fall.within(-1, 1)
    known = models.drop_nulls("loss")
    trend = paired(spearman, known["depth"].to_numpy(), known["loss"].to_numpy())
    answer = _answer(peak, by_depth)
    fate = "falls" if trend.high < 0 else "rises" if trend.low > 0 else "does not clearly change"
    findings = (
        finding("depth of the peak", peak.location, answer),
        finding(
            "rise to the peak",
            rise,
            f"From the shallowest to the best depth accuracy rises by {rise.points()}.",
        ),
        finding(
            "fall from the peak",
            fall,
            f"From the best to the deepest accuracy falls by {fall.points()}.",
        ),
        finding(
            "depth at which the share of seeds ever above 80% is largest",
            ever,
            f"The share of seeds ever above 80% is largest at {ties} ({p_text(share.p)}).",
        ),
        finding(
            "rank correlation of depth and training loss",
            trend,
            f"Training loss {fate} with depth: rank correlation {trend.text()}.",
        ),
    )
    gap = _gap(models)
    findings += (gap,)
    losses = bands(curve(metrics, "train", "loss"), ("depth", "step"), "loss")
    curves = bands(curve(metrics, "gen", "accuracy"), ("depth", "step"), "accuracy")
    tables = {"models": models, "depths": by_depth, "training_loss": losses, "curves": curves}
    return Analysis(QUESTION, answer, _claims(peak, gap, findings, models), findings, tables)


def _claims(
    peak: Peak, gap: Finding, findings: tuple[Finding, ...], models: pl.DataFrame
) -> tuple[Claim, ...]:
    fewest = int(models["depth"].value_counts()["count"].min())  # pyright: ignore[reportArgumentType]
    return (
        Claim(
            "Generalization rises and then falls with depth.",
            INVERTED_U,
            "supported" if peak.inside else "not supported",
            findings[0].sentence,
        ),
        judged(
            "Models of all depths reach the same training loss.",
            SAME_LOSS,
            Estimate(COMPARABLE - gap.value, COMPARABLE - gap.high, COMPARABLE - gap.low),
            gap.sentence,
            fewest,
        ),
    )


def _gap(models: pl.DataFrame) -> Finding:
    """By how much the training loss of a depth differs at most from that of the depth that generalizes best.

    Losses are the same within ``COMPARABLE`` where every depth's whole interval is: the interval of the largest
    difference goes from the largest lower bound of any depth to the largest upper one.
    """
    losses = {depth: group["loss"].drop_nulls().to_numpy() for (depth,), group in models.group_by("depth")}
    means = models.group_by("depth").agg(pl.col("late").mean())
    best = means.sort("late", "depth", descending=True, nulls_last=True)["depth"][0]
    gaps = [_size(contrast([own, losses[best]], [1, -1])) for depth, own in losses.items() if depth != best]
    largest = Estimate(*np.max(gaps, axis=0).tolist()) if gaps else UNKNOWN  # NaN where a depth has no loss
    text = f"at most {largest.text(3)} nats a token" if gaps else "an unknown amount"
    return finding(
        "largest difference of training loss from the depth that generalizes best",
        largest,
        f"The training loss of a depth differs by {text} from that at depth {best}, which generalizes best.",
    )


def _size(difference: Estimate) -> tuple[float, float, float]:
    """The absolute value of a difference with its interval."""
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return abs(difference.value), 0.0 if difference.low <= 0 <= difference.high else low, high


def _largest(share: Peak, by_depth: pl.DataFrame) -> tuple[Estimate, str]:
    """The depth at which most seeds are ever above 80%, in an interval that holds all that tie, and in words."""
    tied = by_depth.filter(pl.col("ever") == pl.col("ever").max())["depth"].to_list()
    low, high = min(share.location.low, *tied), max(share.location.high, *tied)
    words = " and ".join(f"depth {depth}" for depth in tied)
    found = Estimate(tied[0], low, high)
    return found, f"{words} {found.bounds(1, 0)}"


def _answer(peak: Peak, by_depth: pl.DataFrame) -> str:
    best = by_depth.filter(pl.col("ever") == pl.col("ever").max())
    count, models, *bounds = best.select("grokked", "models", "ever", "ever_low", "ever_high").row(0)
    where = " and ".join(map(str, best["depth"]))
    share = f"most often at depth {where} ({count} of {models}, {Estimate(*bounds).percent()})"
    depths = ", ".join(map(str, by_depth["depth"]))
    if len(by_depth) == 1:
        return f"Depth {depths} alone has no peak to test for; {count} of {models} seeds are ever above 80%."
    verdict = f"rises and then falls ({p_text(peak.p)})" if peak.inside else f"has {peak.text()}"
    return (
        f"Over depths {depths} generalization {verdict}; it is highest at depth {peak.location.text(0)}; "
        f"seeds are ever above 80% {share if count else 'at none'}."
    )


def _by_depth(models: pl.DataFrame) -> pl.DataFrame:
    """A row a depth: models, grokked, their share ``ever``, late accuracy and loss, each with its interval."""
    rows: list[dict[str, float]] = []
    for (depth,), group in models.sort("depth").group_by("depth", maintain_order=True):
        count, n = int(group["grokked"].sum()), len(group)
        low, high = wilson(count, n)
        row = {
            "depth": depth,
            "models": n,
            "grokked": count,
            "ever": count / n,
            "ever_low": low,
            "ever_high": high,
        }
        for name, average in (("late", mean_share), ("loss", mean_size)):
            estimate = average(group[name].drop_nulls().to_numpy())
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        rows.append(row)
    return pl.DataFrame(rows)
