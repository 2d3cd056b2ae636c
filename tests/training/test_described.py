"""Training of described networks by autograd: as a plain loop, resumed bit for bit, alone as stacked."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from auxin.architecture import MLP, Attention, Experts, Layer, Norm, Rotary, Sublayer
from auxin.config import ModelConfig, OptimizerConfig, RunConfig, preset
from auxin.errors import ConfigError
from auxin.models.batch import make_batch
from auxin.models.dropout import HashedDropout
from auxin.models.ensemble import Ensemble
from auxin.models.fast.ensemble import FastEnsemble, supports
from auxin.training.loop import Trainer
from training.diverging import check_freezing

RMS = Norm("rms", epsilon=1e-5)
LLAMA = Layer(
    (
        Sublayer(Attention(head_dim=8, rotary=Rotary()), before=RMS),
        Sublayer(MLP("silu", gated=True), before=RMS),
    )
)
PARALLEL = dataclasses.replace(LLAMA, parallel=True)
MIXTURE = Layer(
    (
        Sublayer(Attention(), before=RMS),
        Sublayer(Experts(count=4, shared=MLP("gelu"), sigma_s=1.0), before=RMS),
    )
)
MODEL = ModelConfig(
    depth=3,
    width=16,
    heads=2,
    key_heads=1,
    vocabulary_size=9,
    layers=(LLAMA, PARALLEL, MIXTURE),
    final_norm=RMS,
    positions="none",
    initialization="normal",
)
OPTIMIZER = OptimizerConfig(learning_rate=0.01, warmup=3, clip=0.5, weight_decay=0.1)
CONFIG = RunConfig(model=MODEL, optimizer=OPTIMIZER, steps=12, batch_size=4, seeds=(3, 4, 5))


def data(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 9, rng.integers(3, 9)) for _ in range(18)]


def test_steps_are_those_of_a_plain_loop() -> None:
    config = dataclasses.replace(CONFIG, seeds=(3,), model=dataclasses.replace(MODEL, dropout=0.0))
    trainer = Trainer(config, data())
    twin = trainer.ensemble.member(0)
    twin.load_state_dict({name: value.clone() for name, value in twin.state_dict().items()}, assign=True)
    twin.requires_grad_(True)
    plain = torch.optim.AdamW(twin.parameters(), lr=0.01, betas=(0.9, 0.999), eps=1e-7, weight_decay=0.1)
    warmup = torch.optim.lr_scheduler.LambdaLR(plain, lambda step: min(1.0, step / 3))
    for step in range(6):
        (batch,) = trainer.batches.at(step)
        logits = [twin(torch.from_numpy(s[:-1])[None]).logits[0] for s in batch]
        loss = F.cross_entropy(torch.cat(logits), torch.from_numpy(np.concatenate([s[1:] for s in batch])))
        plain.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        plain.step()
        warmup.step()
        result = trainer.step()
        torch.testing.assert_close(result.losses[0], loss.detach())
        torch.testing.assert_close(result.gradient_norms[0], norm, rtol=1e-4, atol=0)
    for name, value in twin.named_parameters():
        torch.testing.assert_close(trainer.ensemble.parameters[name][0], value.detach(), atol=1e-5, rtol=1e-3)


def test_resumed_is_bit_for_bit_uninterrupted() -> None:
    straight = Trainer(CONFIG, data())
    for _ in range(5):
        straight.step()
    weights = {
        seed: {n: v[m].clone() for n, v in straight.ensemble.parameters.items()}
        for m, seed in enumerate(CONFIG.seeds)
    }
    state = {name: value.clone() for name, value in straight.state().items()}
    resumed = Trainer(CONFIG, data())
    resumed.restore(5, weights, state, {})
    for _ in range(5):
        assert torch.equal(straight.step().losses, resumed.step().losses)
    assert torch.equal(straight.ensemble.flat, resumed.ensemble.flat)


def test_bits_depend_on_neither_the_other_members_nor_the_number_of_threads() -> None:
    model = dataclasses.replace(MODEL, width=64, heads=8)
    stacked = dataclasses.replace(CONFIG, model=model, batch_size=8)
    alone, before, flats = dataclasses.replace(stacked, seeds=(4,)), torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            trainer = Trainer(stacked if threads == 2 else alone, data() * 8)
            for _ in range(5):
                trainer.step()
        finally:
            torch.set_num_threads(before)
        flats.append(trainer.ensemble.flat[1 if threads == 2 else 0].clone())
    assert torch.equal(flats[0], flats[1])
    assert torch.equal(flats[0], flats[2])


def test_all_members_at_once_and_shares_are_the_same_batch_up_to_rounding() -> None:
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, dropout=0.0))
    whole = Trainer(dataclasses.replace(config, shares=1), data())
    others = [Trainer(dataclasses.replace(config, shares=3), data()), Trainer(config, data(), at_once=True)]
    for _ in range(4):
        expected = whole.step()
        for other in others:
            result = other.step()
            torch.testing.assert_close(result.losses, expected.losses, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(result.gradient_norms, expected.gradient_norms, atol=1e-4, rtol=1e-3)


def test_a_diverging_member_is_frozen_and_the_rest_go_on() -> None:
    check_freezing(lambda: Trainer(CONFIG, data()))


def test_bfloat16_trains_as_float32_does() -> None:
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, dropout=0.0), steps=15)
    exact, rounded = (
        Trainer(config, data()),
        Trainer(dataclasses.replace(config, precision="bfloat16"), data()),
    )
    first, *_, last = [(exact.step().losses, rounded.step().losses) for _ in range(15)]
    torch.testing.assert_close(last[1], last[0], rtol=0.05, atol=0)
    assert (last[1] < first[1]).all()
    assert {tensor.dtype for tensor in rounded.state().values()} == {torch.float32}


def test_dropout_is_drawn_for_every_layer_and_gradients_are_slopes_through_it() -> None:
    config = dataclasses.replace(MODEL, dropout=0.3, initialization="xavier")
    ensemble, batch = Ensemble(config, [0, 1]), make_batch([data()[:4], data()[4:8]])
    step = torch.tensor(3)

    def losses() -> torch.Tensor:
        return ensemble.differentiate(batch, HashedDropout(config, [0, 1]).masks(batch, step))

    whole = losses()
    gradient, weights = ensemble.gradient.double(), ensemble.flat.clone()
    direction = gradient / gradient.norm(dim=1, keepdim=True)
    slopes = []
    for distance in (0.002, -0.002):
        ensemble.flat.copy_(weights + distance * direction)
        slopes.append(losses().double())
    torch.testing.assert_close((slopes[0] - slopes[1]) / 0.004, gradient.norm(dim=1), rtol=5e-3, atol=0)
    ensemble.flat.copy_(weights)
    step += 1
    assert not torch.equal(losses(), whole)


def test_the_fast_path_says_what_it_supports() -> None:
    assert all(supports(preset(name).model) for name in ("laptop", "paper", "released-code", "gpt2"))
    assert not any(supports(preset(name).model) for name in ("llama", "pythia", "qwen3", "bert-encoder"))
    for change in ({"key_heads": 1}, {"causal": False}, {"embedding_norm": Norm()}):
        assert not supports(dataclasses.replace(preset("laptop").model, **change))


@pytest.mark.parametrize("name", ["laptop", "released-code", "gpt2"])
def test_the_fast_path_and_autograd_agree(name) -> None:
    """Also through dropout: both take the same masks in the same order."""
    model = dataclasses.replace(
        preset(name).model, depth=2, width=32, vocabulary_size=9, dropout=0.2, max_length=16
    )
    batch, step = make_batch([data()[:5], data()[5:10]]), torch.tensor(2)
    fast, slow = FastEnsemble(model, [0, 1]), Ensemble(model, [0, 1])
    assert torch.equal(fast.flat, slow.flat)
    losses = [
        each.differentiate(batch, HashedDropout(model, [0, 1]).masks(batch, step)) for each in (fast, slow)
    ]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fast.gradient, slow.gradient, atol=1e-6, rtol=1e-4)


def test_what_is_not_causal_is_not_trained() -> None:
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, causal=False))
    with pytest.raises(ConfigError, match=r"model\.causal is False; allowed: true, where the next token is"):
        Trainer(config, data())
