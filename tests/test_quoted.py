"""Numbers quoted in README.md, findings and limits are those of docs/records, or of docs/tables where no runs are left.

docs/tables/quoted.json says which finding each interval is, docs/tables/quote.py compares or renews them.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from auxin.config import preset
from auxin.measures.grokking import grokking_summary
from auxin.report.tables import COLUMNS
from auxin.runs import open_run
from auxin.studies import papers

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "docs" / "tables"
FINDINGS = "docs/findings.md"


def text(page: str) -> str:
    return " ".join((ROOT / page).read_text().split())


@pytest.fixture(scope="module")
def quote() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(TABLES / "quote.py")))


def test_quoted_numbers_are_those_of_the_tables(quote: SimpleNamespace) -> None:
    """Every interval of the pages that quote any has a name in quoted.json, and is what the tables say."""
    assert set(quote.names()) == {"README.md", FINDINGS, "docs/limits.md"}
    quote.main(check=True)


def test_a_number_that_is_not_the_tables_is_renewed_with_its_digits(quote: SimpleNamespace) -> None:
    """Of the value, 0.333 (0.203 to 0.463) in the table, 33 points (20 to 46) are that number, rounded."""
    name = "grokking: question: gain over early stopping"
    value, low, high = quote.finding(name)
    right = f"by {100 * value:.0f} points\n({100 * low:.0f} to {100 * high:.0f}) over 20 seeds"
    assert quote.renewed(right, [name]) == right
    assert quote.renewed("by 1 points\n(2 to 3) over 20 seeds", [name]) == right
    opposite = quote.renewed("by 1.00 (1.00 to 2.00).", [f"−{name}"])
    assert opposite == f"by −{value:.2f} (−{high:.2f} to −{low:.2f})."
    with pytest.raises(ValueError, match="shorter"):
        quote.renewed("by 1 (0 to 2) and by 3 (2 to 4)", [name])


def test_the_page_of_claims_is_that_of_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["claims.py", str(tmp_path / "claims.md")])
    runpy.run_path(str(TABLES / "claims.py"), run_name="__main__")
    assert (tmp_path / "claims.md").read_text() == (ROOT / "docs/claims.md").read_text()


def test_what_the_papers_say_is_quoted_beside_its_claim() -> None:
    rows = [row.split(" | ") for row in (ROOT / "docs/claims.md").read_text().splitlines() if row[:2] == "| "]
    quoted = {row[1] for row in rows if "et al." in row[1]}
    assert len(quoted) > 5
    assert quoted <= {says for name, says in vars(papers).items() if name.isupper()}


@pytest.mark.parametrize("what", ["Fig. 1", "Table 1", "Fig. 2", "Fig. 3a", "Fig. 3b", "Fig. 4", "Fig. 5"])
def test_every_figure_and_table_of_murty_et_al_has_its_command_and_outcome(what: str) -> None:
    lines = (ROOT / "docs/papers.md").read_text().splitlines()
    rows = [row for row in lines if row.startswith(f"| {what}")]  # a row a panel
    assert rows
    for row in rows:
        _, _, shows, command, scale, agrees, _ = row.split("|")
        assert shows.strip()
        assert "`" in command or "the same command" in command
        assert scale.strip()
        assert re.search(r"\b(yes|not seen|not run|not at|in part|undecided)\b", agrees), row


def test_the_demo_in_the_readme_is_seed_0_of_the_preset() -> None:
    demo = open_run(ROOT / "docs/records/demo")
    (row,) = grokking_summary(demo.metrics).members.iter_rows(named=True)
    cells = [written(row[name]) for name, (_, written) in COLUMNS.items()]
    assert " ".join(["0", *cells, "yes" if row["relapsed"] else "no"]) in text("README.md")
    assert demo.config.steps == preset("laptop").steps


def test_counts_of_seeds_are_those_of_the_tables() -> None:
    """Of ten seeds of the preset's test, and of five a depth."""
    seeds = pl.read_csv(ROOT / "docs/records/grokking/tables/seeds.csv")
    fresh, n = seeds.filter(pl.col("member") < 130, task="question"), 10
    assert len(fresh) == n
    passed, high = int(fresh["grokked"].sum()), int((fresh["final"] >= 0.9).sum())
    assert f"{passed} of {n} fresh seeds" in text(FINDINGS)
    assert f"{high} of them end at 90% or more" in text(FINDINGS)
    depths = pl.read_csv(TABLES.parent / "records" / "depth" / "tables" / "depths.csv")
    deep, shallow = depths.filter(pl.col("depth") >= 6), depths.filter(pl.col("depth") < 6)
    assert f"{deep['grokked'].sum()} of {deep['models'].sum()} models with 6, 8 or 10 layers" in text(
        FINDINGS
    )
    assert f"{shallow['grokked'].sum()} of {shallow['models'].sum()} with 2 or 4" in text(FINDINGS)


def test_counts_of_models_are_those_of_the_tables() -> None:
    cells = pl.read_csv(TABLES / "architectures-cells.csv")
    assert f"{cells['failed'].sum()} of {cells['models'].sum()} models do not train, all post-norm" in text(
        FINDINGS
    )
    assert cells.filter(pl.col("failed") > 0)["stack"].unique().to_list() == ["post-norm"]
