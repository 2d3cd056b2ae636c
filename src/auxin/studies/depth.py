"""Is generalization an inverted U in depth, and does the training loss explain it?

Murty et al. 2023 (arXiv 2305.18741), §5, Figs. 3a and 5: the share of seeds that are ever above 80%, by depth, and
the training loss, which keeps falling with depth.
"""

from __future__ import annotations

import polars as pl

from auxin.measures.intervals import wilson
from auxin.studies.answers import Analysis, Claim, Finding, finding, judged
from auxin.studies.curves import bands, curve, late, members
from auxin.studies.design import NamedRun, Scale, apart, base, replace
from auxin.studies.statistics import (
    UNKNOWN,
    Estimate,
    Peak,
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
    losses = bands(curve(metrics, "train", "loss"), ("depth",))
    curves = bands(curve(metrics, "gen", "accuracy"), ("depth",))
    tables = {"models": models, "depths": by_depth, "training_loss": losses, "curves": curves}
    return Analysis(QUESTION, answer, _claims(peak, trend, findings, len(known)), findings, tables)


def _claims(peak: Peak, trend: Estimate, findings: tuple[Finding, ...], models: int) -> tuple[Claim, ...]:
    return (
        Claim(
            "Generalization rises and then falls with depth.",
            "Murty et al. 2023, §5, Fig. 3a",
            "supported" if peak.inside else "not supported",
            findings[0].sentence,
        ),
        judged(
            "Training loss keeps falling with depth.",
            "Murty et al. 2023, §5, Fig. 5",
            -trend,
            findings[-1].sentence,
            models,
        ),
    )


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
