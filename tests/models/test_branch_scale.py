"""``branch_scale``: the output maps of all branches, and nothing else, multiplied at initialization."""

import dataclasses

import pytest
import torch

from auxin import exponents, preset, rescale_
from auxin.config import ModelConfig
from auxin.errors import ConfigError
from auxin.models.transformer import TransformerLM


@pytest.mark.parametrize("name", ["laptop", "gpt2", "llama", "pythia", "qwen3"])
def test_weights_are_those_of_a_model_rescaled_by_hand(name: str) -> None:
    config = dataclasses.replace(preset(name).model, depth=2, vocabulary_size=20)  # pyright: ignore
    plain = TransformerLM(config, torch.Generator().manual_seed(1))
    scaled = TransformerLM(dataclasses.replace(config, branch_scale=0.25), torch.Generator().manual_seed(1))
    rescale_(plain, branch=0.25)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, scaled.state_dict()[key]), key


def test_theory_and_check_know_it() -> None:
    config = ModelConfig(depth=6)
    scaled = dataclasses.replace(config, branch_scale=0.5)
    strong = dataclasses.replace(config, attention_branch=0.5, mlp_branch=0.5)
    assert exponents(scaled.network()).angle_total == pytest.approx(exponents(strong.network()).angle_total)
    with pytest.raises(
        ConfigError, match=r"branch_scale is 2\.0; allowed: 1, with the initialization gaussian"
    ):
        ModelConfig(initialization="gaussian", branch_scale=2.0)
    with pytest.raises(ConfigError, match=r"branch_scale is -1\.0; allowed: 0 to 1000"):
        ModelConfig(branch_scale=-1.0)
