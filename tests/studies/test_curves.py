import polars as pl
import pytest
from scipy.stats import ttest_1samp

from auxin.lab.table import late
from auxin.measures.intervals import bands


def rows(values: dict[int, list[float | None]]) -> pl.DataFrame:
    """A metric of one run's members at steps 0, 50, 100, …; the newest rows first."""
    table = [
        {"run": "r", "member": m, "step": 50 * i, "split": "train", "name": "loss", "value": value}
        for m, own in values.items()
        for i, value in enumerate(own)
    ]
    return pl.DataFrame(table[::-1])


def test_a_model_that_diverged_has_no_late_value() -> None:
    found = late(rows({0: [3, 2, 1, 1, 3, 5], 1: [3, 2, 1, 1, 3, float("nan")]}), "train", "loss", ())
    assert dict(found.select("member", "loss").rows()) == {0: 5, 1: None}


def test_a_band_is_of_the_models_that_are_known() -> None:
    frame = rows({0: [1.0], 1: [1.2], 2: [None], 3: [None]})
    band = bands(frame, ("name",)).row(0, named=True)
    assert band["models"] == 2
    assert band["value"] == pytest.approx(1.1)
    expected = ttest_1samp([1.0, 1.2], 0).confidence_interval()
    assert (band["low"], band["high"]) == pytest.approx((max(expected.low, 0), expected.high))


def test_a_band_is_students_within_what_the_metric_can_be() -> None:
    values = {0: [0.99], 1: [1.0], 2: [0.5]}
    expected = ttest_1samp([0.99, 1.0, 0.5], 0).confidence_interval()
    for name, low, high in (("t_score", expected.low, expected.high), ("accuracy", expected.low, 1.0)):
        band = bands(rows(values).with_columns(name=pl.lit(name)), ()).row(0, named=True)
        assert (band["low"], band["high"]) == pytest.approx((low, high))
    alone = bands(rows({0: [0.5]}), ()).row(0, named=True)
    assert alone["low"] is None
    assert alone["high"] is None
