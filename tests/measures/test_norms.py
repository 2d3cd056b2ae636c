import math

import pytest
import torch

from auxin.config import ModelConfig
from auxin.errors import ConfigError
from auxin.measures.structure import weight_norms
from auxin.models.transformer import TransformerLM


def model(**options: object) -> TransformerLM:
    config = ModelConfig(**{"depth": 3, "width": 16, "heads": 2, "vocabulary_size": 11, **options})
    return TransformerLM(config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "options", [{}, {"norm": "pre", "positions": "learned", "attention_bias": True}, {"tied": True}]
)
def test_norm_of_all_trained_parameters_over_depth_and_groups_that_add_up(options: dict[str, object]) -> None:
    lm = model(**options)
    norms = weight_norms(lm, 3)
    everything = torch.cat([p.detach().flatten() for p in lm.parameters()])
    total = norms.pop("weight_norm")
    assert total == pytest.approx(float(everything.norm()) / 3, rel=1e-6)
    assert math.hypot(*norms.values()) == pytest.approx(total)


def test_groups_hold_the_parameters_that_they_name() -> None:
    lm = model(norm="pre", positions="learned")
    for name, parameter in lm.named_parameters():
        torch.nn.init.constant_(parameter, 1.0 if "norm" in name else 0.0)
    norms = weight_norms(lm, 3)
    assert set(norms) == {"weight_norm"} | {
        f"weight_norm/{group}" for group in ("embedding", "positions", "attention", "mlp", "norms", "output")
    }
    assert norms["weight_norm/norms"] == norms["weight_norm"] == math.sqrt(7 * 2 * 16) / 3
    assert norms["weight_norm/mlp"] == norms["weight_norm/attention"] == 0
    lm.layers[1].attention.qkv.weight.data.fill_(1)
    lm.layers[2].mlp.down.bias.data.fill_(2)
    norms = weight_norms(lm, 3)
    assert norms["weight_norm/attention"] == pytest.approx(math.sqrt(3 * 16 * 16) / 3)
    assert norms["weight_norm/mlp"] == pytest.approx(math.sqrt(16 * 4) / 3)


def test_a_tied_output_map_counts_once() -> None:
    norms = weight_norms(model(tied=True, norm="none", mlp_bias=False, initialization="pytorch"), 3)
    assert set(norms) == {f"weight_norm{g}" for g in ("", "/embedding", "/attention", "/mlp", "/output")}
    assert norms["weight_norm/output"] < 0.5 < norms["weight_norm/embedding"]


def test_depth_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="depth is 0"):
        weight_norms(model(), 0)
