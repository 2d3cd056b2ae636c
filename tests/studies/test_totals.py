import re
from functools import cache

import numpy as np
import pytest

from auxin import Block, Network, exponents
from auxin.lab.named import NamedRun
from auxin.studies.totals import DEPTHS, RANGES, STUDY, configs, starts
from studies.synthetic import STEPS, Curves, ramp, table


@cache
def some() -> list[NamedRun]:
    """Models of the design that are cheap to propagate."""
    return [run for run in configs("laptop") if run.config.model.depth <= 8][:40]


def ending(loss):
    """Ends at a loss that is a function of totals and settings; starts from what says nothing."""

    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        end = loss(starts(run.settings), run.settings) + 0.02 * rng.standard_normal()
        return {
            ("train", "loss"): np.r_[4, 4 + rng.random(), ramp(4, end)[2:]],
            ("train", "gradient_norm"): np.full(len(STEPS), 1 + rng.random()),
        }

    return log


def test_a_loss_that_the_totals_decide_is_predicted_from_them() -> None:
    def loss(totals: dict[str, float], _: object) -> float:
        return 2.5 - float(np.exp(-(totals["angle_total"] ** 2 + totals["gradient_total"] ** 2) / 30))

    analysis = STUDY.analyse(table(some(), ending(loss)))
    verdicts = {claim.statement: claim.verdict for claim in analysis.claims}
    left_out = "For points left out, totals "
    assert verdicts[left_out + "account for more than half of the variance of the loss."] == "supported"
    assert verdicts[left_out + "predict the loss better than initial gradient norm."] == "supported"
    assert verdicts[left_out + "predict the loss better than initial loss."] == "supported"
    by_name = {f.name: f for f in analysis.findings}
    assert by_name["R² from totals, points left out"].value > 0.8
    assert by_name["both totals near zero: enough"].value == 1


def test_a_loss_of_something_else_is_not() -> None:
    analysis = STUDY.analyse(table(some(), ending(lambda _, at: 2 + at["sigma_a"] / 4)))
    verdicts = {claim.statement: claim.verdict for claim in analysis.claims}
    half = "For points left out, totals account for more than half of the variance of the loss."
    assert verdicts[half] in ("not supported", "contradicted")
    assert (
        verdicts["For points left out, totals predict the loss better than all hyperparameters."]
        == "contradicted"
    )


def test_what_the_totals_miss_is_named_with_the_region() -> None:
    def loss(_: object, at: dict[str, float]) -> float:
        return 2 + 0.3 * (at["depth"] - 7)

    by_name = {f.name: f for f in STUDY.analyse(table(some(), ending(loss))).findings}
    left = by_name["R² of what totals leave, from one hyperparameter"]
    assert "depth alone accounts for" in left.sentence
    assert left.low > 0.3
    region = by_name["error of totals where it is largest, less elsewhere"]
    assert re.search("where depth is [678]( to [78])?: by ", region.sentence)
    assert region.low < region.value < region.high


def test_totals_are_those_of_the_network_that_is_trained() -> None:
    for run in (some()[0], some()[1]):
        model = run.config.model
        found = exponents(Network.repeat(Block.of(model, n_tokens=24), model.depth), n_tokens=24)
        layer, totals = exponents(Block.of(model, n_tokens=24)), starts(run.settings)
        assert totals["angle_total"] == pytest.approx(found.angle_total, rel=1e-9)
        assert totals["gradient_total"] == pytest.approx(found.gradient_total, rel=1e-9)
        assert totals["angle_limit"] == pytest.approx(model.depth * layer.angle, rel=1e-9)
        assert totals["gradient_limit"] == pytest.approx(model.depth * layer.gradient, rel=1e-9)


def test_the_design_fills_its_ranges_with_both_norms() -> None:
    runs = configs("laptop")
    assert len(runs) == 256
    assert [run.settings["norm"] for run in runs[:2]] == ["pre", "post"]
    for name, (low, high) in RANGES.items():
        values = np.array([run.settings[name] for run in runs], float)
        place = (
            np.log(values / low) / np.log(high / low) if "sigma" in name else (values - low) / (high - low)
        )
        assert np.histogram(place, 8, (0, 1))[0].tolist() == [32] * 8
    assert {run.config.model.depth for run in runs} == set(range(DEPTHS[0], DEPTHS[1] + 1))
