"""Small stacks that tests of training train: by the hand-written step, and by autograd."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from auxin.architecture import MLP, Attention, Experts, Layer, Norm, Rotary, Sublayer
from auxin.config import ModelConfig, OptimizerConfig, RunConfig
from auxin.training.loop import Trainer

MODEL = ModelConfig(depth=1, width=16, heads=2, vocabulary_size=9)
OPTIMIZER = OptimizerConfig(learning_rate=0.01, warmup=3, clip=0.5, weight_decay=0.1)
CONFIG = RunConfig(model=MODEL, optimizer=OPTIMIZER, steps=12, batch_size=4, seeds=(3, 4, 5))
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
DESCRIBED_MODEL = ModelConfig(
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
DESCRIBED = dataclasses.replace(CONFIG, model=DESCRIBED_MODEL)


def data(count: int = 18, longest: int = 8) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 9, rng.integers(3, longest + 1)) for _ in range(count)]


def changed(config: RunConfig, model: dict[str, object] | None = None, **settings: object) -> RunConfig:
    """With other settings, also of its model."""
    settings |= {"model": dataclasses.replace(config.model, **model)} if model else {}  # pyright: ignore
    return dataclasses.replace(config, **settings)  # pyright: ignore


def check_resuming(straight: Trainer, resumed: Trainer) -> None:
    """Of seeds 3, 4 and 5, five steps apart: the bits are those of a run that was not interrupted."""
    for _ in range(5):
        straight.step()
    weights = {
        seed: {n: v[m].clone() for n, v in straight.ensemble.parameters.items()}
        for m, seed in enumerate(straight.config.seeds)
    }
    state = {name: value.clone() for name, value in straight.optimizer.state().items()}
    resumed.restore(5, weights, state, straight.frozen)
    for _ in range(7):
        assert torch.equal(straight.step().losses, resumed.step().losses)
    assert torch.equal(straight.ensemble.flat, resumed.ensemble.flat)
    for name, value in straight.optimizer.state().items():
        assert torch.equal(value, resumed.optimizer.state()[name])


def check_freezing(trained: Callable[[], Trainer]) -> None:
    """Of three members with seeds 3, 4 and 5 the second one diverges after a step."""
    trainer, healthy = trained(), trained()
    trainer.step(), healthy.step()
    trainer.ensemble.parameters["output.weight"][1] = torch.inf
    before = trainer.ensemble.flat[1].clone()
    for _ in range(3):
        result, expected = trainer.step(), healthy.step()
        assert not result.losses[1].isfinite()
        assert torch.equal(result.losses[[0, 2]], expected.losses[[0, 2]])
    assert trainer.frozen == {4: 1}
    assert torch.equal(trainer.ensemble.flat[1], before)
    assert trainer.optimizer.state()["step"].tolist() == [4, 1, 4]
