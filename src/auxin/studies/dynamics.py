"""Do norms, attention sparsity or tree structure tell which depth will generalize, and do they move first?

Murty et al. 2023 (arXiv 2305.18741), §4.1, Figs. 3b and 4: weight norms and attention sparsity grow at all depths
and do not tell the depth that generalizes; the tree score is highest there, and all models find trees close to gold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from auxin.lab.named import NamedRun
from auxin.lab.sweep_table import curve, late
from auxin.measures.intervals import bands, limits
from auxin.studies.answers import FEWEST, Claim, Finding, Found, Statement, Study, Verdict, finding
from auxin.studies.curves import fewest, first_task
from auxin.studies.design import Scale, apart, base, replace
from auxin.studies.papers import (
    COINCIDES,
    MOST_TREE_STRUCTURED,
    NEAR_GOLD,
    NORMS_DO_NOT_TELL,
    TREES_GENERALIZE,
)
from auxin.studies.statistics import Estimate, contrast, mean, paired, share_contrast, spearman

SETTINGS = ("task", "depth", "kind")
MEASURES = {
    "t_score": "tree score",
    "t_parseval": "tree F1 against gold",
    "weight_norm": "weight norm a layer",
    "attention_sparsity": "attention sparsity",
}
KINDS = {
    "question": {"shallow": 2, "optimal": 6, "deep": 10},
    "tense": {"shallow": 2, "optimal": 4, "deep": 6},
}
"""The published depths."""
VERDICTS: dict[str, Verdict] = {
    "between the two": "supported",
    "higher than both": "contradicted",
    "lower than both": "contradicted",
}
"""On the claim that a measure does not tell the optimal depth, by where that depth stands among the others."""
RIGHT = "t_parseval/right"
"""F1 against gold of right-branching trees, on the sentences that ``t_parseval`` is measured on."""
MATCHING = 0.02
"""F1 by which trees may be below a baseline and match it; the published ones are below by up to 0.004."""
PUBLISHED = 0.885 - 0.842  # final t_score of question, 6 layers against the higher one of 2 and 10


GAP = "{}: optimal depth against the higher of the others"
RANK = "{}: rank correlation with generalization"
LEAD = "{}: steps ahead of generalization"
HIGHEST = Statement(
    "The tree score is highest at the depth that generalizes.", MOST_TREE_STRUCTURED, GAP.format("tree score")
)
BETTER = Statement(
    "Models with a higher tree score generalize better.", TREES_GENERALIZE, RANK.format("tree score")
)
FIRST = Statement("The tree score moves before generalization does.", COINCIDES, LEAD.format("tree score"))
MATCH = Statement(
    "At every depth the model's trees match right-branching ones against gold, or do better.",
    NEAR_GOLD,
    "tree F1 less that of right-branching trees, at the lowest depth",
    above=-MATCHING,
)


def configs(scale: Scale) -> list[NamedRun]:
    """Question at a shallow, the optimal and a deep depth, five seeds each (ten, and tense too, at ``paper``)."""
    runs: list[NamedRun] = []
    for task in ("question", "tense") if scale == "paper" else ("question",):
        config, kinds = replace(base(scale, task), checkpoint_every=0), KINDS[task]
        if scale == "laptop":
            config = replace(config, steps=10_000, seeds=(0, 1, 2, 3, 4), eval_size=500, final_size=500)
            config = replace(config, checkpoint_every=400)
        elif scale == "minutes":
            config = replace(config, seeds=(0, 1))
            kinds = {"shallow": 1, "optimal": 2, "deep": 3}
        config = replace(config, measures=("norms", "entropy", "projection"))
        for kind, depth in kinds.items():
            settings = {"task": task, "depth": depth, "kind": kind}
            runs.append(NamedRun(f"{task}-{kind}", replace(config, model={"depth": depth}), settings))
    return apart(runs, scale)


class Gaps(NamedTuple):
    """A measure at the optimal depth less that at the two others."""

    shallow: Estimate
    deep: Estimate

    @property
    def least(self) -> Estimate:
        """That both are above zero: the lesser of them, and of their bounds."""
        both = np.array([[gap.value, gap.low, gap.high] for gap in self])
        return Estimate(*both.min(0).tolist())

    @property
    def verdict(self) -> str:
        """Whether the optimal depth is higher or lower than both, or between the two."""
        above, below = ([gap.low > 0 for gap in self], [gap.high < 0 for gap in self])
        if all(above):
            return "higher than both"
        if all(below):
            return "lower than both"
        return "between the two" if any(above) and any(below) else "not apart from both"


def _models(metrics: pl.DataFrame) -> pl.DataFrame:
    """Of the first task: generalization accuracy and each measure late in the run."""
    metrics = first_task(metrics)
    models = late(metrics, "gen", "accuracy", SETTINGS)
    right = [RIGHT] if RIGHT in metrics["name"].unique() else []
    for name in (*MEASURES, *right):
        models = models.join(
            late(metrics, "train", name, SETTINGS), on=["run", *SETTINGS, "member"], how="left"
        )
    return models


def _estimates(models: pl.DataFrame, metrics: pl.DataFrame) -> Found:
    """Each measure at the optimal depth against each of the other two, its rank correlation with generalization over
    all models, and how many steps it moves before generalization does."""
    metrics = first_task(metrics)
    gaps = {name: _gaps(models, name) for name in MEASURES}
    found = {name: _measure_findings(name, models, gaps[name], _leads(metrics, name)) for name in MEASURES}
    higher = [MEASURES[name] for name in MEASURES if gaps[name].least.low > 0 and name != "t_score"]
    others = f"{', '.join(higher)} {'is' if len(higher) == 1 else 'are'}" if higher else "No other measure is"
    best, score = _best(models), found["t_score"][0]
    answer = [score.sentence, f"{others[0].upper()}{others[1:]} higher there than at both.", best.sentence]
    findings = [f for group in found.values() for f in group] + [best]
    claims = _claims(findings, gaps, fewest(models, "depth"), best)
    if RIGHT in models.columns and len(models.drop_nulls(["t_parseval", RIGHT])):
        findings.append(_near_gold(models))
        claims.append(MATCH)
    names = [("gen", "accuracy"), *(("train", name) for name in MEASURES)]
    rows = pl.concat([curve(metrics, *name) for name in names], how="vertical_relaxed")
    tables = {"models": models, "curves": bands(rows, ("kind", "depth", "name", "step"))}
    return Found(findings, tables, answer, [score.name, best.name], claims)


def _claims(
    findings: list[Finding], gaps: dict[str, Gaps], models: int, best: Finding
) -> list[Claim | Statement]:
    """That tree structure tells the depth and moves first, and that the other two measures tell nothing.

    What tells the depth that generalizes cannot be judged where another one than the published generalizes better.
    """
    named = {f.name: f for f in findings}
    highest = HIGHEST.judged(named[HIGHEST.finding])
    if best.value < 0:
        highest = highest.doubted(best.sentence)
    claims: list[Claim | Statement] = [highest, BETTER, *([FIRST] if FIRST.finding in named else [])]
    for name in ("weight_norm", "attention_sparsity"):
        title, decides = MEASURES[name], models >= FEWEST and not best.value < 0
        verdict = VERDICTS.get(gaps[name].verdict, "not supported") if decides else "not supported"
        f = named[GAP.format(title)]
        statement = f"The {title} does not tell the depth that generalizes."
        claims.append(Claim(statement, NORMS_DO_NOT_TELL, verdict, f.sentence, f.name))
    return claims


def _near_gold(models: pl.DataFrame) -> Finding:
    """Tree F1 less that of right-branching trees at the depth where it is least."""
    above = models.select("depth", gap=pl.col("t_parseval") - pl.col(RIGHT)).drop_nulls()
    gaps = {depth: mean(group["gap"].to_numpy()) for (depth,), group in above.group_by("depth")}
    depth = min(gaps, key=lambda depth: gaps[depth].value)
    sentence = (
        f"At the end tree F1 against gold is least at depth {depth}, by {gaps[depth].text(3)} above that of "
        "right-branching trees."
    )
    return finding(MATCH.finding, gaps[depth], sentence, models=fewest(models, "depth"))


def _gaps(models: pl.DataFrame, name: str) -> Gaps:
    known = models.drop_nulls(name)
    optimal, *others = (known.filter(kind=kind)[name].to_numpy() for kind in ("optimal", "shallow", "deep"))
    least, most = limits(name)
    return Gaps(*(contrast([optimal, other], [1, -1]).within(least - most, most - least) for other in others))


def _best(models: pl.DataFrame) -> Finding:
    """Whether the depth taken as the optimum generalizes best here, too; the interval allows for the choice
    of the better one of the others."""
    depths = dict(models.select("kind", "depth").unique().iter_rows())
    values = {kind: models.filter(kind=kind)["accuracy"].drop_nulls().to_numpy() for kind in depths}
    optimum = values.pop("optimal")
    leads = {kind: share_contrast([optimum, other], [1, -1], len(values)) for kind, other in values.items()}
    rival = min(leads, key=lambda kind: leads[kind].value)
    lead, own, other = leads[rival], depths["optimal"], depths[rival]
    if lead.value < 0:
        better = f"Here {other} layers generalize better than the {own} taken as the optimum"
        sentence = f"{better}, by {(-lead).points()}."
    elif lead.value >= 0:
        sentence = f"Of these depths {own} layers generalize best: {other} layers are {lead.points()} behind."
    else:
        sentence = "Which depth generalizes best here is undetermined."
    return finding("generalization: optimal depth less the better of the others", lead, sentence)


def _measure_findings(name: str, models: pl.DataFrame, gaps: Gaps, leads: np.ndarray) -> list[Finding]:
    title = MEASURES[name]
    known = models.drop_nulls(name)
    x, y = known[name].to_numpy(), known["accuracy"].to_numpy()
    rank = paired(spearman, x, y)
    apart = (
        f"At the end {title} at the depth taken as the optimum differs by {gaps.shallow.text(3)} from that at the "
        f"shallow depth, by {gaps.deep.text(3)} from that at the deep one: {gaps.verdict}."
    )
    ranks = (
        f"Over {len(x)} models, {title} and generalization at the end have rank correlation {rank.text()}."
    )
    published = PUBLISHED if name == "t_score" else None
    found = [
        finding(GAP.format(title), gaps.least, apart, published, fewest(models, "depth")),
        finding(RANK.format(title), rank, ranks, models=len(models)),
    ]
    if len(leads):
        lead = mean(leads)
        when = "before" if lead.low > 0 else "after" if lead.high < 0 else "about when"
        ahead = (
            f"{title[0].upper()}{title[1:]} is halfway {when} generalization is: {lead.text(0)} steps ahead "
            f"({len(leads)} models that generalize on half of the sentences or more)."
        )
        found.append(finding(LEAD.format(title), lead, ahead, models=len(leads)))
    return found


def _leads(metrics: pl.DataFrame, name: str) -> np.ndarray:
    """Steps by which a measure is halfway ahead of generalization, for each model that generalizes."""
    leads: list[float] = []
    accuracies = curve(metrics, "gen", "accuracy")
    for key, rows in curve(metrics, "train", name).group_by("run", "member", maintain_order=True):
        own = accuracies.filter(run=key[0], member=key[1]).sort("step")
        if own["value"][-1] is not None and own["value"][-1] >= 0.5 and rows["value"].null_count() == 0:
            leads.append(_halfway(own) - _halfway(rows.sort("step")))
    return np.array(leads)


def _halfway(rows: pl.DataFrame) -> float:
    """The first step at which a curve has passed the middle between its first and last values for good."""
    steps, values = rows["step"].to_numpy(), rows["value"].to_numpy()
    start, end = values[0], values[-1]
    short = np.flatnonzero((values - start) * np.sign(end - start) < abs(end - start) / 2)
    return float(steps[min(short[-1] + 1, len(steps) - 1)]) if len(short) else float(steps[0])


STUDY = Study(
    question="Which structural measure tells the depth that generalizes, and does it move before generalization?",
    configs=configs,
    models=_models,
    estimates=_estimates,
)
