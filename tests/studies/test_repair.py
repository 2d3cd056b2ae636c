import math

import numpy as np
import pytest

from auxin import Block, exponents
from auxin.lab.named import NamedRun
from auxin.studies.repair import DEPTHS, SHARED, STUDY, configs
from studies.synthetic import STEPS, Curves, ramp, table


def ending(published: dict[int, float], held: dict[int, float]):
    """Ends at a level of generalization, in domain a tenth above it."""

    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        line = published if run.settings["line"] == "published" else held
        gen = ramp(0.0, line[int(run.settings["depth"])]) + 0.03 * rng.standard_normal(len(STEPS))
        return {
            ("val", "accuracy"): np.clip(gen + 0.1, 0, 1),
            ("gen", "accuracy"): np.clip(gen, 0, 1),
            ("train", "loss"): ramp(4.0, 1.0) + 0.01 * rng.standard_normal(),
        }

    return log


PUBLISHED = {8: 0.8, 16: 0.2, 24: 0.1}


def test_a_start_that_repairs_all_accounts_for_most() -> None:
    analysis = STUDY.analyse(table(configs("laptop"), ending(PUBLISHED, {16: 0.8, 24: 0.7})))
    assert [claim.verdict for claim in analysis.claims] == ["supported"] * 6
    by_name = {f.name: f for f in analysis.findings}
    assert by_name["generalization: fall with depth"].value == pytest.approx(0.65, abs=0.05)
    assert by_name["generalization: repair"].value == pytest.approx(0.6, abs=0.05)
    assert by_name["generalization: left"].value == pytest.approx(0.05, abs=0.05)
    assert by_name["generalization: repair beyond half"].value == pytest.approx(0.275, abs=0.05)
    assert by_name["in-domain accuracy: repair at 24 layers"].value == pytest.approx(0.6, abs=0.05)
    assert "falls by 6" in analysis.text


def test_a_start_that_repairs_little_does_not_account_for_most() -> None:
    analysis = STUDY.analyse(table(configs("laptop"), ending(PUBLISHED, {16: 0.3, 24: 0.2})))
    verdicts = [claim.verdict for claim in analysis.claims]
    assert verdicts == ["supported", "supported", "contradicted"] * 2


def test_without_a_fall_nothing_is_claimed_and_few_seeds_are_no_test() -> None:
    flat = STUDY.analyse(table(configs("laptop"), ending(dict.fromkeys(DEPTHS, 0.5), {16: 0.5, 24: 0.5})))
    assert "supported" not in [claim.verdict for claim in flat.claims]
    few = [run for run in configs("laptop") if run.config.seeds[0] < 203]
    analysis = STUDY.analyse(table(few, ending(PUBLISHED, {16: 0.8, 24: 0.7})))
    assert {claim.verdict for claim in analysis.claims} == {"not supported"}
    assert analysis.tables["points"]["models"].to_list() == [3] * 5


def test_held_starts_are_those_of_the_shared_depth_and_seeds_come_in_order() -> None:
    runs = configs("laptop")
    assert [run.config.seeds[0] for run in runs] == sorted([200, 201, 202, 203, 204] * 5)
    for run in runs:
        e = exponents(Block.of(run.config.model))
        layers = SHARED if run.settings["line"] == "held" else run.config.model.depth
        assert run.config.model.depth * e.angle == pytest.approx(-layers * math.log(2), rel=1e-4)
        assert run.settings["exponent"] == pytest.approx(-layers * math.log(2), rel=1e-6)
