"""Is generalization an inverted U in depth, and does the training loss explain it?

Murty et al. 2023 (arXiv 2305.18741), §3.1, Fig. 3a, and appendix D, Fig. 5: the share of seeds that are ever above
80%, by depth, and the training loss, which is the same at all depths, so that fit does not explain the depth.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl

from auxin.lab.named import NamedRun
from auxin.lab.table import curve
from auxin.measures.intervals import bands
from auxin.studies.analysis import (
    Claim,
    Finding,
    Found,
    Statement,
    Study,
    fewest,
    finding,
    first_task,
    outcomes,
    summarized,
)
from auxin.studies.design import FIVE_SEEDS, Scale, apart, base
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
)  # fmt: skip
from auxin.values import changed

SETTINGS = ("task", "depth")
DEPTHS = (2, 4, 6, 8, 10)
COMPARABLE = 0.05
"""Nats a token within which training losses are the same: as finely as the published figure can be read."""
PEAK, GAP = "depth of the peak", "largest difference of training loss from the depth that generalizes best"
RISES_AND_FALLS = "Generalization rises and then falls with depth."
SAME = Statement("Models of all depths reach the same training loss.", SAME_LOSS, GAP, below=COMPARABLE)


def configs(scale: Scale) -> list[NamedRun]:
    """Question at depths 2 to 10, five seeds a depth (ten, and tense too, at ``paper``)."""
    tasks = ("question", "tense") if scale == "paper" else ("question",)
    depths = (1, 2, 3) if scale == "minutes" else DEPTHS
    size = {"minutes": {"seeds": [0, 1, 2]}, "laptop": FIVE_SEEDS, "paper": {}}[scale]
    runs: list[NamedRun] = []
    for task, depth in product(tasks, depths):
        config = changed(base(scale, task), size | {"model.depth": depth})
        runs.append(NamedRun(f"{task}-depth{depth}", config, {"task": task, "depth": depth}))
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
    counts = by_depth.select("grokked", "models").iter_rows()
    by_depth = by_depth.hstack(pl.DataFrame([proportion(*count).columns("ever") for count in counts]))
    peak = peak_test(models["depth"].to_numpy().astype(float), models["late"].to_numpy())
    largest, ties = _largest(models, by_depth)
    known = models.drop_nulls("loss")
    trend = paired(spearman, known["depth"].to_numpy(), known["loss"].to_numpy())
    fate = "falls" if trend.high < 0 else "rises" if trend.low > 0 else "does not clearly change"
    answer = _answer(peak, by_depth)
    risen = "supported" if peak.inside else "not supported"
    return Found(
        findings=[
            finding(PEAK, peak.location, " ".join(answer)),
            finding("rise to the peak", peak.rise.within(-1, 1),
                    "From the shallowest to the best depth accuracy rises by {:points}."),
            finding("fall from the peak", peak.fall.within(-1, 1),
                    "From the best to the deepest accuracy falls by {:points}."),
            finding("depth at which the share of seeds ever above 80% is largest", largest,
                    f"The share of seeds ever above 80% is largest at {ties}."),
            finding("rank correlation of depth and training loss", trend,
                    f"Training loss {fate} with depth: rank correlation {{:2}}."),
            _gap(models),
        ],
        tables={
            "models": models,
            "depths": by_depth,
            "training_loss": bands(curve(metrics, "train", "loss"), ("depth", "step"), "loss"),
            "curves": bands(curve(metrics, "gen", "accuracy"), ("depth", "step"), "accuracy"),
        },
        answer=answer,
        answered=[PEAK],
        claims=[Claim(RISES_AND_FALLS, INVERTED_U, risen, " ".join(answer), PEAK), SAME],
    )  # fmt: skip


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
    text = "at most {:3} nats a token" if gaps else "an unknown amount"
    sentence = (
        f"The training loss of a depth differs by {text} from that at depth {best}, which generalizes best."
    )
    return finding(GAP, largest, sentence, models=fewest(models, "depth"))


def _size(difference: Estimate) -> Estimate:
    """The absolute value of a difference."""
    low, high = sorted(map(abs, difference[1:]))
    return Estimate(abs(difference.value), 0.0 if difference.low <= 0 <= difference.high else low, high)


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
    share = f"most often at depth {where} ({count} of {models}, {Estimate(*bounds):%})"
    depths = ", ".join(map(str, by_depth["depth"]))
    if len(by_depth) == 1:
        return [
            f"Depth {depths} alone has no peak to test for; {count} of {models} seeds are ever above 80%."
        ]
    verdict = f"rises and then falls ({p_text(peak.p)})" if peak.inside else f"has {peak.text()}"
    return [
        f"Over depths {depths} generalization {verdict}.",
        f"It is highest at depth {peak.location:0}.",
        f"Seeds are ever above 80% {share if count else 'at none'}.",
    ]


STUDY = Study(
    question="Is generalization an inverted U in depth?",
    configs=configs,
    models=_models,
    estimates=_estimates,
)
