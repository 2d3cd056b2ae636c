"""Does the accumulated angle exponent at initialization, L·λ_a, decide which rule a model learns?

Depth and exponent are confounded in published models (post-norm, skip 1, branch 1: λ_a = −ln 2 a layer). Here
the branch strength b, with λ_a = −ln(1 + b²), sets the exponent at every depth.

Three hypotheses are judged on the share of answers by the hierarchical rule, by rules that were fixed before the
runs (docs/joint-study.md), at 5%:

- H1, collapse hurts deep models: in deep ones, an initialization far from collapse raises the share above that of the
  published one (branch 1), up to that of shallow ones as published, and in those it does nothing.
- H2, one single-peaked function of L·λ_a: the share has a peak inside the exponents' range, and the exponent alone
  accounts for more than half of the differences among points.
- H3, depth acts by itself: it matters at equal exponents, and alone accounts for more than the exponent alone.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import brentq

from auxin.architecture.block import Block, NormPlacement
from auxin.config import ModelConfig
from auxin.errors import DataError
from auxin.lab.named import NamedRun
from auxin.lab.table import curve, late
from auxin.measures.intervals import bands
from auxin.studies.analysis import FEWEST, Claim, Finding, Found, Study, finding, first_below
from auxin.studies.design import Scale, apart, base
from auxin.studies.statistics import (
    Array,
    mean,
    p_text,
    peak_test,
    proportion,
    share_contrast,
    two_factors,
    written,
)
from auxin.theory.exponents import angle_exponents
from auxin.values import changed

SHALLOW, DEEP, NEAR = 4, 8, -1.0
"""H1 compares depth SHALLOW with depths of at least DEEP (where a scale lacks them: the smallest, the largest),
and exponents of at least NEAR with the published start, L·λ_a = −L·ln 2 or the grid's exponent next to it."""
LEVEL, HALF = 0.05, 0.5


