"""All members at once, as a GPU takes them: beside members one by one, alone as stacked, resumed, diverging."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from auxin.config import RunConfig
from auxin.models.fast.ensemble import FastEnsemble as Ensemble
from auxin.training.batches import Batches
from auxin.training.loop import Trainer
from auxin.training.optimizer import StackAdamW
from auxin.training.steps import StackedSteps, padded_size
from training.stacks import CONFIG, DESCRIBED, changed, check_freezing, check_resuming, data

CONFIG = changed(CONFIG, {"depth": 2})
STILL = changed(CONFIG, {"dropout": 0.0})
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


def stacked(config: RunConfig, device: str = "cpu") -> Trainer:
    return Trainer(changed(config, device=device), data(38, 29), at_once=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "config",
    [
        STILL,
        changed(STILL, {"norm": "pre", "tied": True, "positions": "learned"}),
        changed(DESCRIBED, {"dropout": 0.0}),
    ],
)
def test_members_at_once_are_those_one_by_one(device: str, config: RunConfig) -> None:
    at_once, one_by_one = stacked(config, device), Trainer(config, data(38, 29))
    for _ in range(10):
        result, expected = at_once.step(), one_by_one.step()
        torch.testing.assert_close(result.losses.cpu(), expected.losses, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(result.gradient_norms.cpu(), expected.gradient_norms, atol=1e-3, rtol=1e-3)
        assert result.tokens == expected.tokens
    torch.testing.assert_close(at_once.ensemble.flat.cpu(), one_by_one.ensemble.flat, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("device", DEVICES)
def test_a_member_alone_is_the_same_member_in_a_stack(device: str) -> None:
    """Dropout included."""
    together, alone = stacked(CONFIG, device), stacked(changed(CONFIG, seeds=(5,)), device)
    for _ in range(8):
        losses = together.step().losses
        torch.testing.assert_close(losses[2:], alone.step().losses, atol=1e-4, rtol=1e-4)
    assert not torch.equal(losses[:1], losses[1:2])


@pytest.mark.parametrize("device", DEVICES)
def test_resumed_is_bit_for_bit_uninterrupted(device: str) -> None:
    check_resuming(stacked(CONFIG, device), stacked(CONFIG, device))


@pytest.mark.parametrize("device", DEVICES)
def test_a_diverging_member_is_frozen_and_the_rest_go_on(device: str) -> None:
    check_freezing(lambda: stacked(CONFIG, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_lower_precisions_train_as_float32_does(device: str, precision: str) -> None:
    if (device, precision) == ("cpu", "tf32"):
        pytest.skip("a CPU has no tf32")
    exact = stacked(STILL, device)
    rounded = stacked(changed(STILL, precision=precision), device)
    for _ in range(10):
        torch.testing.assert_close(rounded.step().losses, exact.step().losses, rtol=0.03, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_is_replayed_is_what_was_recorded() -> None:
    replayed, launched = stacked(CONFIG, "cuda"), stacked(CONFIG, "cuda")
    launched._steps._capture = lambda shape: None  # pyright: ignore
    for _ in range(12):
        assert torch.equal(replayed.step().losses, launched.step().losses)
    assert 0 < len(replayed._steps._graphs) < 12  # pyright: ignore


class Operations(TorchDispatchMode):
    """Notes the names of all operations inside, and of those that take or give a tensor in the host's memory."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.on_host: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.names.add(name)
        values = tree_leaves((args, kwargs, result))
        if any(isinstance(value, torch.Tensor) and value.device.type == "cpu" for value in values):
            self.on_host.add(name)
        return result


@pytest.mark.parametrize("settings", [{}, {"norm": "pre", "tied": True, "positions": "learned"}])
def test_a_step_asks_nothing_of_the_host(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On tensors without content, whatever reads a value raises; what else cannot be recorded is known by its
    name or by a tensor of the host's: a copy of one would be replayed from wherever that had been."""
    monkeypatch.setattr(
        "auxin.training.optimizer.adamw", lambda *lists, **settings: None
    )  # has no meta kernel
    config = changed(CONFIG, settings)
    object.__setattr__(config, "device", "meta")
    ensemble = Ensemble(config.model, config.seeds, "meta")
    optimizer = StackAdamW(config.optimizer, ensemble)
    steps = StackedSteps(config, ensemble, Batches(data(38, 29), config.seeds, 4), optimizer, capture=False)
    operations, work = Operations(), steps._work  # pyright: ignore

    def watched(shape: tuple[int, int]) -> None:
        with operations:
            work(shape)

    monkeypatch.setattr(steps, "_work", watched)
    losses, norms, tokens = steps.take(0, 0.1)
    assert losses.device == norms.device == torch.device("meta")
    assert tokens > 0
    waiting = {"index_put", "index_put_", "nonzero", "masked_select", "_local_scalar_dense", "unique"}
    assert "bmm" in operations.names
    assert not operations.names & waiting, "on a GPU these check or count on the host"
    assert not operations.on_host


def test_batches_are_padded_to_few_sizes_little_larger() -> None:
    sizes = [padded_size(n) for n in range(1, 5000)]
    assert all(size >= n and size % 8 == 0 for n, size in enumerate(sizes, 1))
    assert all(size <= 1.25 * n for n, size in enumerate(sizes, 1) if n > 32)
    assert len(set(sizes)) < 40
    assert [padded_size(n) for n in (23, 33, 184, 225)] == [24, 40, 192, 256]
