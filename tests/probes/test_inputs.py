"""Inputs that are made up: pixels, sounds, pairs, as the model's own config tells."""

from typing import Any

import pytest
import torch
from torch import nn

from auxin.probes.check import check
from auxin.probes.inputs import Reading
from auxin.probes.observe import observe

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_conv_pos_embedding_groups": 4,
    "image_size": 32,
    "patch_size": 8,
    "vocab_size": 99,
}
STACK: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 99,
    "pad_token_id": 0,
    "max_source_positions": 12,
    "num_mel_bins": 8,
}
BOTH = {"vision_config": SIZES, "text_config": SIZES | {"eos_token_id": 1}}


def built(kind: str, name: str, **settings: Any) -> nn.Module:
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, name)(getattr(transformers, f"{kind}Config")(**settings))


@pytest.mark.parametrize(
    ("model", "settings", "layers", "tokens"),
    [
        (("Wav2Vec2", "Wav2Vec2Model"), SIZES, None, 8),
        (("Whisper", "WhisperForConditionalGeneration"), STACK, "model.encoder.layers", 12),
        (("Whisper", "WhisperForConditionalGeneration"), STACK, "model.decoder.layers", 8),
        (("VideoMAE", "VideoMAEModel"), SIZES | {"num_frames": 4}, None, 32),
        (("CLIP", "CLIPModel"), BOTH, "vision_model.encoder.layers", 17),
        (("CLIP", "CLIPModel"), BOTH, "text_model.encoder.layers", 8),
        (("Bart", "BartModel"), STACK, "encoder.layers", 8),
    ],
)
def test_inputs_are_made_up_as_the_config_tells(
    model: tuple[str, str], settings: dict[str, Any], layers: str | None, tokens: int
) -> None:
    seen = observe(built(*model, **settings), Reading(layers=layers, n_tokens=8))
    assert seen.closed
    assert seen.grams.shape == (3, 2, tokens, tokens)


def test_a_decoder_alone_waits_for_an_encoders_states() -> None:
    model = built("Bart", "BartForCausalLM", **STACK)
    report = check(model, n_tokens=8)
    assert report.ok
    assert any(
        "layers.0.encoder_attn.k_proj" in note and "a fresh BartForCausalLM" in note for note in report.notes
    )
    inputs = {"input_ids": torch.arange(16).view(2, 8), "encoder_hidden_states": torch.randn(2, 5, 32)}
    report = check(model, inputs)
    assert report.ok
    assert report.layers["cross_share"][1:].is_not_null().all()


def test_images_of_the_size_that_timm_writes() -> None:
    class Patches(nn.Module):
        default_cfg = {"input_size": (3, 16, 16)}  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 24, 4, 4)
            layers = [nn.TransformerEncoderLayer(24, 4, 48, batch_first=True) for _ in range(2)]
            self.layers = nn.ModuleList(layers)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x).flatten(2).mT
            for layer in self.layers:
                x = layer(x)
            return x

    assert observe(Patches()).grams.shape == (3, 2, 16, 16)
