"""Hooks: against the states and gradients computed by hand, on the library's model and on foreign ones."""

import numpy as np
import pytest
import torch
from torch import nn

from auxin.config import ModelConfig
from auxin.errors import ConfigError
from auxin.models.context import Context
from auxin.models.transformer import TransformerLM
from auxin.probes.hooks import measure_signals


def model(norm: str = "pre", **settings) -> TransformerLM:
    config = ModelConfig(depth=3, width=16, heads=2, vocabulary_size=11, norm=norm, dropout=0.0, **settings)  # pyright: ignore[reportArgumentType]
    return TransformerLM(config, torch.Generator().manual_seed(0))


TOKENS = torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("frozen", [False, True])
def test_numbers_are_those_computed_pair_by_pair(frozen: bool) -> None:
    lm = model().requires_grad_(not frozen)
    signals = measure_signals(list(lm.layers), lambda: lm(TOKENS).logits.square().sum())

    x = lm.embed(TOKENS).detach().requires_grad_()
    states = []
    for layer in lm.layers:
        x = layer(x, Context.of(x))
        x.retain_grad()
        states.append(x)
    lm.output(lm.final_norm(x)).square().sum().backward()
    for i, state in enumerate(states):
        assert signals.norm[i] == pytest.approx(state.square().mean().item(), rel=1e-5)
        assert signals.gradient[i] == pytest.approx(state.grad.square().sum(-1).mean().item(), rel=1e-4)
        cosines = [
            torch.cosine_similarity(state[b, j], state[b, k], dim=0).item()
            for b in range(2)
            for j in range(5)
            for k in range(5)
            if j != k
        ]
        assert signals.cosine[i] == pytest.approx(np.mean(cosines), abs=1e-5)


def test_padding_is_left_out_and_nothing_remains_on_the_model() -> None:
    lm = model()
    kept = torch.ones(2, 5, dtype=torch.bool)
    kept[1, 3:] = False
    short = TOKENS.clone()
    short[1, 3:] = 0
    weights = kept[..., None].float()
    results = [
        measure_signals(list(lm.layers), lambda t=t: (lm(t).logits * weights).sum(), kept=kept)
        for t in (TOKENS, short)
    ]
    for name in ("norm", "cosine", "gradient"):
        np.testing.assert_allclose(getattr(results[0], name), getattr(results[1], name), rtol=1e-6)
    assert all(p.grad is None for p in lm.parameters())
    assert not any(layer._forward_hooks for layer in lm.layers)


def test_a_foreign_module_and_a_random_combination_of_its_output() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 2)
    x = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(2))
    signals = measure_signals(list(encoder.layers), lambda: encoder(x))
    assert signals.norm == pytest.approx([1, 1], rel=1e-4)  # post-norm
    assert signals.gradient[1] == pytest.approx(8, rel=0.5)  # that of the N(0, 1) weights themselves
    again = measure_signals(list(encoder.layers), lambda: encoder(x))
    np.testing.assert_array_equal(signals.gradient, again.gradient)


def test_one_token_has_no_pairs() -> None:
    layer = nn.Linear(4, 4)
    assert np.isnan(measure_signals([layer], lambda: layer(torch.ones(2, 1, 4))).cosine[0])


def test_mistakes_are_named() -> None:
    lm, linear = model(), nn.Linear(4, 4)
    run = lambda: lm(TOKENS).logits
    with pytest.raises(ConfigError, match="number of layers is 0"):
        measure_signals([], run)
    with pytest.raises(ConfigError, match=r"layers\[1\] is 'Linear'; allowed: a submodule that runs"):
        measure_signals([lm.layers[0], linear], run)
    with pytest.raises(ConfigError, match=r"output of layers\[0\] \(Linear\) is \(4,\)"):
        measure_signals([linear], lambda: linear(torch.ones(4)))
    with pytest.raises(ConfigError, match=r"\(Linear\) is 'given twice'"):
        measure_signals([linear], lambda: linear(linear(torch.ones(1, 2, 4))))
    with pytest.raises(ConfigError, match="result of run is 'independent of the layers'"):
        measure_signals([lm.layers[0]], lambda: run().detach())
    with pytest.raises(ConfigError, match=r"result of run is 'independent of layers\[1\]'"):
        measure_signals(list(lm.layers), lambda: lm(TOKENS, states=True).states[1])
    with pytest.raises(ConfigError, match=r"kept is \(2, 4\); allowed: shape \(2, 5\)"):
        measure_signals([lm.layers[0]], run, kept=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ConfigError, match=r"dtype of kept is torch.int64; allowed: torch.bool"):
        measure_signals([lm.layers[0]], run, kept=torch.ones(2, 5, dtype=torch.int64))
    with pytest.raises(ConfigError, match="kept is 'false everywhere'"):
        measure_signals([lm.layers[0]], run, kept=torch.zeros(2, 5, dtype=torch.bool))
    assert not any(layer._forward_hooks for layer in (*lm.layers, linear))
