from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from auxin.lab.named import NamedRun
from auxin.models.transformer import TransformerLM
from auxin.studies.analysis import Analysis
from auxin.studies.architectures import checked, flagged
from auxin.studies.failure import model_of
from auxin.studies.remedies import (
    ARMS,
    AS_IT_IS,
    FLAGGED,
    RATES,
    STUDY,
    TARGETED,
    arms,
    configs,
    drawn,
)
from auxin.values import changed
from studies.synthetic import Curves, ramp, table


@cache
def design() -> tuple[NamedRun, ...]:
    return tuple(configs("laptop"))


def world(change: Any) -> Analysis:
    """Losses of a model that depend on its draw, its rate and what its arm changes."""

    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        own = np.random.default_rng([list(FLAGGED).index(str(run.settings["stack"])), seed]).random()
        end = 2 + own + 0.3 * (run.settings["learning_rate"] != RATES[1]) + change(run.settings["arm"])
        return {("train", "loss"): ramp(4.2, end + 0.05 * rng.standard_normal())}

    return STUDY.analyse(table(design(), log))


def test_a_rule_that_helps_is_told_from_those_that_do_nothing_or_harm() -> None:
    changes = {ARMS[0]: -0.3, ARMS[1]: 0.3}
    found = world(lambda arm: changes.get(arm, 0.0))
    verdicts = [claim.verdict for claim in found.claims]
    assert verdicts[:2] == ["supported", "contradicted"]
    effects = found.tables["effects"].filter(stack="all")
    for arm, change in zip(ARMS, (-0.3, 0.3, 0, 0), strict=True):
        (row,) = effects.filter(arm=arm).iter_rows(named=True)
        assert row["change"] == pytest.approx(change, abs=0.05)
    assert set(found.tables["models"]["learning_rate"]) == {RATES[1]}


def test_what_diverges_is_a_guess_and_a_model_without_all_rates_is_left_out() -> None:
    metrics = table(
        design()[:-1],
        lambda run, *_: {("train", "loss"): ramp(4.2, 2 if run.settings["arm"] == AS_IT_IS else np.nan)},
    )
    models = STUDY.models(metrics)
    last = design()[-1].settings
    assert models.filter(stack=last["stack"], draw=last["draw"], arm=last["arm"]).is_empty()
    assert models.filter(arm=TARGETED)["change"].to_numpy() == pytest.approx(np.log(71) - 2)


@pytest.mark.parametrize(("stack", "draw"), [("post-norm", 5), ("no norm", 1), ("post-norm", 4)])
def test_models_of_the_design_are_those_that_the_check_flags(stack: str, draw: int) -> None:
    report = checked(model_of(drawn(stack, draw)), draw)
    assert flagged(report) == (draw in FLAGGED[stack])
    if flagged(report):
        assert report.remedies(-1.0)[-1].branch == pytest.approx(FLAGGED[stack][draw], rel=2e-3)


def test_arms_multiply_branches_and_skips_and_nothing_else() -> None:
    model = changed(model_of(drawn("post-norm", 5)), {"vocabulary_size": 9})
    weights = {
        arm: dict(TransformerLM(own, torch.Generator().manual_seed(0)).named_parameters())
        for arm, own in arms(model, 0.2).items()
    }
    assert list(weights) == [AS_IT_IS, *ARMS]
    for arm, factor in zip(ARMS, (14**-0.5, 1 / 7, 56**-0.5, 0.2), strict=True):
        ratios = {
            round((p.norm() / weights[AS_IT_IS][name].norm()).item(), 5)
            for name, p in weights[arm].items()
            if p.norm() > 0
        }
        assert ratios == {1.0, round(factor, 5)}
    assert arms(model, 0.2)["DeepNorm"].mlp_skip == pytest.approx(14**0.25)
