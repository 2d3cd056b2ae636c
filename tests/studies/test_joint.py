import math
import re
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from auxin.architecture.block import Block
from auxin.lab.named import NamedRun
from auxin.studies.joint import DEPTHS, EXPONENTS, STUDY, branch_strength, configs
from auxin.theory.exponents import angle_exponents
from studies.synthetic import Curves, ramp, table

RUNS = [run for run in configs("paper") if run.settings["task"] == "question"]
Share = Callable[[float, float], float]


def by_rule(share: Share, scatter: float = 0.08):
    """Hierarchical answers by depth and exponent; deeper models train slower."""

    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        depth, exponent = float(run.settings["depth"]), float(run.settings["exponent"])
        end = float(np.clip(share(depth, exponent) + scatter * rng.standard_normal(), 0, 1))
        hierarchical = ramp(0.0, end, first=0, last=400)
        return {
            ("train", "loss"): ramp(4.0, 1.02 + 0.002 * depth, last=400 if depth < 8 else 800),
            ("val", "accuracy"): ramp(0, 1),
            ("gen", "hierarchical"): hierarchical,
            ("gen", "linear"): 0.9 * (1 - hierarchical),
            ("gen", "neither"): 0.1 * (1 - hierarchical),
        }

    return log


def single_peak(depth: float, exponent: float) -> float:
    return 0.1 + 0.8 * math.exp(-((exponent + 2) ** 2) / 3)


def deep_collapse(depth: float, exponent: float) -> float:
    return 0.7 if depth <= 4 or exponent >= -1 else 0.2


def depth_alone(depth: float, exponent: float) -> float:
    return {2: 0.2, 4: 0.8, 8: 0.5, 12: 0.1}[int(depth)]


def nothing(depth: float, exponent: float) -> float:
    return 0.5


@pytest.mark.parametrize(
    ("share", "verdict", "supported"),
    [
        (
            single_peak,
            "The rule is one single-peaked function of L·λ_a (H2), highest at −2.0",
            ["H1", "H2"],
        ),
        (
            deep_collapse,
            "In deep models, an initialization far from collapse raises the share",
            ["H1"],
        ),
        (depth_alone, "Depth acts by itself (H3)", ["H3"]),
        (nothing, "Neither L·λ_a nor depth makes a difference", []),
    ],
)
def test_each_truth_gets_its_verdict(share: Share, verdict: str, supported: list[str]) -> None:
    analysis = STUDY.analyse(table(RUNS, by_rule(share)))
    assert analysis.answer.startswith(verdict)
    assert [c.statement[:2] for c in analysis.claims] == ["H1", "H2", "H3"]
    assert [c.statement[:2] for c in analysis.claims if c.verdict == "supported"] == supported


def test_two_effects_fit_none_of_the_hypotheses() -> None:
    mixed = lambda depth, exponent: 0.5 * single_peak(depth, exponent) + 0.5 * depth_alone(depth, exponent)
    assert STUDY.analyse(table(RUNS, by_rule(mixed))).answer.startswith("In deep models, ")


def test_the_contrary_of_the_first_hypothesis_contradicts_it() -> None:
    collapse_helps = lambda depth, exponent: 0.1 + 0.1 * abs(exponent) + 0.02 * (depth - 2)
    analysis = STUDY.analyse(table(RUNS, by_rule(collapse_helps)))
    share = "the share of hierarchical answers"
    lowered = rf"In deep models, an initialization far from collapse lowers {share} by \d+ points"
    assert re.search(lowered, analysis.text)
    assert [claim.verdict for claim in analysis.claims] == ["contradicted", "not supported", "not supported"]


def test_models_are_compared_at_equal_steps_and_at_equal_loss() -> None:
    analysis = STUDY.analyse(table(RUNS, by_rule(single_peak)))
    models = analysis.tables["models"]
    assert len(models) == 5 * len(RUNS)
    late = [single_peak(0, e) for e in models["exponent"]]
    np.testing.assert_allclose(models["hierarchical"], late, atol=0.35)
    by_name = {f.name: f for f in analysis.findings}
    for compared in ("at equal steps", "at equal training loss"):
        assert by_name[f"{compared}: share explained by L·λ_a alone"].low > 0.8
    trained = models.group_by("depth").agg(pl.col("trained").mean()).sort("depth")
    assert trained["trained"].to_list() == [400, 400, 800, 800]  # the first logged steps below 1.10
    assert "240" not in by_name["question, post-norm: trained"].sentence
    assert "120 of 120 models trained" in by_name["question, post-norm: trained"].sentence


def test_the_other_arms_are_tested_for_a_peak() -> None:
    runs = configs("paper")
    analysis = STUDY.analyse(table(runs, by_rule(single_peak)))
    names = {f.name for f in analysis.findings}
    assert {"tense, post-norm: L·λ_a of the peak", "question, pre-norm: L·λ_a of the peak"} <= names
    points = analysis.tables["points"]
    assert len(points) == 3 * len(runs)
    totals = points.group_by("task", "norm", "depth", "exponent").agg(pl.col("share").sum())
    np.testing.assert_allclose(totals["share"], 1, atol=1e-9)


def test_every_arm_says_what_nearness_to_collapse_changes() -> None:
    """Of a share that is 0.1 a unit of L·λ_a: its mean at −4.5 and −7 less that at −0.5 and −1."""
    analysis = STUDY.analyse(table(configs("paper"), by_rule(lambda depth, exponent: -0.1 * exponent)))
    by_name = {f.name: f for f in analysis.findings}
    for arm in ("question, post-norm", "tense, post-norm", "question, pre-norm"):
        found = by_name[f"{arm}: near collapse less far from it"]
        assert found.value == pytest.approx(0.5, abs=0.05)
        assert found.low < found.value < found.high
        assert "L·λ_a ≤ −4.5 instead of ≥ −1 changes the hierarchical share by" in found.sentence


def test_the_design_is_the_stated_one() -> None:
    assert DEPTHS == (2, 4, 8, 12)
    assert EXPONENTS == (-0.5, -1, -2, -3, -4.5, -7)
    for scale in ("laptop", "paper"):
        models: dict[tuple[str, str], set[tuple[object, ...]]] = {}
        for run in configs(scale):
            s = run.settings
            for seed in run.config.seeds:
                models.setdefault((str(s["task"]), str(s["norm"])), set()).add(
                    (s["depth"], s["exponent"], seed)
                )
        assert {arm: len(points) for arm, points in models.items()} == {
            ("question", "post"): 4 * 6 * 5,
            ("tense", "post"): 6 * 5,
            ("question", "pre"): 2 * 6 * 5,
        }


@pytest.mark.parametrize("scale", ["minutes", "laptop", "paper"])
def test_every_point_starts_with_its_exponent(scale: str) -> None:
    runs = {
        str(r.settings["exponent"]) + str(r.settings["depth"]) + str(r.settings["norm"]): r
        for r in configs(scale)
    }
    for run in runs.values():
        model = run.config.model
        angle = float(angle_exponents(Block.of(model), {"sigma_a": 1.0}))
        assert model.depth * angle == pytest.approx(run.settings["exponent"], rel=1e-3)


def test_the_published_models_are_on_the_line() -> None:
    assert branch_strength("post", 6, -6 * math.log(2)) == 1.0
    for b in (0.1, 0.5, 2.0):
        assert branch_strength("post", 1, -math.log(1 + b * b)) == pytest.approx(b, abs=1e-6)
