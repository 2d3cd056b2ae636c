from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from auxin.lab.named import NamedRun
from auxin.models.transformer import TransformerLM
from auxin.studies.analysis import Analysis
from auxin.studies.classification import (
    Logistic,
    area,
    calibration_bins,
    calibration_error,
    resampled,
)
from auxin.studies.failure import SLIPS, STACKS, STUDY, UNIGRAM, configs, model_of
from auxin.studies.prediction import cross_validated
from auxin.tasks import load_task
from auxin.values import changed
from studies.synthetic import STEPS, Curves, ramp, table


@cache
def design() -> tuple[NamedRun, ...]:
    return tuple(configs("laptop")[:320])


def world(chance: Any) -> Analysis:
    """Failures drawn with a probability that depends on settings and totals, which are drawn as well."""

    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        angle, gradient = -6 * rng.random(), 4 * rng.standard_normal()
        fails = rng.random() < chance(run.settings, angle, gradient)
        constant = {
            "angle_total": angle,
            "gradient_total": gradient,
            "near_unit_mass": rng.random(),
            "loss_gradient": 1 + rng.random(),
        }
        return {("train", "loss"): ramp(4.2, 4.1 if fails else 2.0)} | {
            ("train", name): np.full(len(STEPS), value) for name, value in constant.items()
        }

    return STUDY.analyse(table(design(), log))


@pytest.fixture(scope="module")
def totals_decide() -> Analysis:
    return world(lambda s, angle, gradient: 1 / (1 + np.exp(8 + 3 * angle - 0.5 * abs(gradient))))


def test_failures_that_the_totals_decide_are_ranked_and_calibrated(totals_decide: Analysis) -> None:
    verdicts = {claim.statement: claim.verdict for claim in totals_decide.claims}
    for rival in ("gradient norm", "all hyperparameters", "near-unit mass", "rate and depth"):
        assert (
            verdicts[f"On stacks left out, auxin's totals rank failures better than {rival}."] == "supported"
        )
    assert totals_decide.tables["scores"].row(0, named=True)["area"] > 0.85
    assert totals_decide.tables["calibration"]["models"].sum() == 5 * len(design())


def test_failures_of_the_rate_alone_are_no_merit_of_the_totals() -> None:
    found = world(lambda s, angle, gradient: float(s["learning_rate"] > 3e-3))
    verdicts = {claim.statement: claim.verdict for claim in found.claims}
    assert (
        verdicts["On stacks left out, auxin's totals rank failures better than rate and depth."]
        != "supported"
    )
    scores = {row["predictor"]: row["area"] for row in found.tables["scores"].iter_rows(named=True)}
    assert scores["rate and depth"] > 0.95


def test_too_few_stacks_with_both_outcomes_are_no_test() -> None:
    found = world(lambda s, angle, gradient: float(s["stack"] == "no norm" and angle < -3))
    assert {claim.verdict for claim in found.claims[:-1]} == {"not supported"}


def test_every_stack_slip_and_task_is_drawn_and_builds() -> None:
    runs = configs("laptop")
    settings = [run.settings for run in runs]
    assert len(runs) == 1024
    assert {s["stack"] for s in settings} == set(STACKS)
    assert {s["task"] for s in settings} == set(UNIGRAM)
    slipped = [s for s in settings if s["slip"] in SLIPS]
    assert 0.07 < len(slipped) / len(runs) < 0.14
    for stack in STACKS:
        for slip in ("none", *SLIPS):
            at = {"stack": stack, "slip": slip, "depth": 2, "width": 48, "branch_scale": 0.5}
            config = changed(model_of(at), {"vocabulary_size": 9})
            logits = TransformerLM(config, torch.Generator().manual_seed(0))(torch.tensor([[8, 1, 2]])).logits
            assert logits.isfinite().all(), (stack, slip)


@pytest.mark.parametrize("task", UNIGRAM)
def test_the_entropy_of_words_is_that_of_the_training_sentences(task: str) -> None:
    texts = load_task(task, train_size=5000).encoded("train")
    predicted = np.concatenate([text[1:] for text in texts])  # all but <bos>
    share = np.bincount(predicted) / len(predicted)
    assert -(share[share > 0] * np.log(share[share > 0])).sum() == pytest.approx(UNIGRAM[task], abs=1e-4)


def test_logistic_regression_finds_the_odds_and_its_calibration_is_measured() -> None:
    rng = np.random.default_rng(0)
    x, group = rng.standard_normal((3000, 2)), np.repeat([0, 1, 2], 1000)
    truth = 1 / (1 + np.exp(-(0.5 + 2 * x[:, 0] - x[:, 1])))
    failed = rng.random(3000) < truth
    assert np.abs(Logistic(x, failed)(x) - truth).mean() < 0.03
    found, weights = cross_validated(x, failed, group, Logistic), resampled(group)[:200]
    assert weights.sum(1) == pytest.approx(3000)
    assert np.abs(found - truth).mean() < 0.04
    assert area(found, failed, weights, group)[0] == pytest.approx(
        area(truth, failed, weights[:1], group)[0], abs=0.01
    )
    assert calibration_error(found, failed, weights)[0] < 0.03
    assert calibration_error(np.clip(truth + 0.2, 0, 1), failed, weights)[0] > 0.1
    bins = calibration_bins(truth, failed)
    assert bins["models"].to_list() == [300] * 10
    assert (
        (bins["failed_low"] < bins["probability"]) & (bins["probability"] < bins["failed_high"])
    ).sum() >= 8


def test_the_area_is_that_of_all_pairs_within_groups() -> None:
    probability, failed = np.array([0.1, 0.5, 0.5, 0.9, 0.2]), np.array([False, True, False, True, False])
    group = np.array([0, 0, 0, 0, 1])  # the second group has no failure
    pairs = [(p > q) + 0.5 * (p == q) for p in (0.5, 0.9) for q in (0.1, 0.5)]
    assert area(probability, failed, np.ones((1, 5)), group)[0] == pytest.approx(np.mean(pairs))
