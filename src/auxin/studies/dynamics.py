"""Do norms, attention sparsity or tree structure tell which depth will generalize, and do they move first?

Murty et al. 2023 (arXiv 2305.18741), §4.1, Figs. 3b and 4: weight norms and attention sparsity grow at all depths
and do not tell the depth that generalizes; the tree score is highest there, and all models find trees close to gold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from auxin.lab.named import NamedRun
from auxin.lab.table import curve, late
from auxin.measures.intervals import bands, limits
from auxin.studies import papers
from auxin.studies.analysis import (
    FEWEST,
    Claim,
    Finding,
    Found,
    Statement,
    Study,
    Verdict,
    fewest,
    finding,
    first_task,
)
from auxin.studies.design import FIVE_SEEDS, Scale, apart, base
from auxin.studies.statistics import Array, Estimate, contrast, mean, paired, share_contrast, spearman
from auxin.values import changed

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
NEAREST = "tree F1 less that of right-branching trees, at the lowest depth"
CLAIMS = [
    Statement(text, source, name.format("tree score"))
    for text, source, name in (
        ("The tree score is highest at the depth that generalizes.", papers.MOST_TREE_STRUCTURED, GAP),
        ("Models with a higher tree score generalize better.", papers.TREES_GENERALIZE, RANK),
        ("The tree score moves before generalization does.", papers.COINCIDES, LEAD),
    )
]
MATCH = Statement(
    "At every depth the model's trees match right-branching ones against gold, or do better.",
    papers.NEAR_GOLD,
    NEAREST,
    above=-MATCHING,
)


def configs(scale: Scale) -> list[NamedRun]:
    """Question at a shallow, the optimal and a deep depth, five seeds each (ten, and tense too, at ``paper``)."""
    size = {
        "minutes": {"seeds": [0, 1], "checkpoint_every": 0},
        "laptop": {**FIVE_SEEDS, "checkpoint_every": 400},
        "paper": {"checkpoint_every": 0},
    }[scale] | {"measures": ["norms", "entropy", "projection"]}
    runs: list[NamedRun] = []
    for task in ("question", "tense") if scale == "paper" else ("question",):
        kinds = KINDS[task] if scale != "minutes" else {"shallow": 1, "optimal": 2, "deep": 3}
        for kind, depth in kinds.items():
            config = changed(base(scale, task), size | {"model.depth": depth})
            runs.append(NamedRun(f"{task}-{kind}", config, {"task": task, "depth": depth, "kind": kind}))
    return apart(runs, scale)


class Gaps(NamedTuple):
    """A measure at the optimal depth less that at the two others."""

    shallow: Estimate
    deep: Estimate

    @property
    def least(self) -> Estimate:
        """That both are above zero: the lesser of them, and of their bounds."""
        return Estimate(*np.min(self, axis=0).tolist())

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
        values = late(metrics, "train", name, SETTINGS)
        models = models.join(values, on=["run", *SETTINGS, "member"], how="left")
    return models


def _estimates(models: pl.DataFrame, metrics: pl.DataFrame) -> Found:
    """Each measure at the optimal depth against each of the other two, its rank correlation with generalization over
    all models, and how many steps it moves before generalization does."""
    metrics, count = first_task(metrics), fewest(models, "depth")
    gaps = {name: _gaps(models, name) for name in MEASURES}
    found = {name: _measured(name, models, gaps[name], _leads(metrics, name)) for name in MEASURES}
    higher = [MEASURES[name] for name in MEASURES if gaps[name].least.low > 0 and name != "t_score"]
    others = f"{', '.join(higher)} {'is' if len(higher) == 1 else 'are'}" if higher else "No other measure is"
    best, score = _best(models), found["t_score"][0]
    findings = [f for group in found.values() for f in group] + [best]
    named = {f.name: f for f in findings}
    # what tells the depth that generalizes cannot be judged where another than the published generalizes better
    beaten = best.value < 0
    highest, *rest = CLAIMS
    first = highest.judged(named[highest.finding])
    claims: list[Claim | Statement] = [first.doubted(best.sentence) if beaten else first]
    claims += [claim for claim in rest if claim.finding in named]
    for name in ("weight_norm", "attention_sparsity"):
        decides = count >= FEWEST and not beaten
        verdict = VERDICTS.get(gaps[name].verdict, "not supported") if decides else "not supported"
        f = named[GAP.format(MEASURES[name])]
        statement = f"The {MEASURES[name]} does not tell the depth that generalizes."
        claims.append(Claim(statement, papers.NORMS_DO_NOT_TELL, verdict, f.sentence, f.name))
    if RIGHT in models.columns and len(models.drop_nulls(["t_parseval", RIGHT])):
        findings.append(_near_gold(models))
        claims.append(MATCH)
    names = [("gen", "accuracy"), *(("train", name) for name in MEASURES)]
    rows = pl.concat([curve(metrics, *name) for name in names], how="vertical_relaxed")
    return Found(
        findings,
        tables={"models": models, "curves": bands(rows, ("kind", "depth", "name", "step"))},
        answer=[score.sentence, f"{others[0].upper()}{others[1:]} higher there than at both.", best.sentence],
        answered=[score.name, best.name],
        claims=claims,
    )


def _near_gold(models: pl.DataFrame) -> Finding:
    """Tree F1 less that of right-branching trees at the depth where it is least."""
    above = models.select("depth", gap=pl.col("t_parseval") - pl.col(RIGHT)).drop_nulls()
    gaps = {depth: mean(group["gap"].to_numpy()) for (depth,), group in above.group_by("depth")}
    depth = min(gaps, key=lambda depth: gaps[depth].value)
    template = (
        f"At the end tree F1 against gold is least at depth {depth}, by {{:3}} above that of right-branching "
        "trees."
    )
    return finding(NEAREST, gaps[depth], template, models=fewest(models, "depth"))


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
        sentence = f"{better}, by {-lead:points}."
    elif lead.value >= 0:
        sentence = f"Of these depths {own} layers generalize best: {other} layers are {lead:points} behind."
    else:
        sentence = "Which depth generalizes best here is undetermined."
    return finding("generalization: optimal depth less the better of the others", lead, sentence)


def _measured(name: str, models: pl.DataFrame, gaps: Gaps, leads: Array) -> list[Finding]:
    title, known = MEASURES[name], models.drop_nulls(name)
    rank = paired(spearman, known[name].to_numpy(), known["accuracy"].to_numpy())
    apart = (
        f"At the end {title} at the depth taken as the optimum differs by {gaps.shallow:3} from that at the "
        f"shallow depth, by {gaps.deep:3} from that at the deep one: {gaps.verdict}."
    )
    ranks = f"Over {len(known)} models, {title} and generalization at the end have rank correlation {{:2}}."
    published = PUBLISHED if name == "t_score" else None
    found = [
        finding(GAP.format(title), gaps.least, apart, published, fewest(models, "depth")),
        finding(RANK.format(title), rank, ranks, models=len(models)),
    ]
    if len(leads):
        lead = mean(leads)
        when = "before" if lead.low > 0 else "after" if lead.high < 0 else "about when"
        ahead = (
            f"{title[0].upper()}{title[1:]} is halfway {when} generalization is: {{:0}} steps ahead "
            f"({len(leads)} models that generalize on half of the sentences or more)."
        )
        found.append(finding(LEAD.format(title), lead, ahead, models=len(leads)))
    return found


def _leads(metrics: pl.DataFrame, name: str) -> Array:
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
