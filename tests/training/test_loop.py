"""Steps of a stack: against plain AdamW, resumed bit for bit, alone as stacked, frozen when diverging."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from auxin.config import ModelConfig, OptimizerConfig, RunConfig
from auxin.errors import ConfigError, DataError
from auxin.training.batches import shares
from auxin.training.loop import Trainer
from auxin.training.optimizer import learning_rate
from training.diverging import check_freezing

MODEL = ModelConfig(depth=1, width=16, heads=2, vocabulary_size=9)
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
    plain = torch.optim.AdamW(twin.parameters(), betas=(0.9, 0.999), eps=1e-7, weight_decay=0.1)
    for step in range(8):
        (batch,) = trainer.batches.at(step)
        logits = [twin(torch.from_numpy(s[:-1])[None]).logits[0] for s in batch]
        loss = F.cross_entropy(torch.cat(logits), torch.from_numpy(np.concatenate([s[1:] for s in batch])))
        plain.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
        plain.param_groups[0]["lr"] = learning_rate(OPTIMIZER, step, config.steps)
        plain.step()
        result = trainer.step()
        torch.testing.assert_close(result.losses[0], loss.detach())
        torch.testing.assert_close(result.gradient_norms[0], norm, rtol=1e-4, atol=0)
    for name, value in twin.named_parameters():
        torch.testing.assert_close(trainer.ensemble.parameters[name][0], value.detach(), atol=1e-5, rtol=1e-4)


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
    for name, value in straight.state().items():
        assert torch.equal(value, resumed.state()[name])


def test_a_member_alone_is_the_same_member_in_a_stack() -> None:
    stacked = Trainer(dataclasses.replace(CONFIG, seeds=(3, 4, 5, 6, 7)), data())
    alone = Trainer(dataclasses.replace(CONFIG, seeds=(5,)), data())
    for _ in range(10):
        assert torch.equal(stacked.step().losses[2], alone.step().losses[0])
    assert torch.equal(stacked.ensemble.flat[2], alone.ensemble.flat[0])


def test_bfloat16_trains_as_float32_does() -> None:
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, dropout=0.0), steps=40)
    exact = Trainer(config, data())
    rounded = Trainer(dataclasses.replace(config, precision="bfloat16"), data())
    first, *_, last = [(exact.step().losses, rounded.step().losses) for _ in range(40)]
    torch.testing.assert_close(last[1], last[0], rtol=0.03, atol=0)
    assert (last[1] < 0.9 * first[1]).all()
    assert {tensor.dtype for tensor in rounded.state().values()} == {torch.float32}


def test_a_diverging_member_is_frozen_and_the_rest_go_on() -> None:
    check_freezing(lambda: Trainer(CONFIG, data()))


def test_every_epoch_sees_each_sequence_at_most_once_in_a_new_order() -> None:
    batches = Trainer(dataclasses.replace(CONFIG, seeds=(3,)), data()).batches
    epochs = [[id(s) for step in range(e * 4, e * 4 + 4) for s in batches.at(step)[0]] for e in range(3)]
    assert all(len(set(epoch)) == 16 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert [id(s) for s in batches.at(0)[0]] == epochs[0][:4]


def test_impossible_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 50; allowed: up to the 18 training sentences"):
        Trainer(dataclasses.replace(CONFIG, batch_size=50), data())
    short = dataclasses.replace(MODEL, max_length=5)
    with pytest.raises(ConfigError, match=r"max_length is 5; allowed here: at least 7"):
        Trainer(dataclasses.replace(CONFIG, model=short), data())
    with pytest.raises(DataError, match="fewer than 2 tokens"):
        Trainer(CONFIG, [*data(), np.array([1])])


@pytest.mark.parametrize(("count", "seeds"), [(2, (3, 4)), (1, (3,))])
def test_bits_do_not_depend_on_the_number_of_threads(count: int, seeds: tuple[int, ...]) -> None:
    """Wide enough that a matrix product or a sum of two threads would round differently.

    A single share of a single member leaves threads of the pool without work at first.
    """
    model = dataclasses.replace(MODEL, width=128, depth=2)
    config = dataclasses.replace(CONFIG, model=model, batch_size=8, seeds=seeds, shares=count)
    before, flats = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            trainer = Trainer(config, data() * 8)
            for _ in range(8):
                trainer.step()
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        flats.append(trainer.ensemble.flat.clone())
    assert torch.equal(flats[0], flats[1])
    assert torch.equal(flats[0], flats[2])


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize(("batch_size", "seeds"), [(4, (3, 4, 5)), (1, (3,)), (1, (3, 4))])
def test_shares_are_one_batch_up_to_rounding(count: int, batch_size: int, seeds: tuple[int, ...]) -> None:
    """Of four sequences, eight shares leave some empty; of one, all but the first."""
    config = dataclasses.replace(
        CONFIG, model=dataclasses.replace(MODEL, dropout=0.0), batch_size=batch_size, seeds=seeds
    )
    whole, cut = (Trainer(dataclasses.replace(config, shares=n), data()) for n in (1, count))
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
