"""Encoders with a decoder: both stacks are read, measured and predicted, without an argument."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import auxin
from auxin.families.configs import recipe_of
from auxin.families.description import describe
from auxin.families.layers import find_stacks

T5 = {"num_layers": 3, "num_decoder_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu"}
BART = {
    "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1,
}  # fmt: skip
CLASSES = {
    "t5": "T5ForConditionalGeneration",
    "bart": "BartForConditionalGeneration",
    "mbart": "MBartForConditionalGeneration",
    "whisper": "WhisperForConditionalGeneration",
}


def build(kind: str, seed: int = 0, width: int = 64, **more: Any) -> nn.Module:
    settings: dict[str, Any] = {"d_model": width, "vocab_size": 200}
    if kind == "t5":
        settings |= T5 | {"d_ff": 2 * width, "d_kv": width // 4}
    else:
        settings |= BART | {"encoder_ffn_dim": 2 * width, "decoder_ffn_dim": 3 * width}
    if kind == "whisper":
        settings |= {"max_source_positions": 16, "max_target_positions": 32, "num_mel_bins": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.AutoConfig.for_model(kind, **settings, **more)
        return getattr(transformers, CLASSES[kind])(config)


@pytest.mark.parametrize("kind", CLASSES)
def test_both_stacks_are_read_and_left_in_peace(kind: str) -> None:
    model: Any = build(kind)
    whole = recipe_of(model.config.to_dict())
    encoder, decoder = (describe(model, stack) for stack in find_stacks(model))
    assert whole.encoder is not None
    assert (encoder.recipe.network, decoder.recipe.network) == (whole.encoder.network, whole.network)
    assert (encoder.recipe.depth, encoder.recipe.causal) == (3, False)
    assert auxin.network_of(model) == auxin.network_of(model.config) == whole.drawn
    assert (decoder.recipe.depth, decoder.recipe.causal) == (2, True)
    assert [type(s.body).__name__ for s in whole.network.layers[0].sublayers] == [
        "Attention",
        "CrossAttention",
        "MLP",
    ]
    for described in (encoder, decoder):
        for matrix in described.matrices:
            chance = 4 / (2 * matrix.entries.numel()) ** 0.5
            expected = described.recipe.std(matrix.role, matrix.layer)
            assert matrix.std == pytest.approx(expected, rel=max(0.03, chance)), matrix.parameter
    report = auxin.check(model, n_tokens=12)
    assert not [finding.sentence for finding in report.findings if finding.kind != "loss"]
    assert report.predicted is not None
    assert report.encoder is not None
    assert report.encoder.predicted is not None
    assert report.layers["cross_share"].drop_nulls().len() == 2
    assert str(report).splitlines()[0] == "encoder"
    assert len(report.to_dict()["encoder"]["layers"]) == 4


def test_t5_is_predicted() -> None:
    """Averages over 8 networks: within .03 in cosine, 6% in norm² and 12% in gradient, of either stack."""
    reports = [auxin.check(build("t5", seed, width=192), n_tokens=16) for seed in range(8)]
    for stack in ([report.encoder for report in reports], reports):
        predicted, measured = (
            {
                name: np.mean([getattr(each, of)[name] for each in stack], 0)
                for name in ("norm", "cosine", "gradient")
            }
            for of in ("predicted", "observation")
        )
        np.testing.assert_allclose(predicted["cosine"], measured["cosine"], atol=0.03)
        np.testing.assert_allclose(predicted["norm"], measured["norm"], rtol=0.06)
        np.testing.assert_allclose(predicted["gradient"], measured["gradient"], rtol=0.12)


@pytest.mark.parametrize(
    "name", ["encoder.block.1.layer.1.DenseReluDense.wo", "decoder.block.1.layer.1.EncDecAttention.o"]
)
def test_a_slip_in_either_stack_is_said_once(name: str) -> None:
    model = build("t5")
    with torch.no_grad():
        model.get_submodule(name).weight.mul_(3)  # pyright: ignore[reportCallIssue]
    found = [finding for finding in auxin.check(model, n_tokens=12).findings if finding.kind != "loss"]
    assert [finding.module for finding in found] == [name]


def test_a_config_alone_is_predicted() -> None:
    report = auxin.check(build("t5").config, n_tokens=8)  # pyright: ignore[reportArgumentType]
    assert report.encoder is not None
    assert report.layers["predicted_norm"].is_not_null().all()
    assert report.encoder.layers["predicted_cosine"].is_not_null().all()
    assert report.remedies() == []
    assert auxin.check(build("whisper").config).predicted is None  # pyright: ignore[reportArgumentType]
