"""Slips that people report are found and named, in three families; what is unharmed is left in peace."""

import pytest
from torch import nn

from auxin.probes.diagnosis import diagnose
from probes import models, slips


def fresh(kind: str, seed: int, depth: int = 4, width: int = 64) -> nn.Module:
    if kind == "torch":
        return models.torch_encoder(seed, depth, width, norm_first=True, batch_first=True)
    return models.build(kind, seed, depth=depth, width=width)


@pytest.mark.parametrize("slip", slips.SLIPS)
@pytest.mark.parametrize("kind", slips.NAMES)
def test_a_slip_is_named(kind: str, slip: str) -> None:
    if slip == "embeddings of std 1" and kind == "torch":
        pytest.skip("an encoder of vectors has no embeddings")
    for seed in range(3):
        model = fresh(kind, seed)
        named = slips.planted(model, kind, slip)
        found = diagnose(model, n_tokens=32, seed=seed, predicting=False).findings
        assert found, f"{slip} not found"
        assert any(finding.module == named for finding in found), [f.sentence for f in found]
        assert found[0].module == named, [f.sentence for f in found]


@pytest.mark.parametrize("kind", [*slips.NAMES, *models.CLASSES])
def test_an_unharmed_model_is_left_in_peace(kind: str) -> None:
    for seed in range(2):
        assert not diagnose(fresh(kind, seed), n_tokens=32, seed=seed, predicting=False).findings
