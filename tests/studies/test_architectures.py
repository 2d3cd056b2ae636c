import dataclasses
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from auxin.lab.named import NamedRun
from auxin.studies.architectures import (
    SCALES,
    STACKS,
    STUDY,
    _remedy,
    configs,
    model_of,
)
from auxin.studies.prediction import CHANCE
from studies.synthetic import STEPS, Curves, ramp, table

SIZES = {"depth": 12, "width": 32}


@cache
def design() -> tuple[NamedRun, ...]:
    """GPT-2, which never collapses, and post-norm, which does from scale 1 on; small enough for a test."""
    config = configs("minutes")[0].config
    return tuple(
        NamedRun(
            f"{stack.lower()}-{scale:g}",
            dataclasses.replace(config, seeds=(0, 1, 2, 3, 4)),
            {"stack": stack, "branch_scale": scale, **SIZES},
        )
        for stack in ("GPT-2", "post-norm")
        for scale in SCALES
    )


def ending(loss: Any) -> Any:
    """Ends at a loss that is a function of the settings."""

    def log(run: NamedRun, seed: int, rng: np.random.Generator) -> Curves:
        end = loss(run.settings)
        rows = np.full(len(STEPS), np.nan) if end is None else ramp(4, end + 0.01 * rng.standard_normal())
        return {("train", "loss"): rows}

    return log


@pytest.fixture(scope="module")
def as_check_says() -> Any:
    """What post-norm with branches of 1 and more ends at: it does not train; the rest does."""

    def loss(settings: dict[str, Any]) -> float | None:
        bad = settings["stack"] == "post-norm" and settings["branch_scale"] >= 1
        return (None if settings["branch_scale"] == 4 else 3.5) if bad else 1.5

    return STUDY.analyse(table(design(), ending(loss)))


def test_a_world_in_which_collapse_decides(as_check_says: Any) -> None:
    by_name = {f.name: f for f in as_check_says.findings}
    assert by_name["area under the ROC curve of the total"].value == 1
    assert by_name["balanced accuracy of the check"].value == 1
    assert (
        "flagged and trained: none; not flagged and failed: none"
        in by_name["balanced accuracy of the check"].sentence
    )
    fault = by_name["change of loss where the check flags a stack"]
    assert fault.value == pytest.approx(-2, abs=0.1)
    assert "post-norm × 0.25" in fault.sentence or "post-norm × 0.5" in fault.sentence
    verdicts = {claim.statement: claim.verdict for claim in as_check_says.claims}
    assert verdicts["The total tells which models train."] == "supported"
    assert verdicts["The check tells which models train."] == "supported"
    assert verdicts["Where the check flags a stack, its remedy lowers the loss."] == "supported"
    cells = as_check_says.tables["cells"]
    assert cells.filter(branch_scale=4.0, stack="post-norm")["loss"].item() == pytest.approx(CHANCE)
    assert cells.filter("blamed")["failed"].to_list() == [5, 5, 5]
    total = cells["angle_total"].abs() + cells["gradient_total"].abs()
    assert cells["total"].to_list() == pytest.approx(total.to_list())
    post = cells.filter(stack="post-norm").sort("branch_scale")["angle_total"].to_list()
    assert post == sorted(post, reverse=True), "stronger branches collapse faster"
    assert post[0] < 0


def test_a_world_in_which_it_does_not() -> None:
    gpt = [run for run in design() if run.settings["stack"] == "GPT-2"]
    analysis = STUDY.analyse(table(gpt, ending(lambda s: 3.5 if s["branch_scale"] < 1 else 1.5)))
    verdicts = [claim.verdict for claim in analysis.claims]
    assert verdicts[0] == "contradicted", "smaller totals fail"
    assert set(verdicts[1:]) == {"not supported"}
    assert "not flagged and failed: GPT-2 × 0.25, GPT-2 × 0.5" in analysis.findings[-3].sentence
    assert "(no stack)" in analysis.findings[-2].sentence


def test_a_remedy_tried_on_few_models_is_no_test() -> None:
    rows = [
        {"stack": "post-norm", "branch_scale": scale, **SIZES, "loss": 1.5 + 2 * (scale == 1) + seed / 100}
        for scale in SCALES
        for seed in range(3)
    ]
    losses = pl.DataFrame(rows).with_columns(blamed=True)
    fault, _ = _remedy(losses)
    assert fault.high < -1.8
    (claim,) = (claim.judged(fault) for claim in STUDY.claims if claim.finding == fault.name)
    assert claim.verdict == "not supported"
    assert "Fewer than 5 models are no test" in claim.evidence


def test_the_design_is_that_of_the_plan() -> None:
    runs = configs("laptop")
    assert len(runs) == 75
    frame = pl.DataFrame([{**run.settings, "seed": run.config.seeds[0]} for run in runs])
    assert sorted(frame["stack"].unique()) == sorted(STACKS)
    assert frame.group_by("stack", "branch_scale", "seed").len()["len"].to_list() == [1] * 75
    assert {(r.config.model.depth, r.config.model.width, r.config.steps) for r in runs} == {(24, 64, 600)}
    assert {run.config.model.dropout for run in runs} == {0.0}
    qwen = model_of({"stack": "Qwen", "branch_scale": 1.0, "depth": 24, "width": 64})
    assert qwen.layers[0].sublayers[0].body.head_dim == 16  # pyright: ignore[reportAttributeAccessIssue]
