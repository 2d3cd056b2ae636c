"""Numbers quoted in README.md and docs/findings.md are those of the tables in docs/tables.

A number that a study found is followed by where it comes from, in a comment that no reader sees:
``22 points (−0.2 to 45)<!-- grokking: question: gain over early stopping -->``; − before the name: its opposite.
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import polars as pl
import pytest

from auxin.cli.summary import COLUMNS
from auxin.config import preset
from auxin.measures.grokking import grokking_summary
from auxin.studies import papers

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "docs" / "tables"
FINDINGS = "docs/findings.md"
PAGES = ("README.md", FINDINGS, "docs/limits.md")

NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?"
INTERVAL = rf"(?P<value>{NUMBER})(?P<unit>%| points| steps)?(?: \(|, )(?P<low>{NUMBER})(?:–| to )(?P<high>{NUMBER})\)?"
QUOTED = re.compile(INTERVAL + r"<!-- (?P<study>[\w-]+): (?P<opposite>−?)(?P<name>[^>]+?) -->")


def text(page: str) -> str:
    return " ".join((ROOT / page).read_text().split())


def near(quoted: str, value: float) -> bool:
    """Whether a number is the value, rounded to the digits it is quoted with."""
    digits = len(quoted.partition(".")[2])
    return abs(float(quoted.replace(",", "").replace("−", "-")) - value) <= 0.51 * 10.0**-digits


def findings(study: str) -> dict[str, dict[str, float]]:
    record = json.loads((TABLES / f"{study}.json").read_text())
    return {found["name"]: found for found in record["findings"]}


@pytest.mark.parametrize("page", PAGES)
def test_quoted_numbers_are_those_of_the_tables(page: str) -> None:
    quotes = list(QUOTED.finditer(text(page)))
    assert quotes
    for quote in quotes:
        found = findings(quote["study"])[quote["name"]]
        scale = (-1 if quote["opposite"] else 1) * (100 if quote["unit"] in ("%", " points") else 1)
        bounds = sorted((found["low"] * scale, found["high"] * scale))
        for quoted, value in zip(
            quote.group("value", "low", "high"), (found["value"] * scale, *bounds), strict=True
        ):
            assert near(quoted, value), (quote[0], value)


@pytest.mark.parametrize("page", PAGES)
def test_every_interval_says_where_it_comes_from(page: str) -> None:
    bare = [
        m[0]
        for m in re.finditer(INTERVAL + "(?!<!--|[\\d.,])", text(page))
        if not QUOTED.match(text(page), m.start())
    ]
    assert bare == []


def test_the_page_of_claims_is_that_of_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["claims.py", str(tmp_path / "claims.md")])
    runpy.run_path(str(TABLES / "claims.py"), run_name="__main__")
    assert (tmp_path / "claims.md").read_text() == (ROOT / "docs/claims.md").read_text()


def test_what_the_papers_say_is_quoted_beside_its_claim() -> None:
    """A source in a table is one of the project's quotations, and each quotation is beside a claim."""
    claims = [c for path in TABLES.glob("*.json") for c in json.loads(path.read_text()).get("claims", ())]
    quoted = {claim["source"] for claim in claims if "et al." in claim["source"]}
    assert quoted == {says for name, says in vars(papers).items() if name.isupper()}


def test_the_demo_in_the_readme_is_seed_0_of_the_preset() -> None:
    curves = pl.read_csv(TABLES / "demo.csv").with_columns(member=pl.lit(0), name=pl.lit("accuracy"))
    (row,) = grokking_summary(curves).members.iter_rows(named=True)
    cells = [written(row[name]) for name, (_, written) in COLUMNS.items()]
    assert " ".join(["0", *cells, "yes" if row["relapsed"] else "no"]) in text("README.md")
    assert curves["step"].max() == preset("laptop").steps


@pytest.mark.parametrize("page", PAGES[:2])
def test_counts_of_seeds_are_those_of_the_tables(page: str) -> None:
    """Of ten seeds of the preset's test, and of five a depth."""
    seeds = pl.read_csv(TABLES / "grokking-seeds.csv")
    fresh, n = seeds.filter(pl.col("member") < 130, task="question"), 10
    assert len(fresh) == n
    passed, high = int(fresh["grokked"].sum()), int((fresh["final"] >= 0.9).sum())
    assert f"{passed} of {n} fresh seeds" in text(page)
    assert f"{high} of them end at 90% or more" in text(page)
    depths = pl.read_csv(TABLES / "depth-depths.csv")
    deep, shallow = depths.filter(pl.col("depth") >= 6), depths.filter(pl.col("depth") < 6)
    assert f"{deep['grokked'].sum()} of {deep['models'].sum()} models with 6, 8 or 10 layers" in text(page)
    assert f"{shallow['grokked'].sum()} of {shallow['models'].sum()} with 2 or 4" in text(page)


def test_counts_of_models_are_those_of_the_tables() -> None:
    cells = pl.read_csv(TABLES / "architectures-cells.csv")
    assert f"{cells['failed'].sum()} of {cells['models'].sum()} models do not train, all post-norm" in text(
        FINDINGS
    )
    assert cells.filter(pl.col("failed") > 0)["stack"].unique().to_list() == ["post-norm"]
