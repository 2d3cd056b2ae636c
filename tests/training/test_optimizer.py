"""Learning rates and the steps at which something happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxin.config import OptimizerConfig
from auxin.training.optimizer import learning_rate, milestones


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_rate_rises_to_the_peak_and_never_exceeds_it(schedule: str) -> None:
    config = OptimizerConfig(learning_rate=0.5, warmup=10, schedule=schedule)  # pyright: ignore
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * i for i in range(10)])
    assert max(rates) == 0.5
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == (0.5 if schedule == "constant" else pytest.approx(0, abs=0.01))


def test_decay_ends_at_its_own_step() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup=0, schedule="linear", decay_steps=200)
    assert learning_rate(config, 100, 100) == pytest.approx(0.5)
    assert learning_rate(config, 300, 400) == 0


@given(st.integers(1, 10**6), st.integers(0, 1000))
def test_milestones_begin_and_end_with_the_run(steps: int, every: int) -> None:
    found = milestones(steps, every, 0.01)
    assert found[0] == 0
    assert found[-1] == steps
    assert len(found) == len(set(found))
    if every == 0:
        assert len(found) <= 200 + 15  # gaps of round(1%) steps, and powers of two