class Evidence:
    """The tests of one response over crossed depths and exponents, and what follows for the hypotheses.

    ``models`` has columns depth, exponent and the response; models without a response are left out.
    """

    def __init__(self, models: pl.DataFrame, response: str) -> None:
        known = models.drop_nulls(response)
        if not len(known):
            raise DataError(f"no model has its {response!r} share; allowed: one or more")
        self._depth, self._exponent, self._share = (
            known[name].to_numpy().astype(float) for name in ("depth", "exponent", response)
        )
        self.factors = f = two_factors(self._exponent, self._depth, self._share)
        self.peak = peak_test(self._exponent, self._share)
        depths = np.unique(self._depth)
        self.near = min(NEAR, float(self._exponent.max()))
        deep = self._starts(depths[depths >= DEEP] if depths[-1] >= DEEP else depths[-1:])
        shallow = self._starts(depths[depths == SHALLOW] if SHALLOW in depths else depths[:1])
        enough = min(map(len, [*deep, *shallow])) >= FEWEST
        self.deep, self.shallow = share_contrast(deep, [1, -1]), share_contrast(shallow, [1, -1])
        self.gap = share_contrast([*deep, *shallow], [1, -1, -1, 1])
        self.rest = share_contrast([deep[0], shallow[1]], [1, -1])
        repaired = self.deep.low > 0 and self.gap.low > 0 and self.rest.high >= 0
        self.h1 = enough and repaired and self.shallow.low <= 0 <= self.shallow.high
        self.h2 = self.peak.inside and f.p_first < LEVEL and f.by_first.low > HALF
        self.h3 = f.p_second < LEVEL and f.by_second.low > f.by_first.high
        self.harmful = enough and self.deep.high < 0
        """Whether an initialization far from collapse does the opposite of what H1 says."""

    def _starts(self, depths: Array) -> list[Array]:
        """Shares of the models initialized far from collapse, and of those initialized as published."""
        exponents = np.unique(self._exponent)
        published = np.zeros(len(self._depth), bool)
        for depth in depths:
            start = exponents[np.abs(exponents + depth * math.log(2)).argmin()]
            published |= (self._depth == depth) & (self._exponent == start)
        far = np.isin(self._depth, depths) & (self._exponent >= self.near)
        return [self._share[far], self._share[published]]

    def verdict(self) -> list[str]:
        """The answer in sentences, the headline first."""
        f = self.factors
        numbers = (
            f"Alone, L·λ_a accounts for {f.by_first:%} of the differences among points and depth for "
            f"{f.by_second:%} ({p_text(f.p_first)} and {p_text(f.p_second)})."
        )
        down = self.deep.high < 0
        moves = "lowers" if down else "raises" if self.deep.low > 0 else "changes"
        repair = (
            f"In deep models, an initialization far from collapse {moves} the share of hierarchical answers by "
            f"{-self.deep if down else self.deep:points} (in shallow ones it changes by {self.shallow:points})."
        )
        if self.h2:
            peak = f"The rule is one single-peaked function of L·λ_a (H2), highest at {self.peak.location:1}."
            return [peak, numbers, *(["H1 holds, too.", repair] if self.h1 else [])]
        if self.h1:
            return [repair, "So H1 says.", numbers]
        if self.h3:
            return ["Depth acts by itself (H3).", numbers]
        if math.isnan(f.p_first):
            return ["These models cannot tell: with one a point there is no scatter to compare with."]
        if min(f.p_first, f.p_second) >= LEVEL:
            return ["Neither L·λ_a nor depth makes a difference that these runs can show.", numbers]
        return [repair, "None of the three hypotheses holds.", numbers]

    def claims(self) -> tuple[Claim, ...]:
        """The three hypotheses, each with the numbers that its rule looks at."""
        f = self.factors
        cases = (
            ("H1: deep models fail because their initialization is near collapse; one far from it repairs them, and "
             "does nothing for shallow ones.", self.h1,
             f"An initialization far from collapse changes deep models by {self.deep:points} and shallow ones by "
             f"{self.shallow:points}; repaired deep models differ from shallow published ones by "
             f"{self.rest:points}."),
            ("H2: generalization is one single-peaked function of L·λ_a, the same at every depth.", self.h2,
             f"A peak inside the range: {p_text(self.peak.p)}; L·λ_a alone accounts for {f.by_first:%} of the "
             f"differences among points ({p_text(f.p_first)})."),
            ("H3: neither of these; depth acts by itself.", self.h3 and not (self.h1 or self.h2),
             f"Depth at equal L·λ_a: {p_text(f.p_second)}; alone it accounts for {f.by_second:%} of the "
             f"differences, L·λ_a for {f.by_first:%}."),
        )  # fmt: skip
        return tuple(
            Claim(
                statement,
                "stated before the runs",
                "supported" if met else "contradicted" if self.harmful and i == 0 else "not supported",
                evidence,
            )
            for i, (statement, met, evidence) in enumerate(cases)
        )

    def findings(self, compared: str) -> list[Finding]:
        """Every number that the hypotheses are judged by; ``compared`` says at what models are compared."""
        f, peak, near = self.factors, self.peak, written(self.near, "g")
        rows = (
            ("share explained by L·λ_a alone", f.by_first,
             f"L·λ_a alone accounts for {{:%}} of the differences among points ({p_text(f.p_first)} at equal depth)."),
            ("share explained by depth alone", f.by_second,
             f"Depth alone accounts for {{:%}} of the differences among points ({p_text(f.p_second)} at equal L·λ_a, "
             "the test of one function for all depths)."),
            ("L·λ_a of the peak", peak.location,
             f"Over L·λ_a there is {peak.text()}; the share is highest at {{:1}}."),
            ("repair of deep models", self.deep,
             f"L·λ_a ≥ {near} instead of the published initialization changes deep models by {{:points}}."),
            ("the same for shallow models", self.shallow,
             f"It changes shallow models by {{:points}}; deep ones by {self.gap:points} more."),
            ("what repair leaves", self.rest,
             f"Deep models with L·λ_a ≥ {near} differ from shallow published ones by {{:points}}."),
        )  # fmt: skip
        return [finding(f"{compared}: {name}", e, f"Compared {compared}: {s}") for name, e, s in rows]


