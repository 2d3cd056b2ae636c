"""docs/audit.md is made from its tables, and they show what is claimed of check."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from auxin.probes.check import check

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def audit() -> SimpleNamespace:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    return SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "audit.py")))


def test_the_page_is_that_of_its_tables(audit: SimpleNamespace) -> None:
    assert audit.PAGE.read_text() == audit.page()


def test_a_class_is_built_small_and_its_stream_equals_that_of_plain_hooks(audit: SimpleNamespace) -> None:
    model = dict(audit.classes())["CodeGenForCausalLM"]()
    report = check(model, n_tokens=audit.TOKENS)
    assert report.depth == 3
    assert audit.difference(model, report) < audit.EQUAL


def test_most_classes_are_measured_and_slips_named(audit: SimpleNamespace) -> None:
    table, slips = audit.read(), pl.read_csv(audit.SLIPS)
    assert table.filter(pl.col("equal") <= audit.EQUAL).height >= 150
    assert slips.filter("named").height >= 0.95 * slips.height
    assert slips["model"].n_unique() >= 15
    assert slips["slip"].n_unique() >= 20
