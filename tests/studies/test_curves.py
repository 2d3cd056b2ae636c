import polars as pl
import pytest

from auxin.studies.curves import bands, late


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
    assert band["high"] - band["value"] == pytest.approx(0.2)  # two standard errors of the mean of two