SETTINGS = ("task", "norm", "depth", "exponent", "branch")
RULES = ("hierarchical", "linear", "neither")

DEPTHS = (2, 4, 8, 12)
EXPONENTS = (-0.5, -1.0, -2.0, -3.0, -4.5, -7.0)
TRAINED = {"question": 1.10}
"""Training loss (nats a token) below which a model counts as trained."""
ABOVE_LOWEST = 1.08
"""The same for other tasks, as a multiple of the lowest loss that any model of the task reaches."""
REACHED = 0.9
"""Models are compared at the lowest training loss that this share of them reaches."""


def configs(scale: Scale) -> list[NamedRun]:
    """Depths × exponents × five seeds on question; one depth on tense; two depths with pre-norm."""
    exponents, size = EXPONENTS, {"seeds": [0, 1, 2, 3, 4]}
    arms: list[tuple[str, NormPlacement, tuple[int, ...]]] = [
        ("question", "post", DEPTHS), ("tense", "post", (4,)), ("question", "pre", (4, 12)),
    ]  # fmt: skip
    if scale == "minutes":
        exponents, size = (-0.5, -2.0, -7.0), {"seeds": [0, 1]}
        arms = [("question", "post", (1, 2)), ("tense", "post", (1,)), ("question", "pre", (1,))]
    elif scale == "laptop":
        size |= {"steps": 1500, "log_every": 150, "checkpoint_every": 1500, "eval_size": 500}
        size |= {"final_size": 500}
    runs: list[NamedRun] = []
    for task, norm, depths in arms:  # one after another: the first decides
        points: list[NamedRun] = []
        for depth, exponent in product(depths, exponents):
            b = branch_strength(norm, depth, exponent)
            skip = math.sqrt(1 - b * b) if norm == "pre" else 1.0
            model = {"norm": norm, "depth": depth, "attention_skip": skip, "mlp_skip": skip}
            model |= {"attention_branch": b, "mlp_branch": b}
            config = changed(base(scale, task), size | {f"model.{name}": v for name, v in model.items()})
            settings = {"task": task, "norm": norm, "depth": depth, "exponent": exponent, "branch": b}
            points.append(NamedRun(f"{task}-{norm}-depth{depth}-exponent{exponent:g}", config, settings))
        runs += apart(points, scale)
    return runs


@cache
def branch_strength(norm: NormPlacement, depth: int, exponent: float) -> float:
    """The branch strength b at which depth·λ_a is ``exponent``, to six digits.

    Post-norm: skip 1, so that λ_a = −ln(1 + b²) (attention shrinks angles by 1 + b², a relu MLP keeps them).
    Pre-norm: skip √(1 − b²), without which the norm grows for ever and λ_a falls to 0 on the way; b is solved for,
    with λ_a at the norm's fixed point.
    """
    if norm == "post":
        return round(math.sqrt(math.expm1(-exponent / depth)), 6)
    block = Block.of(ModelConfig(norm="pre"))

    def excess(b: float) -> float:
        return depth * float(angle_exponents(block, {"alpha_attention": b, "alpha_mlp": b})) - exponent

    return round(float(brentq(excess, 1e-4, 1 - 1e-9)), 6)  # pyright: ignore[reportArgumentType]


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    arms = [_outcomes(arm) for _, arm in metrics.group_by("task", "norm", maintain_order=True)]
    return pl.concat(arms, how="vertical_relaxed")


