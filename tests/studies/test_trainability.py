import numpy as np
import pytest

from auxin.architecture.block import Block
from auxin.lab.named import NamedRun
from auxin.studies.prediction import CHANCE
from auxin.studies.statistics import r_squared
from auxin.studies.trainability import FIXED, STUDY, configs
from auxin.tasks import load_task
from auxin.theory.exponents import exponents
from studies.synthetic import STEPS, Curves, ramp, table

RUNS = configs("laptop")


def score(analysis, predictor: str, test: str) -> dict[str, float]:
    return analysis.tables["scores"].filter(predictor=predictor, test=test).row(0, named=True)


def by_exponents(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
    """A final loss that the exponents alone decide; what runs start from tells nothing."""
    angle, gradient = float(run.settings["angle"]), float(run.settings["gradient"])
    loss = 1.2 + 0.8 * np.tanh(4 * (angle - 0.1) ** 2) + 0.5 * gradient + 0.02 * rng.standard_normal()
    return {
        ("train", "loss"): ramp(4.7 + 0.1 * rng.random(), loss),
        ("train", "gradient_norm"): ramp(rng.random() + 0.1, 1),
    }


def by_nothing(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
    return {
        ("train", "loss"): ramp(4.7, 1.2 + rng.random()),
        ("train", "gradient_norm"): ramp(rng.random() + 0.1, 1),
    }


def test_a_loss_that_the_exponents_decide_is_predicted_by_them() -> None:
    analysis = STUDY.analyse(table(RUNS, by_exponents))
    for test in ("points left out", "columns left out", "points off the grid"):
        both = score(analysis, "both exponents", test)
        assert both["r2"] > 0.75, test
        assert both["r2_low"] <= both["r2"] <= both["r2_high"]
        assert both["rank"] > 0.8
        assert score(analysis, "initial loss", test)["r2"] < 0.3
    assert score(analysis, "points off the grid" and "both exponents", "points off the grid")["points"] == 16
    assert {claim.verdict for claim in analysis.claims} == {"supported"}
    predictions = analysis.tables["predictions"].filter(predictor="both exponents", test="points left out")
    assert score(analysis, "both exponents", "points left out")["r2"] == pytest.approx(
        r_squared(predictions["loss"].to_numpy(), predictions["predicted"].to_numpy())
    )
    assert analysis.answer.startswith(
        "For points left out, the two exponents alone predict the final loss with R² ="
    )


def test_nothing_predicts_noise() -> None:
    analysis = STUDY.analyse(table(RUNS, by_nothing))
    assert analysis.tables["scores"].filter(test="points left out")["r2"].max() < 0.3


def test_what_diverged_is_no_better_than_a_guess() -> None:
    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        curves = by_exponents(run, seed, rng)
        if run.name == "grid000":
            return {key: [*values[:3], *[np.nan] * (len(STEPS) - 3)] for key, values in curves.items()}
        return curves

    points = STUDY.analyse(table(RUNS, log)).tables["points"]
    assert points.filter(run="grid000")["loss"].item() == CHANCE
    assert points["loss"].null_count() == points["initial_loss"].null_count() == 0


def test_chance_is_that_of_the_task() -> None:
    assert pytest.approx(np.log(len(load_task("question", train_size=1000).vocabulary))) == CHANCE


def test_the_grid_lies_around_the_phase_boundary() -> None:
    grid = [run for run in RUNS if run.settings["place"] == "grid"]
    assert len(grid) == 64
    assert (
        len({run.settings["alpha_mlp"] for run in grid})
        == len({run.settings["sigma_w"] for run in grid})
        == 8
    )
    angles = np.array([float(run.settings["angle"]) for run in grid])
    assert 0.25 < (angles < 0).mean() < 0.75
    assert min(run.config.model.depth for run in RUNS) == 12
    for name, value in FIXED.items():
        assert {run.settings[name] for run in grid} == {value}


@pytest.mark.parametrize("index", [0, 40, 79])
def test_the_exponents_are_those_of_what_is_trained(index: int) -> None:
    run = RUNS[index]
    predicted = exponents(Block.of(run.config.model, n_tokens=24))
    assert predicted.angle == pytest.approx(run.settings["angle"], abs=2e-4)
    assert predicted.gradient == pytest.approx(run.settings["gradient"], abs=2e-3)


def test_no_sentence_is_seen_twice() -> None:
    for scale, size in (("minutes", 1000), ("laptop", 100_000), ("paper", 100_000)):
        for run in configs(scale):
            assert (run.config.train_size or 100_000) == size
            assert run.config.steps * run.config.batch_size <= size
            assert run.config.model.dropout == 0
