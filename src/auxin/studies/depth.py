"""Is generalization an inverted U in depth, and does the training loss explain it?

Murty et al. 2023 (arXiv 2305.18741), §3.1, Fig. 3a, and appendix D, Fig. 5: the share of seeds that are ever above
80%, by depth, and the training loss, which is the same at all depths, so that fit does not explain the depth.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from auxin.lab.named import NamedRun
from auxin.lab.sweep_table import curve
from auxin.measures.intervals import bands
from auxin.studies.answers import Claim, Finding, Found, Statement, Study, finding
from auxin.studies.curves import fewest, first_task, outcomes, summarized
from auxin.studies.design import Scale, apart, base, replace
from auxin.studies.papers import INVERTED_U, SAME_LOSS
from auxin.studies.statistics import (
    UNKNOWN,
    Estimate,
    Peak,
    contrast,
    p_text,
    paired,
    peak_test,
    proportion,
    spearman,
)

SETTINGS = ("task", "depth")
DEPTHS = (2, 4, 6, 8, 10)
COMPARABLE = 0.05
"""Nats a token within which training losses are the same: as finely as the published figure can be read."""
PEAK, GAP = "depth of the peak", "largest difference of training loss from the depth that generalizes best"
SAME = Statement("Models of all depths reach the same training loss.", SAME_LOSS, GAP, below=COMPARABLE)


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


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    """Of the first task: grokking summaries, and generalization (``late``) and training loss late in the run."""
    late_values = {"late": ("gen", "accuracy"), "loss": ("train", "loss")}
    return outcomes(first_task(metrics), SETTINGS, late_values)


def _estimates(models: pl.DataFrame, metrics: pl.DataFrame) -> Found:
    """A test of a peak over depths against every monotone curve, of each seed's accuracy late in the run.

    The published response, the share of seeds ever above 80%, is tested likewise.
    """
    metrics = first_task(metrics)
    by_depth = summarized(models.sort("depth"), ("depth",), {"late": "accuracy", "loss": "loss"})
    ever = [
        proportion(*counts).columns("ever") for counts in by_depth.select("grokked", "models").iter_rows()
    ]
    by_depth = by_depth.hstack(pl.DataFrame(ever))
    depth = models["depth"].to_numpy().astype(float)
    peak = peak_test(depth, models["late"].to_numpy())
    rise, fall = peak.rise.within(-1, 1), peak.fall.within(-1, 1)
    largest, ties = _largest(models, by_depth)
    known = models.drop_nulls("loss")
    trend = paired(spearman, known["depth"].to_numpy(), known["loss"].to_numpy())
    fate = "falls" if trend.high < 0 else "rises" if trend.low > 0 else "does not clearly change"
    answer = _answer(peak, by_depth)
    findings = (
        finding(PEAK, peak.location, " ".join(answer)),
        finding("rise to the peak", rise,
                f"From the shallowest to the best depth accuracy rises by {rise.points()}."),
        finding("fall from the peak", fall,
                f"From the best to the deepest accuracy falls by {fall.points()}."),
        finding("depth at which the share of seeds ever above 80% is largest", largest,
                f"The share of seeds ever above 80% is largest at {ties}."),
        finding("rank correlation of depth and training loss", trend,
                f"Training loss {fate} with depth: rank correlation {trend.text()}."),
        _gap(models),
    )  # fmt: skip
    risen = Claim(
        "Generalization rises and then falls with depth.",
        INVERTED_U,
        "supported" if peak.inside else "not supported",
        " ".join(answer),
        PEAK,
    )
    tables = {
        "models": models,
        "depths": by_depth,
        "training_loss": bands(curve(metrics, "train", "loss"), ("depth", "step"), "loss"),
        "curves": bands(curve(metrics, "gen", "accuracy"), ("depth", "step"), "accuracy"),
    }
    return Found(findings, tables, answer, [PEAK], (risen, SAME))


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
    sentence = (
        f"The training loss of a depth differs by {text} from that at depth {best}, which generalizes best."
    )
    return finding(GAP, largest, sentence, models=fewest(models, "depth"))


def _size(difference: Estimate) -> tuple[float, float, float]:
    """The absolute value of a difference with its interval."""
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return abs(difference.value), 0.0 if difference.low <= 0 <= difference.high else low, high


def _largest(models: pl.DataFrame, by_depth: pl.DataFrame) -> tuple[Estimate, str]:
    """The depth at which most seeds are ever above 80%, in an interval that holds all that tie, and in words."""
    share = peak_test(models["depth"].to_numpy().astype(float), models["grokked"].to_numpy().astype(float))
    if min(models["grokked"].n_unique(), len(by_depth)) == 1:
        return UNKNOWN, f"no depth ({p_text(share.p)})"
    tied = by_depth.filter(pl.col("ever") == pl.col("ever").max())["depth"].to_list()
    low, high = min(share.location.low, *tied), max(share.location.high, *tied)
    found = Estimate(tied[0], low, high)
    words = " and ".join(f"depth {depth}" for depth in tied)
    return found, f"{words} {found.bounds(0)}: {p_text(share.p)}"


def _answer(peak: Peak, by_depth: pl.DataFrame) -> list[str]:
    best = by_depth.filter(pl.col("ever") == pl.col("ever").max())
    count, models, *bounds = best.select("grokked", "models", "ever", "ever_low", "ever_high").row(0)
    where = " and ".join(map(str, best["depth"]))
    share = f"most often at depth {where} ({count} of {models}, {Estimate(*bounds).percent()})"
    depths = ", ".join(map(str, by_depth["depth"]))
    if len(by_depth) == 1:
        return [
            f"Depth {depths} alone has no peak to test for; {count} of {models} seeds are ever above 80%."
        ]
    verdict = f"rises and then falls ({p_text(peak.p)})" if peak.inside else f"has {peak.text()}"
    return [
        f"Over depths {depths} generalization {verdict}.",
        f"It is highest at depth {peak.location.text(0)}.",
        f"Seeds are ever above 80% {share if count else 'at none'}.",
    ]


STUDY = Study(
    question="Is generalization an inverted U in depth?",
    configs=configs,
    models=_models,
    estimates=_estimates,
)
