from pathlib import Path

import polars as pl
import pytest
from scipy.stats import ttest_1samp

from auxin.errors import DataError
from auxin.measures.grokking import grokking_summary
from auxin.measures.intervals import wilson

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "published_curves.csv"


def tidy(curves, member="member"):
    """Tidy metrics from {member: [(step, val, gen), …]}."""
    rows = [
        {"step": step, member: m, "split": split, "name": "accuracy", "value": value}
        for m, curve in curves.items()
        for step, val, gen in curve
        for split, value in (("val", val), ("gen", gen))
    ]
    return pl.DataFrame(rows)


GROKS = [
    (0, 0.0, 0.0),
    (100, 0.992, 0.1),
    (200, 1.0, 0.3),
    (500, 1.0, 0.9),
    (600, 0.995, 0.5),
    (700, 1.0, 0.7),
]


def test_one_member():
    summary = grokking_summary(tidy({7: GROKS}))
    assert summary.members.row(0, named=True) == {
        "member": 7,
        "saturation_step": 100,
        "at_saturation": 0.1,
        "early_stopping": 0.3,
        "final": 0.7,
        "best": 0.9,
        "grokking_step": 500,
        "grokked": True,
        "relapsed": True,
        "delay_ratio": 5.0,
        "total_variation": pytest.approx(0.1 + 0.2 + 0.6 + 0.4 + 0.2),
        "committed": 0.0,
    }
    final = summary.overall.row(by_predicate=pl.col("quantity") == "final", named=True)
    assert final == {"quantity": "final", "value": 0.7, "low": None, "high": None, "members": 1}


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([(0, 0.1, 0.9), (100, 0.2, 0.5)], {"saturation_step": None, "delay_ratio": None, "relapsed": True}),
        ([(0, 1.0, 0.0), (100, 1.0, 0.9)], {"saturation_step": 0, "delay_ratio": None, "grokking_step": 100}),
        ([(50, 0.99, 0.8), (100, 1.0, 0.8)], {"saturation_step": 50, "grokked": False, "relapsed": False}),
        ([(50, 0.99, 0.81), (100, 1.0, 0.6)], {"grokked": True, "relapsed": False, "delay_ratio": 1.0}),
        (
            [(50, 0.99, 0.1), (100, 1.0, 0.85)],
            {"grokking_step": 100, "delay_ratio": 2.0, "early_stopping": 0.85},
        ),
    ],
)
def test_thresholds(curve, expected):
    row = grokking_summary(tidy({0: curve})).members.row(0, named=True)
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("gen", "variation", "committed"),
    [
        ([0.0, 0.0, 0.0, 0.0], 0.0, 1.0),  # to the linear rule
        ([0.0, 0.5, 1.0, 1.0], 1.0, 0.6),  # in steps 0 … 100 and 300 … 500
        ([1.0, 0.0, 1.0, 0.0], 3.0, 1.0),  # to one after the other
        ([0.951, 0.95, 0.05, 0.049], 0.902, 0.2),
    ],
)
def test_instability(gen, variation, committed):
    """Evaluations at 0, 100, 300 and 500, saturated from the start; and only from saturation on."""
    curve = [(step, 1.0, g) for step, g in zip((0, 100, 300, 500), gen, strict=True)]
    row = grokking_summary(tidy({0: curve})).members.row(0, named=True)
    assert (row["total_variation"], row["committed"]) == pytest.approx((variation, committed))
    before = [(step - 500, 0.2, 0.0) for step in (0, 100, 300)]
    late = grokking_summary(tidy({0: before + curve})).members.row(0, named=True)
    assert late["committed"] == pytest.approx(committed)
    never = grokking_summary(tidy({0: before})).members.row(0, named=True)
    assert never["committed"] is None


