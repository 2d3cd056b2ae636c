import numpy as np
import pytest

from auxin.config import RunConfig
from auxin.lab.named import NamedRun
from auxin.runs.store import PLACES
from auxin.studies import depth
from auxin.studies.design import Scale
from auxin.studies.dynamics import MEASURES, STUDY, configs
from auxin.values import flat
from studies.synthetic import Curves, ramp, table


def structured(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
    """Tree scores are highest at the optimal depth, move 200 steps ahead and follow generalization from model to
    model; the other measures are alike."""
    optimal = run.settings["kind"] == "optimal"
    noise = 0.01 * rng.standard_normal(4)
    return {
        ("gen", "accuracy"): ramp(0.2, (0.95 if optimal else 0.6) + noise[0], first=300, last=900),
        ("train", "t_score"): ramp(0.5, (0.88 if optimal else 0.82) + noise[0], first=100, last=600),
        ("train", "t_parseval"): ramp(0.5, 0.7 + noise[2]),
        ("train", "weight_norm"): ramp(10, 50),
        ("train", "attention_sparsity"): ramp(-2, -1 + noise[3]),
    }


def test_what_tells_the_optimal_depth() -> None:
    analysis = STUDY.analyse(table(configs("laptop"), structured))
    by_name = {f.name: f for f in analysis.findings}
    score = by_name["tree score: optimal depth against the higher of the others"]
    assert score.value == pytest.approx(0.06, abs=0.02)
    assert score.low > 0
    assert score.published == pytest.approx(0.043)
    assert ": higher than both." in analysis.text
    norm = by_name["weight norm a layer: optimal depth against the higher of the others"]
    assert "not apart from both" in norm.sentence
    assert by_name["tree score: rank correlation with generalization"].low > 0
    lead = by_name["tree score: steps ahead of generalization"]
    assert 200 <= lead.value <= 400  # halfway at 350 and 600, at logged steps 400 and 600 or 800
    assert "before" in lead.sentence
    assert "15 models" in lead.sentence
    assert [claim.verdict for claim in analysis.claims] == [*3 * ["supported"], *2 * ["not supported"]]


def monotone(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
    """All measures rise with depth, so that the optimal one is above the mean of the others, and below one."""
    level = {"shallow": 0.5, "optimal": 0.95, "deep": 0.99}[str(run.settings["kind"])]
    noise = 0.005 * rng.standard_normal(len(MEASURES))
    grokked = seed == 0 and level == 0.95
    own = {("train", name): ramp(0.1, level + noise[i]) for i, name in enumerate(MEASURES)}
    return {("gen", "accuracy"): ramp(0.2, 0.95 if grokked else 0.3), **own}


def test_what_lies_between_the_others_does_not_tell_and_one_model_is_no_test_of_a_lead() -> None:
    analysis = STUDY.analyse(table(configs("laptop"), monotone))
    verdicts = {claim.statement: claim.verdict for claim in analysis.claims}
    assert verdicts["The tree score is highest at the depth that generalizes."] == "contradicted"
    assert verdicts["The tree score moves before generalization does."] == "not supported"
    assert verdicts["The weight norm a layer does not tell the depth that generalizes."] == "supported"
    assert "No other measure is higher there" in analysis.text


@pytest.mark.parametrize(("at_optimum", "words"), [(0.9, "higher than both"), (0.1, "lower than both")])
def test_a_measure_that_sets_the_optimal_depth_apart_contradicts_that_it_does_not(
    at_optimum: float, words: str
) -> None:
    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        level = at_optimum if run.settings["kind"] == "optimal" else 0.5
        norm = {("train", "weight_norm"): ramp(0.3, level + 0.005 * rng.standard_normal())}
        return structured(run, seed, rng) | norm

    claims = {claim.statement: claim for claim in STUDY.analyse(table(configs("laptop"), log)).claims}
    claim = claims["The weight norm a layer does not tell the depth that generalizes."]
    assert claim.verdict == "contradicted"
    assert words in claim.evidence


@pytest.mark.parametrize(
    ("at_shallow", "verdict"), [(0.72, "supported"), (0.695, "supported"), (0.5, "contradicted")]
)
def test_whether_trees_match_right_branching_ones(at_shallow: float, verdict: str) -> None:
    """Right-branching trees have an F1 of 0.7 here; a little less than that matches."""

    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        level = at_shallow if run.settings["kind"] == "shallow" else 0.8
        f1 = ramp(0.5, level + 0.002 * rng.standard_normal())
        baseline = ("train", "t_parseval/right"), ramp(0.7, 0.7)
        return structured(run, seed, rng) | {("train", "t_parseval"): f1, baseline[0]: baseline[1]}

    analysis = STUDY.analyse(table(configs("laptop"), log))
    (claim,) = (c for c in analysis.claims if "right-branching" in c.statement)
    assert claim.verdict == verdict
    assert "least at depth 2" in claim.evidence
    (found,) = (f for f in analysis.findings if "right-branching" in f.name)
    assert found.value == pytest.approx(at_shallow - 0.7, abs=0.005)


def deeper(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
    """As ``structured``, but that ten layers generalize better than the published six."""
    late = {"shallow": 0.3, "optimal": 0.6, "deep": 0.9}[str(run.settings["kind"])]
    return structured(run, seed, rng) | {("gen", "accuracy"): ramp(0.2, late + 0.01 * rng.standard_normal())}


def test_a_published_optimum_that_another_depth_beats_is_not_called_optimal() -> None:
    assert (
        "Of these depths 6 layers generalize best" in STUDY.analyse(table(configs("laptop"), structured)).text
    )
    analysis = STUDY.analyse(table(configs("laptop"), deeper))
    told = "Here 10 layers generalize better than the 6 taken as the optimum, by 30 points"
    assert told in analysis.text
    assert "at the optimal depth" not in analysis.text
    assert analysis.claims[0].verdict == "not supported"
    assert told in analysis.claims[0].evidence


def test_tables_follow_every_measure() -> None:
    tables = STUDY.analyse(table(configs("laptop"), structured)).tables
    assert set(tables["curves"]["name"]) == {"accuracy", *MEASURES}
    assert set(tables["models"].columns) >= {"kind", "accuracy", *MEASURES}
    assert len(tables["models"]) == 15


def test_a_shallow_an_optimal_and_a_deep_model_are_measured() -> None:
    for scale in ("minutes", "laptop", "paper"):
        runs = configs(scale)
        assert {run.settings["kind"] for run in runs} == {"shallow", "optimal", "deep"}
        assert all(set(run.config.measures) == {"norms", "entropy", "projection"} for run in runs)
        depths = {run.settings["kind"]: run.settings["depth"] for run in runs}
        assert depths["shallow"] < depths["optimal"] < depths["deep"]


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_every_run_serves_the_depth_study_too(scale: Scale) -> None:
    """A run that takes measures, too, has every number of one that takes none."""

    def wanted(config: RunConfig) -> dict[str, object]:
        free = {*PLACES, "measures", "checkpoint_every"}
        return {name: value for name, value in flat(config).items() if name not in free}

    others = [wanted(other.config) for other in depth.configs(scale)]
    for run in configs(scale):
        if run.config.task == "question":
            assert wanted(run.config) in others, run.name
