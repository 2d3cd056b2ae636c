"""The packed stack beside the readable transformer: same losses, same gradients, whoever else is in the stack."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from auxin.config import ModelConfig
from auxin.models.batch import make_batch
from auxin.models.dropout import Dropout, Masks
from auxin.models.ensemble import Ensemble

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
    losses = ensemble.losses(make_batch(data, heads=4), Masks())
    losses.sum().backward()
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


@pytest.mark.parametrize("settings", VARIANTS)
def test_bfloat16_products_are_float32_ones_up_to_their_rounding(settings: dict[str, object]) -> None:
    """Gradients differ by √2⁻⁸ = 6%: that many relus are on the other side of zero. All stay float32."""
    config, batch = dataclasses.replace(CONFIG, **settings), make_batch(sequences(3), heads=4)  # pyright: ignore
    exact, rounded = Ensemble(config, [0, 1, 2]), Ensemble(config, [0, 1, 2], precision="bfloat16")
    losses = []
    for ensemble in (exact, rounded):
        losses.append(ensemble.losses(batch, Masks()))
        losses[-1].sum().backward()
    assert rounded.flat.dtype == rounded.gradient.dtype == losses[1].dtype == torch.float32
    assert not torch.equal(losses[0], losses[1])
    torch.testing.assert_close(losses[1], losses[0], rtol=0.01, atol=0)
    error = (rounded.gradient - exact.gradient).norm(dim=1) / exact.gradient.norm(dim=1)
    assert 0 < error.max() < 0.06


def test_dropout_masks_do_not_depend_on_the_stack() -> None:
    config = dataclasses.replace(CONFIG, dropout=0.3)
    data, seeds = sequences(3), [5, 6, 7]
    stacked = Ensemble(config, seeds)
    losses = stacked.losses(make_batch(data, 4), Dropout(config, seeds).masks(make_batch(data, 4), step=9))
    losses.sum().backward()
    for m, seed in enumerate(seeds):
        alone, batch = Ensemble(config, [seed]), make_batch(data[m : m + 1], 4)
        loss = alone.losses(batch, Dropout(config, [seed]).masks(batch, step=9))
        loss.sum().backward()
        torch.testing.assert_close(loss[0], losses[m])
        torch.testing.assert_close(alone.gradient[0], stacked.gradient[m], atol=1e-6, rtol=1e-4)


def test_dropout_keeps_the_stated_share_and_the_mean() -> None:
    config = dataclasses.replace(CONFIG, dropout=0.1, width=128)
    batch = make_batch(sequences(1, size=200), 4)
    masks = Dropout(config, [0]).masks(batch, step=0)
    factors = masks.apply(torch.ones(*batch.tokens.shape, 128))
    n = factors.numel()
    kept = (factors > 0).float().mean().item()
    p = 26 / 256
    assert abs(kept - (1 - p)) < 5 * (p * (1 - p) / n) ** 0.5
    assert factors.max().item() == pytest.approx(1 / (1 - p))
    again = Dropout(config, [0]).masks(batch, step=0).apply(torch.ones(*batch.tokens.shape, 128))
    other = Dropout(config, [0]).masks(batch, step=1).apply(torch.ones(*batch.tokens.shape, 128))
    assert torch.equal(factors, again)
    assert not torch.equal(factors, other)