def _estimates(models: pl.DataFrame, metrics: pl.DataFrame) -> Found:
    """Judge H1, H2 and H3 by post-norm question models at equal steps, and again at equal training loss; then the
    single peak in the other arms."""
    main = models.filter(task="question", norm="post")
    evidence = Evidence(main, "hierarchical")
    findings = evidence.findings("at equal steps")
    findings += Evidence(main, "matched").findings("at equal training loss")
    for (task, norm), arm in models.group_by("task", "norm", maintain_order=True):
        findings += _arm_findings(f"{task}, {norm}-norm", arm, main=(task, norm) == ("question", "post"))
    points: list[dict[str, Any]] = []
    for key, point in models.group_by(SETTINGS, maintain_order=True):
        counts = {"models": len(point), "trained": len(point["trained"].drop_nulls())}
        for rule in RULES:
            value, low, high = mean(point[rule].to_numpy(), 0, 1)
            row = dict(zip(SETTINGS, key, strict=True)) | {"rule": rule}
            points.append(row | {"share": value, "low": low, "high": high} | counts)
    shares = pl.concat([curve(metrics, "gen", rule) for rule in RULES], how="vertical_relaxed")
    tables = {
        "models": models,
        "points": pl.DataFrame(points),
        "curves": bands(shares, ("task", "norm", "depth", "exponent", "name", "step")),
    }
    return Found(findings, tables, evidence.verdict(), claims=evidence.claims())


def _outcomes(arm: pl.DataFrame) -> pl.DataFrame:
    """A row a model of one task and norm.

    Columns: run, settings, member; the three shares and in-domain accuracy, late in the run; the lowest ``loss``;
    ``trained``, the step at which the loss is first below the task's mark; ``matched``, the share of hierarchical
    answers when the loss is first at the level that nine of ten models reach.
    """
    keys = ["run", *SETTINGS, "member"]
    losses = curve(arm, "train", "loss")
    models = losses.group_by(keys, maintain_order=True).agg(pl.col("value").min().alias("loss"))
    lowest = models["loss"].drop_nulls().to_numpy()
    if not len(lowest):
        raise DataError(f"all {len(models)} models of {arm['task'][0]} diverged; allowed: one that did not")
    mark = TRAINED.get(arm["task"][0]) or ABOVE_LOWEST * float(lowest.min())
    level = float(np.quantile(lowest, REACHED))
    trained = first_below(arm, "loss", mark, SETTINGS).rename({"step": "trained"})
    reached = first_below(arm, "loss", level * (1 + 1e-9), SETTINGS)
    matched = curve(arm, "gen", "hierarchical").join(reached, on=[*keys, "step"])
    columns = [late(arm, "gen", rule, SETTINGS) for rule in RULES]
    columns += [late(arm, "val", "accuracy", SETTINGS).rename({"accuracy": "in_domain"}), trained]
    columns.append(matched.select(*keys, pl.col("value").alias("matched")))
    for column in columns:
        models = models.join(column, on=keys, how="left", maintain_order="left")
    return models


def _arm_findings(title: str, arm: pl.DataFrame, main: bool) -> list[Finding]:
    """How many models of an arm trained; the hierarchical share where exponents are in the third nearest to collapse,
    less that in the farthest; and outside the main arm whether its shares have a peak."""
    steps = arm["trained"].drop_nulls().to_numpy().astype(float)
    speed = f", after {mean(steps, 0):0} steps" if len(steps) else ""
    levels = arm["exponent"].unique().sort().to_list()
    third = max(1, len(levels) // 3)
    near, far = (
        arm.filter(pl.col("exponent").is_in(end))["hierarchical"].to_numpy()
        for end in (levels[:third], levels[-third:])
    )
    start = f"L·λ_a ≤ {written(levels[third - 1], 'g')} instead of ≥ {written(levels[-third], 'g')}"
    rows = [
        ("trained", proportion(len(steps), len(arm)),
         f"{len(steps)} of {len(arm)} models trained to the mark, {{:%}}{speed}."),
        ("near collapse less far from it", share_contrast([near, far], [1, -1]),
         f"{start} changes the hierarchical share by {{:points}}."),
    ]  # fmt: skip
    if not main:
        peak = peak_test(arm["exponent"].to_numpy(), arm["hierarchical"].to_numpy())
        text = f"over L·λ_a {peak.text()}; the share is highest at {{:1}}."
        rows.append(("L·λ_a of the peak", peak.location, text))
    return [finding(f"{title}: {name}", e, f"{title}: {text}") for name, e, text in rows]


STUDY = Study(
    question="Does the accumulated angle exponent at initialization, L·λ_a, decide which rule a model learns?",
    configs=configs,
    models=_models,
    estimates=_estimates,
)
