from dataclasses import replace

import numpy as np
import pytest

from auxin.config import preset
from auxin.lab.named import NamedRun
from auxin.studies.grokking import STUDY, configs
from studies.synthetic import STEPS, Curves, ramp, table


def late_bloomer(gain: float):
    """Saturates at step 200 with generalization 0.3 and ends ``gain`` above that."""

    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        gen = ramp(0.3, 0.3 + gain, first=400) + 0.02 * rng.standard_normal(len(STEPS))
        return {("val", "accuracy"): ramp(0.0, 1.0, first=0, last=200), ("gen", "accuracy"): gen}

    return log


def test_what_early_stopping_misses() -> None:
    analysis = STUDY.analyse(table(configs("paper"), late_bloomer(0.6)))
    gain = analysis.findings[0]
    assert gain.name == "question: gain over early stopping"
    assert gain.value == pytest.approx(0.6, abs=0.03)
    assert gain.low < gain.value < gain.high
    assert gain.published == pytest.approx(0.929 - 0.073)
    assert "raises generalization accuracy by 6" in analysis.text
    assert "over 10 seeds" in analysis.text
    for task in ("question", "tense", "dyck"):
        assert f"On {task}, training on past" in analysis.text
    by_name = {f.name: f for f in analysis.findings}
    ever = by_name["question: ever above 80%"]
    assert ever.value == 1
    assert ever.low == pytest.approx(0.722, abs=1e-3)  # Wilson, 10 of 10
    assert by_name["question: delay"].value == 3  # 600 over 200
    assert [claim.verdict for claim in analysis.claims[:2]] == ["supported", "supported"]
    assert by_name["tense: final generalization"].value == pytest.approx(0.9, abs=0.03)


def test_a_ratio_of_steps_is_not_negative_and_a_gain_at_most_everything() -> None:
    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        end = 200 if seed == 0 else 1000
        gen = ramp(0.0, 1.0 if seed < 2 else 0.0, first=150, last=end)
        return {("val", "accuracy"): ramp(0.0, 1.0, first=0, last=100), ("gen", "accuracy"): gen}

    by_name = {f.name: f for f in STUDY.analyse(table(configs("minutes"), log)).findings}
    assert by_name["question: delay"].low == 0  # Student's own interval of two goes far below
    assert by_name["question: total variation"].low == 0
    gain = by_name["question: gain over early stopping"]
    assert gain.high == 1


def test_no_gain_is_not_called_one() -> None:
    analysis = STUDY.analyse(table(configs("laptop"), late_bloomer(0.0)))
    assert "changes" in analysis.text
    assert analysis.findings[0].low < 0 < analysis.findings[0].high
    assert not any(f.name.endswith("delay") for f in analysis.findings)
    assert {claim.verdict for claim in analysis.claims} == {"not supported"}


def test_a_loss_contradicts_and_a_few_seeds_are_no_test() -> None:
    lost = STUDY.analyse(table(configs("laptop"), late_bloomer(-0.2))).claims[0]
    assert lost.verdict == "contradicted"
    few = STUDY.analyse(table(configs("minutes"), late_bloomer(0.6))).claims
    assert {claim.verdict for claim in few} == {"not supported"}
    assert all(claim.evidence.endswith("Fewer than 5 models are no test.") for claim in few)


def test_tables_hold_every_seed_and_the_mean_curves() -> None:
    tables = STUDY.analyse(table(configs("paper"), late_bloomer(0.6))).tables
    assert len(tables["seeds"]) == 30
    curves = tables["curves"].filter(task="question", split="val")
    assert curves["step"].to_list() == list(STEPS)
    assert curves["models"].to_list() == [10] * len(STEPS)
    assert curves["value"][-1] == 1


def test_the_published_sizes() -> None:
    runs = {run.name: run.config for run in configs("paper")}
    assert set(runs) == {"question", "tense", "dyck"}
    assert [runs[task].model.depth for task in runs] == [6, 4, 6]
    for task, config in runs.items():
        assert config.seeds == tuple(range(42, 133, 10))
        assert config.steps == preset("paper", config.task).steps, task


def test_a_laptop_takes_twenty_seeds_a_task_of_the_preset() -> None:
    runs = configs("laptop")
    assert [run.name for run in runs[:2]] == ["question-seed120", "question-seed121"]
    for task in ("question", "tense"):
        own = [run.config for run in runs if run.config.task == task]
        assert [config.seeds for config in own] == [(seed,) for seed in range(120, 140)]
        usual = replace(preset("laptop", task), steps={"question": 4400, "tense": 12_000}[task])
        assert {replace(config, seeds=(0,), threads=0) for config in own} == {usual}
    assert runs[0].config.steps == preset("laptop").steps
