"""The readable transformer: causality from gradients, published sizes, the loss that an initialization implies."""

import dataclasses
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from auxin.config import ModelConfig, preset
from auxin.errors import ConfigError
from auxin.models.context import causal_mask
from auxin.models.transformer import TransformerLM

VARIANTS = [
    {},
    {"norm": "pre", "activation": "gelu", "positions": "learned", "tied": True},
    {"norm": "none", "activation": "tanh", "positions": "none", "attention_bias": True, "mlp_bias": False},
    {"norm": "pre", "activation": "silu", "attention_skip": 0.6, "attention_branch": 0.8, "mlp_branch": 0.5},
]


def small(seed: int = 0, **settings: object) -> TransformerLM:
    config = ModelConfig(depth=2, width=16, heads=4, vocabulary_size=11, **settings)  # pyright: ignore
    return TransformerLM(config, torch.Generator().manual_seed(seed)).eval()


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(0, 11, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("weights", [False, True])
def test_no_gradient_reaches_back_from_a_later_token(settings: dict[str, object], weights: bool) -> None:
    model = small(**settings)
    for position in range(6):
        embedded: list[torch.Tensor] = []

        def keep(
            _: object, __: object, x: torch.Tensor, embedded: list[torch.Tensor] = embedded
        ) -> torch.Tensor:
            embedded.append(x.detach().requires_grad_())
            return embedded[0]

        handle = model.dropout.register_forward_hook(keep)
        model(tokens(1, 6), attention=weights).logits[0, position].sum().backward()
        handle.remove()
        reach = embedded[0].grad.abs().sum(-1)[0]  # pyright: ignore
        assert (reach[: position + 1] > 0).all()
        assert (reach[position + 1 :] == 0).all()


@pytest.mark.parametrize("settings", VARIANTS)
def test_attention_weights_are_those_that_were_used(settings: dict[str, object]) -> None:
    model = small(**settings)
    plain, full = model(tokens(3, 7)), model(tokens(3, 7), states=True, attention=True)
    torch.testing.assert_close(plain.logits, full.logits)
    assert len(full.states) == 3
    assert len(full.attention) == 2
    for weights in full.attention:
        assert weights.shape == (3, 4, 7, 7)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 7))
        assert (weights.masked_select(~causal_mask(7)) == 0).all()


def test_a_mask_and_positions_equal_leaving_the_words_out() -> None:
    model, words = small(), tokens(1, 8)
    keep = torch.tensor([0, 4, 5, 6, 7])
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, keep] = True
    mask[torch.arange(8), torch.arange(8)] = True
    masked = model(words, mask=mask, states=True).states[-1][:, keep]
    cut = model(words[:, keep], positions=keep[None], states=True).states[-1]
    torch.testing.assert_close(masked, cut, atol=1e-5, rtol=1e-5)


def test_presets_have_the_published_sizes() -> None:
    def count(config: ModelConfig) -> int:
        with torch.device("meta"):
            model = TransformerLM(dataclasses.replace(config, vocabulary_size=71))
        return sum(p.numel() for p in model.parameters())

    assert count(preset("released-code").model) == 18_974_791
    assert count(preset("paper").model) == 18_974_791 - 71 * 512  # the output map is the embedding
    assert count(preset("laptop").model) == 12 * (12 * 64**2 + 9 * 64) + 2 * 71 * 64 + 71


@pytest.mark.parametrize("initialization", ["xavier", "released-code", "pytorch", "normal", "gaussian"])
def test_initial_loss_is_that_of_gaussian_logits(initialization: str) -> None:
    """Logits of variance v that know nothing of the target cost ln V + v/2 nats (log-normal mean)."""
    torch_generator = torch.Generator().manual_seed(0)
    config = ModelConfig(depth=2, width=256, heads=4, vocabulary_size=500, initialization=initialization)  # pyright: ignore
    model = TransformerLM(config, torch_generator).eval()
    words = torch.randint(0, 500, (64, 33), generator=torch_generator)
    logits = model(words[:, :-1]).logits.flatten(0, 1)
    loss = F.cross_entropy(logits, words[:, 1:].flatten()).item()
    variance = 256 * model.output.weight.var().item()  # states of a post-norm model have unit variance
    assert loss == pytest.approx(math.log(500) + variance / 2, abs=0.05)


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"heads is 3; allowed: a divisor of the width \(16\)"):
        ModelConfig(width=16, heads=3)
    with pytest.raises(ConfigError, match="vocabulary_size is 0"):
        TransformerLM(ModelConfig())
    model = TransformerLM(ModelConfig(depth=1, width=8, heads=2, vocabulary_size=5, max_length=4))
    with pytest.raises(ConfigError, match="sequence of 5 tokens; allowed: up to max_length = 4"):
        model(torch.zeros(1, 5, dtype=torch.int64))


def test_building_a_model_imports_no_compiler_and_draws_nothing() -> None:
    """Two seconds at the start of every process: torch imports it to draw on the meta device."""
    code = (
        "import sys, torch\n"
        "from auxin.config import ModelConfig\n"
        "from auxin.models.transformer import TransformerLM\n"
        "before = torch.get_rng_state()\n"
        "for device in ('meta', 'cpu'):\n"
        "    with torch.device(device):\n"
        "        TransformerLM(ModelConfig(depth=1, width=4, heads=1, vocabulary_size=3))\n"
        "print('torch._dynamo' in sys.modules, torch.equal(before, torch.get_rng_state()))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]
