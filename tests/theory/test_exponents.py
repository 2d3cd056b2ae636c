"""Propagation, fixed points and exponents: checked numbers, limits, phases, invariances."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auxin.architecture.block import Block, replace
from auxin.config import ModelConfig
from auxin.errors import ConfigError
from auxin.theory import gaussian
from auxin.theory.exponents import angle_exponents, exponents, exponents_grid
from auxin.theory.propagation import propagate

PAPER = Block.cowsik(alpha_attention=0.5, alpha_mlp=0.5, sigma_w=2.0, sigma_a=1.0, n_tokens=32)
STEEP = Block.cowsik(alpha_attention=0.5, alpha_mlp=0.8, sigma_w=6.0, sigma_a=1.5, n_tokens=16)
POST_RELU = Block(norm="post", activation="relu", n_tokens=32)

blocks = st.builds(
    Block,
    norm=st.sampled_from(["pre", "post"]),
    activation=st.sampled_from(["linear", "relu", "gelu", "erf", "tanh", "silu", "quick_gelu"]),
    attention_skip=st.floats(0.1, 2),
    attention_branch=st.floats(0, 2),
    mlp_skip=st.floats(0.1, 2),
    mlp_branch=st.floats(0, 2),
    sigma_a=st.floats(0, 10),
    sigma_v=st.floats(0.1, 3),
    sigma_w=st.floats(0.1, 5),
    sigma_o=st.floats(0.1, 3),
    sigma_b=st.floats(0, 1),
    n_tokens=st.sampled_from([2, 3, 16, 300]),
)


def test_tokens_of_a_deep_relu_network_keep_collapsing_below_rounding() -> None:
    found = propagate(Block.of(ModelConfig()), depth=200)
    assert (np.diff(np.log(found["gap"][100:])) < -0.4).all()
    assert np.isfinite(found.gradient).all()


def test_the_papers_block() -> None:
    result = exponents(PAPER)
    assert result.angle == pytest.approx(-0.2357, abs=5e-5)
    assert result.norm == pytest.approx(0.7916, abs=5e-5)
    assert result.cosine == 1
    assert result.gradient == pytest.approx(0.1157, abs=5e-5)
    assert result.phase == "ordered"


def test_exponents_at_collapse_are_the_papers_formulas() -> None:
    """λ_a and the spectrum at c* = 1, written out from q*, α and χ alone."""
    result = exponents(PAPER)
    q, a2, m2 = result.norm, 0.25, 0.25
    q1 = (1 - a2) * q + a2
    chi = 4 * float(gaussian.kernel_derivative("tanh", 4.0, 4.0, 4.0))
    common = (1 - a2 + a2 / q) * ((1 - m2) + m2 * chi / q1)
    assert result.angle == pytest.approx(math.log((1 - a2) * ((1 - m2) + m2 * chi / q1)), abs=1e-9)
    assert result.gradient == pytest.approx(math.log(common), abs=1e-9)
    assert result.gradient_spectrum == pytest.approx((result.gradient, result.angle), abs=1e-9)


def test_post_norm_relu_collapses_as_checked() -> None:
    assert propagate(POST_RELU, cosine=0.3, depth=3).cosine[1:] == pytest.approx(
        [0.526, 0.717, 0.845], abs=2e-3
    )


def test_post_norm_tanh_collapses_as_checked() -> None:
    block = Block(norm="post", activation="tanh", sigma_w=1.5, n_tokens=32)
    assert propagate(block, depth=3).cosine[1:] == pytest.approx([0.450, 0.605, 0.738], abs=2e-3)


@pytest.mark.parametrize("branch", [0.1, 0.5, 1.0, 1.7])
def test_published_models_lose_a_fixed_angle_a_layer(branch: float) -> None:
    """Xavier gains, relu, skip 1: λ_a = −ln(1 + b²), −ln 2 for the published code."""
    config = ModelConfig(attention_branch=branch, mlp_branch=branch)
    assert exponents(Block.of(config)).angle == pytest.approx(-math.log(1 + branch**2), abs=1e-9)


@pytest.mark.parametrize("depth", [1, 12])
def test_propagation_runs_from_input_to_output(depth: int) -> None:
    result = propagate(PAPER, cosine=0.2, depth=depth, norm=3.0)
    assert result.cosine.shape == result.norm.shape == result.gradient.shape == (depth + 1,)
    assert (result.cosine[0], result.norm[0], result.gradient[-1]) == (0.2, pytest.approx(3.0), 1.0)
    assert result["gradient_overlap"][-1] == 0


@pytest.mark.parametrize("block", [PAPER, STEEP, POST_RELU])
def test_a_long_network_reaches_the_fixed_point_and_the_exponents(block: Block) -> None:
    """The exponents against plain recursion: slopes of log angle and log gradient, far from both ends."""
    result, end = propagate(block, depth=150), exponents(block)
    assert result.cosine[-1] == pytest.approx(end.cosine, abs=1e-3)
    assert result.norm[-1] == pytest.approx(end.norm, rel=1e-6)
    total = np.log(result.gradient + (block.n_tokens - 1) * result["gradient_overlap"])
    assert total[60] - total[61] == pytest.approx(end.gradient, abs=2e-3)
    if end.phase == "ordered":
        near = np.log(result["gap"])
        assert near[-1] - near[-2] == pytest.approx(end.angle, abs=1e-6)


@given(alpha=st.floats(0.01, 0.99), sigma_a=st.floats(0, 50), n=st.integers(2, 2000))
@settings(max_examples=40, deadline=None)
def test_attention_alone_always_collapses_rank(alpha: float, sigma_a: float, n: int) -> None:
    for norm in ("pre", "post"):
        block = replace(Block(norm=norm, sigma_a=sigma_a, n_tokens=n, mlp_branch=0.0), alpha_attention=alpha)
        assert angle_exponents(block, {}) < 0


def test_a_steep_mlp_repels_tokens() -> None:
    """Chaos: collapse is unstable, c* is small and falls with the number of tokens towards a true simplex."""
    cosines = [exponents(replace(STEEP, n_tokens=n, sigma_w=20.0)).cosine for n in (8, 64, 512)]
    assert exponents(STEEP).phase == "chaotic"
    assert cosines[0] > cosines[1] > cosines[2] > 0
    weak = exponents(replace(STEEP, n_tokens=512, sigma_w=20.0, alpha_attention=0.1))
    assert weak.cosine < 0.01
    assert weak.gradient > 0


def test_two_stable_fixed_points_are_told_apart_by_the_start() -> None:
    """Sharp attention keeps spread tokens apart, yet tokens that start together collapse."""
    block = Block.cowsik(alpha_attention=0.4, alpha_mlp=0.6, sigma_w=2.0, sigma_a=40.0, n_tokens=64)
    assert exponents(block, cosine=0.84).cosine == 1
    for start in (0.0, 0.3, 0.83):
        assert exponents(block, cosine=start).cosine == pytest.approx(0.1332, abs=1e-4)
    assert exponents(block).phase == "ordered"


@given(block=blocks)
@settings(max_examples=40, deadline=None)
def test_nothing_is_ever_nan(block: Block) -> None:
    result = exponents(block)
    assert not any(np.isnan([result.angle, result.gradient, *result.gradient_spectrum, result.norm]))
    assert 0 <= result.cosine <= 1
    assert result.gradient_spectrum[0] >= result.gradient_spectrum[1]
    layers = propagate(block, depth=2)
    assert np.isfinite([layers.cosine, layers.norm, layers.gradient, layers["gradient_overlap"]]).all()


@given(block=blocks)
@settings(max_examples=25, deadline=None)
def test_equal_tokens_stay_equal(block: Block) -> None:
    assert propagate(block, cosine=1.0, depth=3).cosine == pytest.approx(1, abs=1e-14)


@given(block=blocks, scale=st.floats(0.2, 5))
@settings(max_examples=25, deadline=None)
def test_a_norm_makes_a_common_rescaling_of_strengths_invisible(block: Block, scale: float) -> None:
    """Both strengths of both sublayers times λ: the norm removes it, and pre-norm only shows it in q."""
    fields = ("attention_skip", "attention_branch", "mlp_skip", "mlp_branch")
    scaled = replace(block, **{name: scale * getattr(block, name) for name in fields})
    first, second = propagate(block, depth=4), propagate(scaled, depth=4)
    if block.norm == "post":
        assert second.cosine == pytest.approx(first.cosine, abs=1e-9)
        assert second.gradient == pytest.approx(first.gradient, rel=1e-6)
    input_scaled = propagate(replace(block, attention_branch=0.0, mlp_branch=0.0), norm=scale, depth=4)
    assert input_scaled.cosine == pytest.approx(0.3)
    if block.norm == "pre":  # branches scaled with the stream: x → λx
        stream = replace(
            block,
            attention_branch=scale * block.attention_branch,
            mlp_branch=scale * block.mlp_branch,
        )
        third = propagate(stream, norm=scale**2, depth=4)
        assert third.cosine == pytest.approx(first.cosine, abs=1e-9)
        assert third.norm == pytest.approx(scale**2 * first.norm, rel=1e-9)
        assert third.gradient == pytest.approx(first.gradient, rel=1e-6)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_grid_agrees_with_its_points(norm: str) -> None:
    block = Block(norm=norm, activation="tanh", sigma_b=0.1, n_tokens=24, sigma_a=2.0)
    alphas, sigmas = np.array([0.05, 0.3, 0.6, 0.9]), np.array([0.5, 2.0, 5.0])
    grid = exponents_grid(block, {"alpha_mlp": alphas[:, None], "sigma_w": sigmas})
    for i, alpha in enumerate(alphas):
        for j, sigma in enumerate(sigmas):
            one = exponents(replace(block, alpha_mlp=alpha, sigma_w=sigma))
            assert grid.angle[i, j] == pytest.approx(one.angle, abs=1e-6)
            assert grid.gradient[i, j] == pytest.approx(one.gradient, abs=1e-5)
            assert grid.cosine[i, j] == pytest.approx(one.cosine, abs=1e-5)
            assert grid.norm[i, j] == pytest.approx(one.norm, rel=1e-5)
            assert grid.phase[i, j] == one.phase


def test_a_stream_that_grows_for_ever_has_the_limiting_exponents() -> None:
    steady, growing = exponents(Block(activation="relu")), exponents(Block(mlp_skip=2.0))
    assert (steady.angle, steady.gradient, steady.phase) == (0, 0, "critical")
    assert steady.norm == growing.norm == math.inf
    assert growing.gradient == pytest.approx(math.log(4))
    late = np.log(propagate(Block(activation="relu", sigma_a=0.0), depth=300).gradient)
    assert late[250] - late[251] == pytest.approx(0, abs=0.02)


def test_degenerate_blocks_have_plain_answers() -> None:
    idle = exponents(Block(attention_branch=0.0, mlp_branch=0.0))
    assert (idle.angle, idle.gradient, idle.cosine, idle.norm) == (0, 0, pytest.approx(0.3), 1)
    dead = exponents(Block(attention_branch=0.0, mlp_skip=0.0, sigma_w=0.0))
    assert (dead.angle, dead.gradient, dead.norm) == (-math.inf, -math.inf, 0)
    fading = exponents(Block(attention_branch=0.0, mlp_branch=0.0, mlp_skip=0.5))
    assert (fading.angle, fading.gradient, fading.norm) == (0, pytest.approx(math.log(0.25)), 0)


def test_without_norm_the_stream_settles_or_runs_away() -> None:
    settling = Block(norm="none", activation="tanh", attention_skip=0.6, mlp_skip=0.5, n_tokens=16)
    result, layers = exponents(settling), propagate(settling, depth=60)
    assert result.norm == pytest.approx(layers.norm[-1], rel=1e-6)
    assert result.cosine == pytest.approx(layers.cosine[-1], abs=1e-6)
    assert exponents(Block(norm="none", activation="relu")).norm == math.inf
    with pytest.raises(ConfigError, match="norm² after layer 70 is"):
        propagate(Block(norm="none", activation="linear", mlp_skip=100.0), depth=200)


def test_a_users_activation_gives_what_its_name_gives() -> None:
    named, own = exponents(PAPER), exponents(dataclasses.replace(PAPER, activation=np.tanh))
    assert own.angle == pytest.approx(named.angle, abs=1e-6)
    assert own.gradient == pytest.approx(named.gradient, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cosine": -0.5}, "cosine is -0.5; allowed: -1/31 to 1"),
        ({"cosine": math.nan}, "cosine is nan"),
        ({"norm": 0.0}, "norm is 0.0"),
        ({"depth": 0}, "depth is 0"),
        ({"depth": 1.5}, "depth is 1.5"),
    ],
)
def test_out_of_range_is_refused_by_name(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        propagate(PAPER, **arguments)
    if "cosine" in arguments:
        with pytest.raises(ConfigError, match=message):
            exponents(PAPER, **arguments)


@pytest.mark.parametrize(
    ("dead", "message"),
    [
        (
            {"norm": "post", "sigma_o": 0.0, "mlp_skip": 0.0},
            "layer 1, before it is normalized is 0.0",
        ),
        (
            {"norm": "post", "sigma_v": 0.0, "attention_skip": 0.0},
            "layer 1, before it is normalized is 0.0",
        ),
        (
            {"norm": "none", "sigma_v": 0.0, "attention_skip": 0.0},
            "norm² after layer 1 is 0.0; allowed: 1e-300",
        ),
    ],
)
def test_a_state_of_zeros_is_refused_by_its_norm(dead: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        propagate(Block(**dead))
    if dead["norm"] == "post":
        with pytest.raises(ConfigError, match="exponent is nan; allowed: tokens whose"):
            exponents(Block(**dead))


def test_a_depth_may_be_numpys() -> None:
    assert len(propagate(Block(), depth=np.int64(2)).norm) == 3  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=r"depth is 2\.5; allowed: a whole number from 1 to 10000"):
        propagate(Block(), depth=2.5)  # pyright: ignore[reportArgumentType]


def test_a_gradient_beyond_all_numbers_is_refused() -> None:
    block = Block(norm="none", activation="relu", sigma_v=100, sigma_o=100, sigma_a=100, n_tokens=8)
    with pytest.raises(ConfigError, match="squared gradient before layer 9 is inf"):
        exponents(block, depth=12)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_tokens_that_sum_to_zero_stay_so(n: int) -> None:
    """Uniform attention adds their mean, which is zero; rounding would double in every layer."""
    block = Block(norm="none", activation="linear", sigma_a=0, sigma_v=1, sigma_o=1e-8, n_tokens=n)
    found = propagate(block, -1 / (n - 1), 50)
    assert found.norm[-1] == pytest.approx(1)
    assert found.cosine[-1] == pytest.approx(-1 / (n - 1))
