"""Slips that people report are found and named, in three families; what is unharmed is left in peace."""

import pytest
import torch
from torch import Tensor, nn

from auxin.errors import ConfigError
from auxin.probes.check import check
from auxin.probes.inputs import Reading
from auxin.probes.observe import observe
from probes import models, shapes, slips


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
        found = check(model, n_tokens=32, seed=seed).findings
        assert found, f"{slip} not found"
        assert any(finding.module == named for finding in found), [f.sentence for f in found]
        assert found[0].module == named, [f.sentence for f in found]


@pytest.mark.parametrize("kind", [*slips.NAMES, *models.CLASSES])
def test_an_unharmed_model_is_left_in_peace(kind: str) -> None:
    assert not check(fresh(kind, 0), n_tokens=32).findings


class LayerScaled(shapes.MinGPT):
    """Of no family: LayerScale's factors on the branches, in blocks that nobody knows."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = shapes.GPTConfig()
            self.attention, self.feedforward = shapes.CausalSelfAttention(config), shapes.Mlp(config)
            self.first, self.second = nn.LayerNorm(shapes.D), nn.LayerNorm(shapes.D)
            self.gamma = nn.Parameter(torch.full((2, shapes.D), 0.1))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.gamma[0] * self.attention(self.first(x))
            return x + self.gamma[1] * self.feedforward(self.second(x))

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[self.Block() for _ in range(4)])


def test_a_layer_unlike_the_others_is_named_where_no_family_is_known() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LayerScaled()
        assert not check(model).findings
        with torch.no_grad():
            model.blocks[2].gamma.fill_(1.0)  # LayerScale reset
        (finding,) = check(model).findings
        assert (finding.module, finding.measured, finding.expected) == ("blocks.2", 1.0, pytest.approx(0.1))
        assert "blocks.2.gamma has size 1 (rms) where the other layers have 0.1" in finding.sentence
        model = LayerScaled()
        nn.init.normal_(model.blocks[1].feedforward.c_proj.weight, std=0.02)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        assert [f.module for f in check(model).findings] == ["blocks.1.feedforward.c_proj"]


def test_what_has_two_stacks_or_stages_is_refused_by_name() -> None:
    import transformers

    sizes = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 64, "d_kv": 8, "vocab_size": 50}
    swin = transformers.SwinConfig(image_size=64, embed_dim=24, depths=[2, 2], num_heads=[2, 4])
    with torch.random.fork_rng(devices=[]):
        with pytest.raises(ConfigError, match=r"two stacks of layers, 'decoder\.block' and 'encoder\.block'"):
            observe(transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes)))
        with pytest.raises(
            ConfigError, match="stages of unlike width are not followed; name one with layers="
        ):
            observe(transformers.SwinModel(swin))
        albert = models.settings("bert", width=32) | {"embedding_size": 16}
        seen = observe(transformers.AlbertModel(transformers.AlbertConfig(**albert)), Reading(n_tokens=8))
    assert seen.depth == 3  # one layer that runs three times
