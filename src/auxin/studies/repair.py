"""Do deep models fail because of depth, or because their initialization is near collapse?

With branches of strength b the accumulated angle exponent L·λ_a = −L·ln(1 + b²) falls with depth L. Each depth is
trained as published, b = 1, and again *held*: with the b whose L·λ_a is that of eight layers with b = 1, near the
best value of the joint study. What holding repairs was the start's doing. The plan is docs/repair-study.md.
"""

from __future__ import annotations

import math

import polars as pl

from auxin.measures.intervals import bands
from auxin.studies.answers import Analysis, Claim, Finding, finding, judged
from auxin.studies.curves import curve, late, members
from auxin.studies.design import NamedRun, Scale, apart, base, replace
from auxin.studies.joint import branch_strength
from auxin.studies.statistics import Array, mean_share, mean_size, share_contrast

QUESTION = "Do deep models fail because of depth, or because their initialization is near collapse?"
SETTINGS = ("depth", "line", "branch", "exponent")
DEPTHS = (8, 16, 24)
SHARED = 8
"""Layers at which the two lines meet: b is 1 on both."""
OUTCOMES = {"in-domain accuracy": "in_domain", "generalization": "late"}
SOURCE = "stated before the runs"


def configs(scale: Scale) -> list[NamedRun]:
    """Question at three depths, as published and held, five seeds each."""
    config = base(scale)
    depths, shared, seeds = DEPTHS, SHARED, range(200, 205)
    if scale == "laptop":
        config = replace(config, steps=3000, eval_size=500, final_size=500)
    elif scale == "minutes":
        depths, shared, seeds = (1, 2, 4), 1, range(2)
    config = replace(config, seeds=tuple(seeds))
    runs: list[NamedRun] = []
    for depth in depths:
        lines = {"published": depth, "held": shared}
        if depth == shared:
            del lines["held"]
        for line, layers in lines.items():
            exponent = -layers * math.log(2)
            b = 1.0 if line == "published" else branch_strength("post", depth, exponent)
            settings = {"depth": depth, "line": line, "branch": b, "exponent": round(exponent, 6)}
            model = {"depth": depth, "attention_branch": b, "mlp_branch": b}
            runs.append(NamedRun(f"depth{depth}-{line}", replace(config, model=model), settings))
    return apart(runs, scale)


def analyse(metrics: pl.DataFrame) -> Analysis:
    """The fall from the shared depth to depths of at least twice that, and how much of it holding L·λ_a repairs.

    Outcomes of a model are means over the last fifth of its steps: ``in_domain`` and ``late`` (generalization)
    accuracy, and training ``loss``; a model that diverged has none.
    """
    models = members(metrics, SETTINGS)
    measured = [("val", "accuracy", "in_domain"), ("gen", "accuracy", "late"), ("train", "loss", "loss")]
    for split, name, column in measured:
        values = late(metrics, split, name, SETTINGS).rename({name: column})
        models = models.join(values, on=["run", *SETTINGS, "member"], how="left")
    findings: list[Finding] = []
    claims: list[Claim] = []
    for what, column in reversed(OUTCOMES.items()):  # generalization is the headline
        own, judgements = _fall_and_repair(models.drop_nulls(column), what, column)
        findings += own
        claims += judgements
    tables = {
        "models": models,
        "points": _points(models),
        "curves": bands(curve(metrics, "gen", "accuracy"), ("line", "depth", "step"), "accuracy"),
        "training_loss": bands(curve(metrics, "train", "loss"), ("line", "depth", "step"), "loss"),
    }
    answer = " ".join(f.sentence for f in findings[:2])
    return Analysis(QUESTION, answer, tuple(claims), tuple(findings), tables)


def _fall_and_repair(models: pl.DataFrame, what: str, column: str) -> tuple[list[Finding], list[Claim]]:
    held = models.filter(line="held")["depth"].unique().sort().to_list()
    shared = models.filter(~pl.col("depth").is_in(held))["depth"].unique().to_list()[0]

    def values(line: str, *depths: int) -> Array:
        return models.filter(pl.col("line") == line, pl.col("depth").is_in(depths))[column].to_numpy()

    deep = [depth for depth in held if depth >= 2 * shared]
    best, published, repaired = values("published", shared), values("published", *deep), values("held", *deep)
    fall = share_contrast([best, published], [1, -1])
    repair = share_contrast([repaired, published], [1, -1])
    left = share_contrast([best, repaired], [1, -1])
    most = share_contrast(
        [repaired, best, published], [1, -0.5, -0.5]
    )  # half of the fall less what is left of it
    depths = " and ".join(map(str, deep))
    found = [
        finding(
            f"{what}: fall with depth",
            fall,
            f"With branches of strength 1, {what} falls by {fall.points()} from {shared} to {depths} layers.",
        ),
        finding(
            f"{what}: repair",
            repair,
            f"Held at the L·λ_a of {shared} layers, {depths} layers gain {repair.points()} of {what}.",
        ),
        finding(f"{what}: left", left, f"What is left of that fall in {what} is {left.points()}."),
        finding(
            f"{what}: repair beyond half",
            most,
            f"Half of the fall in {what} less what is left of it is {most.points()}.",
        ),
    ]
    for depth in held:
        change = share_contrast([values("held", depth), values("published", depth)], [1, -1])
        sentence = f"At {depth} layers holding L·λ_a changes {what} by {change.points()}."
        found.append(finding(f"{what}: repair at {depth} layers", change, sentence))
    models_each = min(len(best), len(published), len(repaired))
    statements = (
        (f"With branches of strength 1 {what} falls with depth.", fall, found[0]),
        (f"An initialization held at the best L·λ_a raises {what} of deep models.", repair, found[1]),
        (f"The initialization accounts for most of the fall in {what}.", most, found[3]),
    )
    claims = [judged(text, SOURCE, e, f.sentence, models_each) for text, e, f in statements]
    return found, claims


def _points(models: pl.DataFrame) -> pl.DataFrame:
    """A row a point: its settings, models, those ever above 80%, and the outcomes with their intervals."""
    rows: list[dict[str, object]] = []
    for key, group in models.sort("line", "depth").group_by(SETTINGS, maintain_order=True):
        row: dict[str, object] = dict(zip(SETTINGS, key, strict=True))
        row |= {"models": len(group), "grokked": int(group["grokked"].sum())}
        for name, average in (("in_domain", mean_share), ("late", mean_share), ("loss", mean_size)):
            estimate = average(group[name].drop_nulls().to_numpy())
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        rows.append(row)
    return pl.DataFrame(rows)
