"""What attention does beside Hugging Face's families: penalties by distance, windows, positions, masks."""

import pytest
import torch

from agreement.oracle import alibi_slopes
from auxin.architecture import Attention, Layer, Network, Rotary, Sublayer
from auxin.architecture.initialization import SCHEMES
from auxin.architecture.sizes import Sizes
from auxin.errors import ConfigError
from auxin.models.attention import alibi, rotations
from auxin.models.context import Context
from auxin.models.stack import Stack

D, HEADS, N = 16, 4, 7
KINDS = {
    "plain": Attention(sigma_q=3.0, sigma_k=2.0),
    "alibi": Attention(sigma_q=3.0, sigma_k=2.0, alibi=HEADS, head_dim=4),
    "window": Attention(sigma_q=3.0, sigma_k=2.0, window=3),
    "all": Attention(
        sigma_q=3.0,
        sigma_k=2.0,
        head_dim=4,
        rotary=Rotary(),
        qk_norm=True,
        softcap=2.0,
        alibi=HEADS,
        window=4,
    ),
}


def stack(attention: Attention) -> Stack:
    made = Stack(Network((Layer((Sublayer(attention, skip=0.0),)),)), Sizes(D, HEADS))
    made.draw(made.network, SCHEMES["gaussian"], torch.Generator().manual_seed(0))
    return made.requires_grad_(False)


def stream() -> torch.Tensor:
    return torch.randn(2, N, D, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["plain", "alibi", "window"])
def test_weights_are_those_of_the_formula(kind: str, causal: bool) -> None:
    made, x = stack(KINDS[kind]), stream()
    body = made[0].attention
    q, k, v = (body.qkv(x)[:, :, i * D : (i + 1) * D].unflatten(-1, (HEADS, 4)) for i in range(3))
    expected = torch.zeros(2, N, HEADS, 4)
    for h in range(HEADS):
        for i in range(N):
            seen = [j for j in range(N) if (j <= i or not causal) and (kind != "window" or abs(i - j) < 3)]
            logits = torch.stack([(q[:, i, h] * k[:, j, h]).sum(-1) / 2 for j in seen], -1)
            if kind == "alibi":
                logits = logits - 2.0 ** (-8 * (h + 1) / HEADS) * torch.tensor(
                    [float(abs(i - j)) for j in seen]
                )
            expected[:, i, h] = torch.einsum("bj,bjc->bc", logits.softmax(-1), v[:, seen, h])
    context = Context.of(x, causal=causal)
    torch.testing.assert_close(made(x, context), body.out(expected.flatten(2)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_kept_weights_are_those_that_are_used(kind: str) -> None:
    made, x = stack(KINDS[kind]), stream()
    kept = Context(torch.arange(N), attention=True)
    torch.testing.assert_close(made(x, kept), made(x, Context.of(x)), atol=1e-5, rtol=1e-4)
    assert kept.weights is not None
    torch.testing.assert_close(kept.weights[0].sum(-1), torch.ones(2, HEADS, N))
    assert (kept.weights[0].triu(1) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_and_positions_equal_leaving_tokens_out(kind: str) -> None:
    """The tokens that stay keep their places, which is what the rotation and the penalty depend on."""
    made, x = stack(KINDS[kind]), stream()
    keep = torch.tensor([0, 2, 3, 6])
    mask = torch.zeros(N, N, dtype=torch.bool)
    mask[:, keep] = True
    mask |= torch.eye(N, dtype=torch.bool)
    masked = made(x, Context(torch.arange(N), mask=mask))[:, keep]
    cut = made(x[:, keep], Context(keep.expand(2, -1)))
    torch.testing.assert_close(masked, cut, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 12])
def test_penalties_are_those_of_the_paper_for_any_number_of_heads(heads: int) -> None:
    described = Attention(alibi=heads)
    penalties = alibi(described, Context(torch.arange(N)))
    torch.testing.assert_close(-penalties[:, 3, 1] / 2, torch.tensor(alibi_slopes(heads)))
    assert described.alibi_slopes == pytest.approx(alibi_slopes(heads))


def test_factors_slow_the_rotation_of_their_pairs() -> None:
    slowed = Rotary(factors=(0.5, 1.0))
    assert slowed.rates(4) == pytest.approx((0.5, 0.01))
    cos, sin = rotations(slowed, 4, Context(torch.arange(N)))
    angles = torch.arange(N)[:, None] * torch.tensor([0.5, 0.01])
    torch.testing.assert_close(cos, angles.cos().repeat(1, 2))
    torch.testing.assert_close(sin[:, 2:], angles.sin())
    with pytest.raises(ConfigError, match=r"number of factors of rotary is 2; allowed: 4, a pair each"):
        Attention(head_dim=8, rotary=slowed)


def test_rotary_logits_depend_on_distances_alone() -> None:
    made, x = stack(Attention(sigma_q=3.0, head_dim=4, rotary=Rotary())), stream()
    torch.testing.assert_close(
        made(x, Context(torch.arange(N) + 5)), made(x, Context.of(x)), atol=1e-4, rtol=1e-4
    )
    assert not torch.allclose(made(x, Context(2 * torch.arange(N))), made(x, Context.of(x)), atol=1e-2)
