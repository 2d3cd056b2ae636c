"""Steps of a stack, by hand and by autograd: as a plain loop, resumed bit for bit, alone as stacked, frozen."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from auxin.architecture import Norm
from auxin.config import ModelConfig, RunConfig, preset
from auxin.errors import ConfigError, DataError
from auxin.models.batch import make_batch
from auxin.models.dropout import HashedDropout
from auxin.models.ensemble import Ensemble
from auxin.models.fast.ensemble import FastEnsemble, supports
from auxin.training.batches import shares
from auxin.training.loop import Trainer
from auxin.training.optimizer import learning_rate
from training.stacks import CONFIG, DESCRIBED, changed, check_freezing, check_resuming, data

STILL = {"dropout": 0.0}
both = pytest.mark.parametrize("config", [CONFIG, DESCRIBED], ids=["by hand", "by autograd"])


@both
def test_steps_are_those_of_a_plain_loop(config: RunConfig) -> None:
    config = changed(config, STILL, seeds=(3,))
    trainer = Trainer(config, data())
    twin = trainer.ensemble.member(0)
    twin.load_state_dict({name: value.clone() for name, value in twin.state_dict().items()}, assign=True)
    twin.requires_grad_(True)
    plain = torch.optim.AdamW(twin.parameters(), betas=(0.9, 0.999), eps=1e-7, weight_decay=0.1)
    for step in range(8):
        (batch,) = trainer.batches.at(step)
        logits = [twin(torch.from_numpy(s[:-1])[None]).logits[0] for s in batch]
        loss = F.cross_entropy(torch.cat(logits), torch.from_numpy(np.concatenate([s[1:] for s in batch])))
        plain.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        plain.param_groups[0]["lr"] = learning_rate(config.optimizer, step, config.steps)
        plain.step()
        result = trainer.step()
        torch.testing.assert_close(result.losses[0], loss.detach())
        torch.testing.assert_close(result.gradient_norms[0], norm, rtol=1e-4, atol=0)
    for name, value in twin.named_parameters():
        torch.testing.assert_close(trainer.ensemble.parameters[name][0], value.detach(), atol=1e-5, rtol=1e-3)


@both
def test_resumed_is_bit_for_bit_uninterrupted(config: RunConfig) -> None:
    check_resuming(Trainer(config, data()), Trainer(config, data()))


@both
def test_a_diverging_member_is_frozen_and_the_rest_go_on(config: RunConfig) -> None:
    check_freezing(lambda: Trainer(config, data()))


@both
def test_bfloat16_trains_as_float32_does(config: RunConfig) -> None:
    config = changed(config, STILL, steps=15)
    exact, rounded = Trainer(config, data()), Trainer(changed(config, precision="bfloat16"), data())
    first, *_, last = [(exact.step().losses, rounded.step().losses) for _ in range(15)]
    torch.testing.assert_close(last[1], last[0], rtol=0.03, atol=0)
    assert (last[1] < first[1]).all()
    assert {tensor.dtype for tensor in rounded.optimizer.state().values()} == {torch.float32}


@pytest.mark.parametrize(
    "config",
    [
        changed(CONFIG, {"width": 128, "depth": 2}, shares=2),
        changed(CONFIG, {"width": 128, "depth": 2}, shares=1),
        changed(DESCRIBED, {"width": 64, "heads": 8}),
    ],
)
def test_bits_depend_on_neither_the_other_members_nor_the_number_of_threads(config: RunConfig) -> None:
    """Wide enough that a matrix product or a sum of two threads would round differently.

    A single share of a single member leaves threads of the pool without work at first.
    """
    stacked, before, flats = changed(config, batch_size=8), torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            trainer = Trainer(stacked if threads == 2 else changed(stacked, seeds=(4,)), data() * 8)
            for _ in range(5):
                trainer.step()
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        flats.append(trainer.ensemble.flat[1 if threads == 2 else 0].clone())
    assert torch.equal(flats[0], flats[1])
    assert torch.equal(flats[0], flats[2])


def test_every_epoch_sees_each_sequence_at_most_once_in_a_new_order() -> None:
    batches = Trainer(changed(CONFIG, seeds=(3,)), data()).batches
    epochs = [[id(s) for step in range(e * 4, e * 4 + 4) for s in batches.at(step)[0]] for e in range(3)]
    assert all(len(set(epoch)) == 16 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert [id(s) for s in batches.at(0)[0]] == epochs[0][:4]


def test_impossible_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 50; allowed: up to the 18 training sentences"):
        Trainer(changed(CONFIG, batch_size=50), data())
    with pytest.raises(ConfigError, match=r"max_length is 5; allowed here: at least 7"):
        Trainer(changed(CONFIG, {"max_length": 5}), data())
    with pytest.raises(DataError, match="fewer than 2 tokens"):
        Trainer(CONFIG, [*data(), np.array([1])])
    with pytest.raises(ConfigError, match=r"model\.causal is False; allowed: true, where the next token is"):
        Trainer(changed(DESCRIBED, {"causal": False}), data())


@pytest.mark.parametrize(("config", "count"), [(CONFIG, 2), (CONFIG, 3), (CONFIG, 8), (DESCRIBED, 3)])
@pytest.mark.parametrize(("batch_size", "seeds"), [(4, (3, 4, 5)), (1, (3, 4))])
def test_shares_are_one_batch_up_to_rounding(
    config: RunConfig, count: int, batch_size: int, seeds: tuple[int, ...]
) -> None:
    """Of four sequences, eight shares leave some empty; of one, all but the first."""
    config = changed(config, STILL, batch_size=batch_size, seeds=seeds)
    whole, cut = (Trainer(changed(config, shares=n), data()) for n in (1, count))
    for _ in range(4):
        expected, result = whole.step(), cut.step()
        torch.testing.assert_close(result.losses, expected.losses, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(result.gradient_norms, expected.gradient_norms, atol=1e-4, rtol=1e-3)
        assert result.tokens == expected.tokens


def test_a_batch_is_cut_into_shares_of_like_cost_and_groups_of_like_length() -> None:
    rng = np.random.default_rng(0)
    sequences = [np.zeros(n, np.int64) for n in [*rng.integers(5, 40, 60), 900, 1000]]
    model = ModelConfig(depth=1, width=64, heads=4)
    cut = shares(sequences, 3, model)
    assert sorted(len(s) for share in cut for group in share for s in group) == sorted(map(len, sequences))
    padded = sum(len(group) * max(map(len, group)) ** 2 for share in cut for group in share)
    assert padded < 1.3 * sum(len(s) ** 2 for s in sequences)  # in one group 40 times as many
    even = shares(sequences[:60], 3, model)
    tokens = [sum(len(s) for group in share for s in group) for share in even]
    assert max(tokens) < 1.3 * min(tokens)
    assert all(len(share) == 1 for share in even)


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
