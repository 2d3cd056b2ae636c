"""What docs/check.md says of models in people's own code is what benchmarks/recognition.py has found."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from probes import own

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "recognition.py")))


def test_the_page_has_the_table(benchmark: SimpleNamespace) -> None:
    table = pl.read_csv(benchmark.TABLE)
    page = (ROOT / "docs" / "check.md").read_text()
    assert benchmark.in_rows(table) in page
    models = table.filter(pl.col("model") != "T5 encoder")  # of a pair, one row
    assert f"Of {models['fresh'].sum()} fresh models none is flagged" in page
    assert f"All of {models['slips'].sum()} slips" in page


def test_models_are_predicted_slips_named_and_nothing_else_flagged(benchmark: SimpleNamespace) -> None:
    table = pl.read_csv(benchmark.TABLE)
    assert {*table["model"]} - {"T5 encoder", "T5 decoder"} | {"T5"} == set(own.MODELS)
    assert table.filter(
        (pl.col("cosine") > 0.03) | (pl.col("norm") > 0.06) | (pl.col("gradient") > 0.12)
    ).is_empty()
    assert table["flagged"].sum() == 0
    assert table["named"].equals(table["slips"])
