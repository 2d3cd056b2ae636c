"""Attention moments: checked values, bounds, limits, tables, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auxin.errors import ConfigError
from auxin.theory import moments
from auxin.theory.moments import MomentsTable, attention_moments, exact_moments

CHECKED = {  # quadrature = Monte Carlo to the last digit shown
    16: {0.1: "0.0631", 1.0: "0.1325", 2.0: "0.316", 4.0: "0.586"},
    128: {0.1: "0.0079", 1.0: "0.0202", 2.0: "0.110", 4.0: "0.404"},
    1024: {0.1: "0.00099", 1.0: "0.00264", 2.0: "0.0285", 4.0: "0.272"},
}


@pytest.mark.parametrize("n", CHECKED)
def test_concentration_matches_checked_values(n: int) -> None:
    for spread, shown in CHECKED[n].items():
        digits = len(shown) - 2
        unit = 10.0**-digits
        assert attention_moments(n, spread, 0.5).r1 == pytest.approx(float(shown), abs=0.6 * unit)


domain = {
    "n": st.integers(2, 10**6) | st.sampled_from([2, 3, 10**6]),
    "spread": st.floats(0, 50, allow_subnormal=False) | st.sampled_from([0.0, 1e-9, 1e-3, 50.0]),
    "gap": st.floats(0, 1) | st.floats(1e-12, 1e-6) | st.sampled_from([0.0, 1e-12, 1.0]),
}


@given(**domain)
@settings(max_examples=150, deadline=None)
def test_moments_stay_in_their_bounds_everywhere(n: int, spread: float, gap: float) -> None:
    m = attention_moments(n, spread, 1 - gap)
    assert 1 / n <= m.r1 <= 1
    assert 1 / n * (1 - 1e-6) <= m.r2 <= m.r1
    assert 0 <= m.t2 <= m.t * (1 + 1e-6)
    assert m.t <= m.r1
    assert 0 <= m.difference <= m.r1
    assert m.r1 - m.r2 == pytest.approx(m.difference, abs=1e-12)


@given(n=domain["n"], spread=domain["spread"])
@settings(max_examples=40, deadline=None)
def test_two_equal_rows_are_one_row(n: int, spread: float) -> None:
    m = attention_moments(n, spread, 1.0)
    assert (m.r1, m.t, m.difference) == (m.r2, m.t2, 0.0)
    near = attention_moments(n, spread, 1 - 1e-12)
    assert near.t2 == pytest.approx(m.t, rel=2e-6)


@given(n=domain["n"], spread=st.floats(0, 49), step=st.floats(0.01, 1), c=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_attention_concentrates_with_spread(n: int, spread: float, step: float, c: float) -> None:
    low, high = attention_moments(n, [spread, spread + step], c).r1
    assert high >= low * (1 - 1e-8)


@given(n=domain["n"], spread=st.floats(0.1, 50), low=st.floats(0, 1), high=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_rows_agree_more_the_more_they_correlate(n: int, spread: float, low: float, high: float) -> None:
    low, high = sorted((low, high))
    first, second = attention_moments(n, spread, [low, high]).r2
    assert second >= first * (1 - 1e-6)


def test_negative_cosines_reach_the_simplex() -> None:
    """Two opposite tokens: logits of the two rows are mirrored, so rows are each other's complement."""
    m = attention_moments(2, 3.0, -1.0)
    assert m.r1 + m.r2 == pytest.approx(1.0, rel=1e-6)
    assert m.t == pytest.approx(m.t2, rel=1e-6)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-8])
def test_difference_keeps_its_digits(gap: float) -> None:
    """R1 − R2 → s²(1 − c)T as rows become equal, far below the rounding of R1."""
    m = attention_moments(64, 0.05, 1 - gap)
    assert m.difference == pytest.approx(0.05**2 * gap * m.t, rel=1e-4)


@pytest.mark.parametrize("n", [2, 1000])
@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-7, 1e-4, 1e-2, 1.0])
def test_rows_beyond_the_largest_spread_match_direct_quadrature(
    n: int, gap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = attention_moments(n, 8000.0, 1 - gap)
    monkeypatch.setattr(moments, "LARGEST_SPREAD", 1e5)
    direct = attention_moments(n, 8000.0, 1 - gap)
    assert 1 - found.r1 == pytest.approx(1 - direct.r1, rel=1e-4)
    assert 1 - found.r2 == pytest.approx(1 - direct.r2, rel=0.02)
    assert found.difference == pytest.approx(direct.difference, rel=0.02)
    assert found.t == pytest.approx(direct.t, rel=5e-3)
    assert found.t2 == pytest.approx(direct.t2, rel=0.04)


def test_rows_respond_ever_less_as_their_spread_grows() -> None:
    assert attention_moments(2, 1e6, 0.0).t == pytest.approx(1.8806e-7, rel=1e-4)


@pytest.mark.parametrize(
    ("lengths", "scales"),
    [
        ([32.0], [0.0]),
        ([32.0], [1.0]),
        ([1000.0], [20.0]),
        ([2.0], [10.0]),
        ([32.0], [0.0, 6.0]),
        ([1000.0], [0.0, 10.0]),
        ([1e6], [0.0, 10.0]),
        ([2.0, 64.0], [1.0]),
    ],
)
def test_tables_agree_with_direct_quadrature(lengths: list[float], scales: list[float]) -> None:
    rng = np.random.default_rng(1)
    n = np.round(np.exp(rng.uniform(np.log(lengths[0]), np.log(lengths[-1]), 60)))
    sigma = rng.uniform(scales[0], scales[-1], 60)
    gap = np.concatenate([10 ** rng.uniform(-12, 0, 15), rng.uniform(0, 1, 43), [0, 1]])
    table = MomentsTable(np.array(lengths), np.array(scales))(n, sigma, gap)
    direct = exact_moments(n, sigma, gap)
    for name in ("r1", "r2", "t", "t2", "difference"):
        assert getattr(table, name) == pytest.approx(getattr(direct, name), rel=1e-4, abs=1e-300)


def test_arguments_broadcast() -> None:
    m = attention_moments([8, 16], [[0.5], [1.0], [2.0]], 0.2)
    assert m.r1.shape == (3, 2)
    assert m.t2[2, 1] == attention_moments(16, 2.0, 0.2).t2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_tokens": 1}, "n_tokens is 1.0; allowed: a whole number from 2 to 1000000"),
        ({"n_tokens": 2.5}, "n_tokens is 2.5"),
        ({"n_tokens": np.nan}, "n_tokens is nan"),
        ({"spread": -0.1}, "spread is -0.1; allowed: a finite number, 0 or more"),
        ({"spread": np.inf}, "spread is inf"),
        ({"cosine": 1.1}, r"cosine is 1.1; allowed: -1/\(n_tokens - 1\) to 1"),
        ({"cosine": -0.2}, "cosine is -0.2"),
        ({"cosine": np.nan}, "cosine is nan"),
    ],
)
def test_out_of_range_is_refused_by_name(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        attention_moments(**{"n_tokens": 16, "spread": 1.0, "cosine": 0.5, **arguments})
