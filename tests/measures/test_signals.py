import dataclasses
import math

import numpy as np
import pytest
import torch

from auxin import ModelConfig, TransformerLM, exponents
from auxin.measures.structure import near_unit_mass, signals

SMALL = ModelConfig(depth=4, width=64, heads=4, vocabulary_size=80, dropout=0.0)


def built(config: ModelConfig) -> TransformerLM:
    return TransformerLM(config, torch.Generator().manual_seed(0))


def test_totals_are_those_of_the_theory() -> None:
    predicted = exponents(SMALL.network(), norm=SMALL.input_norm(), n_tokens=24, causal=True)
    found = [signals(TransformerLM(SMALL, torch.Generator().manual_seed(seed))) for seed in range(4)]
    for name, scatter in (
        ("angle_total", 0.2),
        ("gradient_total", 0.3),
    ):  # of one network, measured over eight
        mean = np.mean([values[name] for values in found])
        assert mean == pytest.approx(getattr(predicted, name), abs=2 * scatter), name


def test_the_gradient_is_that_of_backward_and_nothing_is_left_behind() -> None:
    model = built(SMALL)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    found = signals(model)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    tokens = torch.randint(0, 80, (16, 24), generator=torch.Generator().manual_seed(0))
    logits = model(tokens[:, :-1]).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None))
    assert found["loss_gradient"] == pytest.approx(norm, rel=1e-4)


def test_numbers_of_a_diverged_model_are_unknown() -> None:
    model = built(dataclasses.replace(SMALL, depth=1))
    model.embedding.weight.data[3] = math.nan
    assert all(map(math.isnan, signals(model).values()))


def test_the_near_unit_mass_is_that_of_the_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 60, 6, generator=generator)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    assert near_unit_mass([x, x @ turn]) == 1  # a rotation
    assert near_unit_mass([x, x @ torch.diag(torch.tensor([1, 1, 1, 0.5, 0.5, 2.0]))]) == pytest.approx(0.5)
    mixed = x @ torch.randn(6, 6, generator=generator)  # whatever its axes
    assert near_unit_mass([mixed, mixed + 1]) == 1
    assert np.isclose(near_unit_mass([x, 3 * x, 3 * x]), 0.5)
    assert math.isnan(near_unit_mass([x, x * math.inf]))