def test_group_of_members():
    flat = [(step, val, 0.2) for step, val, _ in GROKS]
    summary = grokking_summary(tidy({0: GROKS, 1: flat, 2: GROKS}))
    overall = {row["quantity"]: row for row in summary.overall.iter_rows(named=True)}
    assert overall["final"]["value"] == pytest.approx((0.7 + 0.2 + 0.7) / 3)
    expected = ttest_1samp([0.7, 0.2, 0.7], 0).confidence_interval()
    assert (expected.low, expected.high) == pytest.approx((-0.184, 1.250), abs=1e-3)
    assert (overall["final"]["low"], overall["final"]["high"]) == (0, 1)
    assert overall["grokking_step"]["members"] == 2
    assert overall["grokked"]["value"] == pytest.approx(2 / 3)
    assert (overall["grokked"]["low"], overall["grokked"]["high"]) == pytest.approx(wilson(2, 3))
    assert summary.overall.equals(grokking_summary(tidy({0: GROKS, 1: flat, 2: GROKS})).overall)


def test_order_and_other_rows_do_not_matter():
    metrics = tidy({0: GROKS, 1: GROKS})
    loss = pl.DataFrame({"step": [0], "member": [0], "split": ["val"], "name": ["loss"], "value": [3.0]})
    alone = pl.DataFrame(
        {"step": [900], "member": [0], "split": ["gen"], "name": ["accuracy"], "value": [0.0]}
    )
    shuffled = pl.concat([loss, metrics, alone]).sample(fraction=1, shuffle=True, seed=1)
    assert grokking_summary(shuffled).members.equals(grokking_summary(metrics).members)


def test_metrics_without_what_is_needed():
    with pytest.raises(DataError, match="no column 'member'"):
        grokking_summary(tidy({0: GROKS}, member="seed"))
    with pytest.raises(DataError, match="no step with accuracy of val and of gen"):
        grokking_summary(tidy({0: GROKS}).filter(pl.col("split") == "val"))


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published curves are not at hand")
@pytest.mark.parametrize(
    ("task", "depth", "early", "final", "best", "grokked", "relapsed"),
    [
        ("question", 6, 0.073, 0.929, 1.0, 10, 7),
        ("tense", 4, 0.547, 0.835, 0.943, 9, 6),
        ("dyck", 6, 0.985, 1.0, 1.0, 10, 0),
    ],
)
def test_published_curves(task, depth, early, final, best, grokked, relapsed):
    published = pl.read_csv(PUBLISHED).filter(
        (pl.col("task") == task) & (pl.col("depth") == depth) & (pl.col("seed") <= 132)
    )
    metrics = (
        published.rename({"seed": "member", "in_domain": "val", "generalization": "gen"})
        .unpivot(["val", "gen"], index=["step", "member"], variable_name="split")
        .with_columns(name=pl.lit("accuracy"))
    )
    summary = grokking_summary(metrics)
    values = dict(summary.overall.select("quantity", "value").iter_rows())
    assert len(summary.members) == 10
    assert values["early_stopping"] == pytest.approx(early, abs=0.0006)
    assert values["final"] == pytest.approx(final, abs=0.0006)
    assert values["best"] == pytest.approx(best, abs=0.0006)
    assert (values["grokked"], values["relapsed"]) == (grokked / 10, relapsed / 10)


def test_intervals_of_shares_stay_from_0_to_1_and_those_of_steps_above_0() -> None:
    """Of three seeds that end at 0, 5 and 100%, Student's interval alone would be −110% to 180%."""
    gen = {0: (0.0, 0.0), 1: (0.0, 0.05), 2: (0.9, 1.0)}
    rows = [
        {"step": 100 * (i + 1), "member": m, "split": split, "name": "accuracy", "value": value}
        for m, values in gen.items()
        for split, own in (("val", (1.0, 1.0)), ("gen", values))
        for i, value in enumerate(own)
    ]
    found = {row["quantity"]: row for row in grokking_summary(pl.DataFrame(rows)).overall.to_dicts()}
    assert (found["final"]["low"], found["final"]["high"]) == (0, 1)
    assert found["total_variation"]["low"] == 0
    for row in found.values():
        assert row["low"] is None or row["low"] >= 0
