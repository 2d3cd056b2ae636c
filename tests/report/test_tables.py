"""Curves thinned for drawing."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from auxin.report.tables import stretch_length, thinned


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300), st.integers(4, 40))
def test_thinning_keeps_the_ends_and_every_extreme_and_little_more(values: list[float], most: int) -> None:
    frame = pl.DataFrame({"step": range(0, 7 * len(values), 7), "value": values})
    kept = thinned(frame, most=most)
    assert len(kept) <= most + 4
    assert kept["step"].is_sorted()
    assert kept.rows()[0] == frame.rows()[0]
    assert kept.rows()[-1] == frame.rows()[-1]
    assert (kept["value"].min(), kept["value"].max()) == (min(values), max(values))
    assert (kept.height == frame.height) or len(values) > most
    assert frame.join(kept, on=["step", "value"], how="semi").height == kept.height


def test_each_curve_is_thinned_by_itself_and_a_jump_of_one_step_stays() -> None:
    steps = np.arange(10_000)
    flat, jump = np.zeros(10_000), np.where(steps == 4321, 1.0, 0.0)
    frame = pl.concat(
        pl.DataFrame({"step": steps, "value": values, "series": name})
        for name, values in (("a", flat), ("b", jump))
    )
    kept = thinned(frame, "series", most=100)
    assert kept.filter(value=1).rows() == [(4321, 1.0, "b")]
    assert stretch_length(frame, "series", most=100) == 200
    assert stretch_length(frame, "series", most=10_000) == 1
