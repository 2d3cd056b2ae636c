"""The packed stack beside the readable transformer: same losses, same gradients, whoever else is in the stack."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from auxin.config import ModelConfig
from auxin.models import dropout
from auxin.models.batch import IGNORE, Batch, Masks, lay_out, make_batch
from auxin.models.dropout import HashedDropout, MemberDropout
from auxin.models.ensemble import Ensemble as PlainEnsemble
from auxin.models.fast.ensemble import FastEnsemble as Ensemble
from auxin.models.fast.functions import activate
from auxin.models.mlp import ACTIVATIONS
from training.stacks import DESCRIBED_MODEL

CONFIG = ModelConfig(depth=2, width=32, heads=4, vocabulary_size=20, dropout=0.0)
VARIANTS = [
    {},
    {
        "norm": "pre",
        "activation": "gelu",
        "positions": "learned",
        "tied": True,
        "mlp_skip": 0.5,
        "mlp_branch": 0.7,
    },
    {"norm": "none", "activation": "tanh", "attention_bias": True, "mlp_bias": False, "positions": "none"},
]


def sequences(members: int, size: int = 5) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return [[rng.integers(0, 20, rng.integers(3, 12)) for _ in range(size)] for _ in range(members)]


@pytest.mark.parametrize("settings", VARIANTS)
def test_losses_and_gradients_are_those_of_each_member_alone(settings: dict[str, object]) -> None:
    ensemble = Ensemble(dataclasses.replace(CONFIG, **settings), [0, 1, 2])  # pyright: ignore
    data = sequences(3)
    losses = ensemble.differentiate(make_batch(data), Masks())
    for m in range(3):
        twin = ensemble.member(m).requires_grad_(True)
        pairs = [(torch.from_numpy(s[:-1])[None], torch.from_numpy(s[1:])) for s in data[m]]
        nats = [F.cross_entropy(twin(words).logits[0], target, reduction="sum") for words, target in pairs]
        loss = torch.stack(nats).sum() / sum(len(target) for _, target in pairs)
        loss.backward()
        torch.testing.assert_close(losses[m], loss, atol=1e-5, rtol=1e-5)
        gradients = {name: p.grad for name, p in twin.named_parameters()}
        assert set(gradients) == set(ensemble.gradients)
        for name, gradient in gradients.items():
            torch.testing.assert_close(ensemble.gradients[name][m], gradient, atol=1e-6, rtol=1e-4)


BY_AUTOGRAD = dataclasses.replace(DESCRIBED_MODEL, initialization="xavier", vocabulary_size=20)


@pytest.mark.parametrize(
    ("kind", "config", "tolerance"),
    [
        *((Ensemble, dataclasses.replace(CONFIG, **{**v, "activation": "tanh"}), 2e-3) for v in VARIANTS),  # pyright: ignore
        (PlainEnsemble, BY_AUTOGRAD, 5e-3),
    ],
)
def test_gradients_through_dropout_are_slopes_of_the_loss(
    kind: type[PlainEnsemble], config: ModelConfig, tolerance: float
) -> None:
    config = dataclasses.replace(config, dropout=0.3)
    ensemble, batch = kind(config, [0, 1]), make_batch(sequences(2))
    dropout, step = HashedDropout(config, [0, 1]), torch.tensor(3)
    ensemble.differentiate(batch, dropout.masks(batch, step))
    gradient, weights = ensemble.gradient.double(), ensemble.flat.clone()
    direction = gradient / gradient.norm(dim=1, keepdim=True)
    losses = []
    for distance in (0.002, -0.002):
        ensemble.flat.copy_(weights + distance * direction)
        losses.append(ensemble.differentiate(batch, dropout.masks(batch, step)).double())
    slope = (losses[0] - losses[1]) / 0.004
    torch.testing.assert_close(slope, gradient.norm(dim=1), rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_way_back_through_an_activation_is_autograds(name: str) -> None:
    x = torch.linspace(-3, 3, 50)
    y, back = activate(x.clone(), name)
    expected = ACTIVATIONS[name](x.requires_grad_())
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(back(y.cos()), torch.autograd.grad(expected, x, y.cos())[0])


@pytest.mark.parametrize("settings", VARIANTS)
def test_bfloat16_products_are_float32_ones_up_to_their_rounding(settings: dict[str, object]) -> None:
    """Gradients differ by √2⁻⁸ = 6%: that many relus are on the other side of zero. All stay float32."""
    config, batch = dataclasses.replace(CONFIG, **settings), make_batch(sequences(3))  # pyright: ignore
    exact, rounded = Ensemble(config, [0, 1, 2]), Ensemble(config, [0, 1, 2], precision="bfloat16")
    losses = []
    for ensemble in (exact, rounded):
        losses.append(ensemble.differentiate(batch, Masks()))
    assert rounded.flat.dtype == rounded.gradient.dtype == losses[1].dtype == torch.float32
    assert not torch.equal(losses[0], losses[1])
    torch.testing.assert_close(losses[1], losses[0], rtol=0.01, atol=0)
    error = (rounded.gradient - exact.gradient).norm(dim=1) / exact.gradient.norm(dim=1)
    assert 0 < error.max() < 0.06


@pytest.mark.parametrize("settings", VARIANTS)
def test_room_for_longer_batches_changes_nothing(settings: dict[str, object]) -> None:
    config, data = dataclasses.replace(CONFIG, **settings), sequences(3)  # pyright: ignore
    tight, roomy = Ensemble(config, [0, 1, 2]), Ensemble(config, [0, 1, 2])
    expected = tight.differentiate(make_batch(data), Masks())
    losses = roomy.differentiate(padded(data, 72, 24), Masks())
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(roomy.gradient, tight.gradient, atol=1e-6, rtol=1e-4)


def padded(data: list[list[np.ndarray]], T: int, L: int) -> Batch:
    flat = [s for member in data for s in member]
    sizes = np.array([len(s) for s in flat])
    starts, targets = (torch.from_numpy(x).view(len(data), -1) for x in (np.cumsum(sizes) - sizes, sizes - 1))
    return lay_out(torch.from_numpy(np.concatenate(flat)), starts, targets, (T, L))


def test_a_batch_is_its_sequences() -> None:
    data = sequences(3)
    batch = make_batch(data)
    for m, member in enumerate(data):
        n = int(batch.counts[m])
        assert batch.tokens[m, :n].tolist() == [t for s in member for t in s[:-1]]
        assert batch.targets[m, :n].tolist() == [t for s in member for t in s[1:]]
        assert batch.positions[m, :n].tolist() == [i for s in member for i in range(len(s) - 1)]
        assert (batch.targets[m, n:] == IGNORE).all()


def test_hashed_masks_depend_on_seed_step_and_place_alone() -> None:
    """Not on who else is in the stack, nor on how far its batches are padded."""
    config, seeds, step = dataclasses.replace(CONFIG, dropout=0.3), [5, 6, 7], torch.tensor(9)
    data = sequences(3)
    stacked, batch = Ensemble(config, seeds), padded(data, 72, 24)
    losses = stacked.differentiate(batch, HashedDropout(config, seeds).masks(batch, step))
    for m, seed in enumerate(seeds):
        alone, own = Ensemble(config, [seed]), make_batch(data[m : m + 1])
        loss = alone.differentiate(own, HashedDropout(config, [seed]).masks(own, step))
        torch.testing.assert_close(loss[0], losses[m])
        torch.testing.assert_close(alone.gradient[0], stacked.gradient[m], atol=1e-6, rtol=1e-4)


def test_hashed_words_are_those_of_splitmix64() -> None:
    """Its outputs from state 0, as its reference implementation prints them."""
    words = dropout._mix(torch.arange(1, 4) * dropout._GAMMA)
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(word) % 2**64 for word in words] == known


@pytest.mark.parametrize("hashed", [False, True])
def test_dropout_keeps_the_stated_share_and_the_mean(hashed: bool) -> None:
    config = dataclasses.replace(CONFIG, dropout=0.1, width=128)
    batch = make_batch(sequences(1, size=200))

    def factors(seed: int, step: int) -> list[torch.Tensor]:
        if hashed:
            masks = HashedDropout(config, [seed]).masks(batch, torch.tensor(step))
        else:
            masks = MemberDropout(config, seed).masks(batch, step)
        tokens, attention = masks.take(), masks.take()
        assert tokens is not None
        assert attention is not None
        return [tokens.flatten(), attention.flatten()]

    p = 26 / 256
    first, *others = factors(0, 0), factors(0, 1), factors(1, 0)
    for one in first:
        share = (one > 0).float().mean().item()
        assert abs(share - (1 - p)) < 5 * (p * (1 - p) / len(one)) ** 0.5
        assert one.max().item() == pytest.approx(1 / (1 - p))
    for again, one in zip(factors(0, 0), first, strict=True):
        assert torch.equal(again, one)
    for other in others:
        for one, two in zip(first, other, strict=True):
            drawn = torch.stack([one, two]) > 0
            assert abs(torch.corrcoef(drawn.float())[0, 1].item()) < 5 * len(one) ** -0.5
