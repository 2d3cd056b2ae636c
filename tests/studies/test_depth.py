import numpy as np
import polars as pl
import pytest

from auxin.lab.named import NamedRun
from auxin.studies.depth import DEPTHS, STUDY, configs
from studies.synthetic import STEPS, Curves, ramp, table


def by_depth(levels: dict[int, float], fall: float = 0.01):
    """Ends at the depth's level of generalization, with a training loss that falls by ``fall`` a layer."""

    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        depth = int(run.settings["depth"])
        gen = np.clip(ramp(0.0, levels[depth]) + 0.05 * rng.standard_normal(len(STEPS)), 0, 1)
        loss = ramp(4.0, 1.2 - fall * depth) + 0.005 * rng.standard_normal()
        return {("val", "accuracy"): ramp(0, 1), ("gen", "accuracy"): gen, ("train", "loss"): loss}

    return log


def test_a_planted_inverted_u_is_found() -> None:
    levels = dict(zip(DEPTHS, (0.3, 0.9, 0.95, 0.5, 0.2), strict=True))
    analysis = STUDY.analyse(table(configs("laptop"), by_depth(levels)))
    assert "rises and then falls" in analysis.text
    by_name = {f.name: f for f in analysis.findings}
    assert by_name["depth of the peak"].value == 6
    assert by_name["rise to the peak"].value == pytest.approx(0.65, abs=0.08)
    assert by_name["fall from the peak"].low > 0.6
    loss = by_name["rank correlation of depth and training loss"]
    assert loss.high < -0.9
    assert "falls" in loss.sentence
    assert [claim.verdict for claim in analysis.claims] == ["supported", "supported"]
    depths = analysis.tables["depths"]
    assert depths["depth"].to_list() == list(DEPTHS)
    assert depths["ever"].to_list() == [0, 1, 1, 0, 0]
    np.testing.assert_allclose(depths["ever_low"][1], 0.5655, atol=1e-4)  # Wilson, 5 of 5


@pytest.mark.parametrize(
    ("fall", "gap", "verdict"),
    [(0.0, 0.003, "supported"), (0.003, 0.012, "supported"), (0.05, 0.2, "contradicted")],
)
def test_whether_all_depths_reach_the_same_training_loss(fall: float, gap: float, verdict: str) -> None:
    """Four layers, of the six that generalize best, from each of the ends."""
    levels = dict(zip(DEPTHS, (0.1, 0.4, 0.9, 0.4, 0.1), strict=True))
    analysis = STUDY.analyse(table(configs("laptop"), by_depth(levels, fall)))
    found = {f.name: f for f in analysis.findings}
    largest = found["largest difference of training loss from the depth that generalizes best"]
    assert largest.value == pytest.approx(gap, abs=0.006)
    assert largest.low <= largest.value <= largest.high
    assert "at depth 6, which generalizes best" in largest.sentence
    claim = analysis.claims[1]
    assert (claim.statement, claim.verdict) == ("Models of all depths reach the same training loss.", verdict)
    assert "comparable training losses" in claim.source


def test_a_depth_without_a_loss_is_no_test_of_fit() -> None:
    levels = dict.fromkeys(DEPTHS, 0.4)
    whole = table(configs("laptop"), by_depth(levels, 0.0))
    lost = (pl.col("depth") == 10) & (pl.col("name") == "loss")
    analysis = STUDY.analyse(whole.with_columns(value=pl.when(~lost).then(pl.col("value"))))
    assert analysis.claims[1].verdict == "not supported"


@pytest.mark.parametrize("levels", [(0.4,) * 5, (0.1, 0.3, 0.5, 0.7, 0.9), (0.9, 0.9, 0.9, 0.5, 0.1)])
def test_no_inverted_u_is_found_where_there_is_none(levels: tuple[float, ...]) -> None:
    analysis = STUDY.analyse(table(configs("laptop"), by_depth(dict(zip(DEPTHS, levels, strict=True)))))
    assert "no peak" in analysis.text
    assert analysis.claims[0].verdict == "not supported"


def test_depths_that_tie_are_all_named_and_a_rise_is_at_most_everything() -> None:
    levels = dict(zip(DEPTHS, (0.0, 0.3, 1.0, 1.0, 0.2), strict=True))
    by_name = {f.name: f for f in STUDY.analyse(table(configs("laptop"), by_depth(levels))).findings}
    largest = by_name["depth at which the share of seeds ever above 80% is largest"]
    assert (largest.low, largest.value, largest.high) == (6, 6, 8)
    assert "largest at depth 6 and depth 8 (6 to 8): p < 0.001." in largest.sentence
    apart = {0: 0.0, 1: 1.0}

    def either(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        gen = ramp(0, apart[seed % 2] if run.settings["depth"] == 10 else 0.0)
        return {("val", "accuracy"): ramp(0, 1), ("gen", "accuracy"): gen, ("train", "loss"): ramp(4, 1)}

    rise = {f.name: f for f in STUDY.analyse(table(configs("laptop"), either)).findings}["rise to the peak"]
    assert rise.value == pytest.approx(0.4)
    assert rise.high == 1  # Student's own interval goes on to 1.5
    assert -1 < rise.low < 0


def test_one_depth_has_no_peak() -> None:
    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        gen = ramp(0.0, 0.9 if seed else 0.1)
        return {("val", "accuracy"): ramp(0, 1), ("gen", "accuracy"): gen, ("train", "loss"): ramp(4, 1)}

    runs = [run for run in configs("minutes") if run.settings["depth"] == 1]
    analysis = STUDY.analyse(table(runs, log))
    assert analysis.answer == "Depth 1 alone has no peak to test for; 2 of 3 seeds are ever above 80%."
    assert not any("p = " in f.sentence or "nan" in f.sentence for f in analysis.findings)
    two = [run for run in configs("minutes") if run.settings["depth"] != 3]
    assert "no test of a peak: that takes three levels" in STUDY.analyse(table(two, log)).answer


def test_five_seeds_at_every_depth() -> None:
    for scale, seeds in (("laptop", 5), ("paper", 10)):
        runs = [run for run in configs(scale) if run.settings["task"] == "question"]
        for depth in DEPTHS:
            own = [run.config for run in runs if run.settings["depth"] == depth]
            assert sum(len(c.seeds) for c in own) == seeds
            assert {c.model.depth for c in own} == {depth}
