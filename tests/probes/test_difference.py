"""Two models compared: what was planted is named, and what differs by chance alone is not."""

import copy

import pytest
import torch
from torch import nn

from auxin.errors import ConfigError
from auxin.probes.difference import Difference, diff
from probes import models, shapes


def port(seed: int = 0) -> tuple[nn.Module, shapes.NanoGPT]:
    """GPT-2 of transformers, and its weights in a model of nanoGPT's shape."""
    sizes = {"n_layer": 3, "n_embd": shapes.D, "n_head": 4, "vocab_size": shapes.V, "n_positions": shapes.N}
    original = models.build("gpt2", seed, **sizes, activation_function="gelu")
    ported = shapes.NanoGPT()
    with torch.no_grad():
        for name, p in ported.named_parameters():
            source = original.get_parameter(name)
            p.copy_(source.T if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else source)
    return original, ported


def compared(first: nn.Module, second: nn.Module) -> Difference:
    return diff(first, second, n_tokens=16)


def test_a_port_with_the_same_weights_is_the_same() -> None:
    found = compared(*port())
    assert found.ok, found.findings
    assert found.tensors["same"].all()
    assert set(found.tensors["matched"]) == {"name"}
    assert found.profile is not None
    assert (found.profile["norm"] - found.profile["other_norm"]).abs().max() < 1e-5  # pyright: ignore


def test_a_square_map_that_was_not_transposed_shows_in_the_stream() -> None:
    original, ported = port()
    with torch.no_grad():
        weight = ported.get_parameter("transformer.h.1.attn.c_proj.weight")
        weight.copy_(weight.T.clone())
    found = compared(original, ported)
    assert found.tensors["same"].all()  # up to the transpose, which the original stores
    assert found.findings[0].startswith("transformer.h.1.attn.c_proj gives outputs ")
    assert any("differs first after layer 2" in sentence for sentence in found.findings), found.findings


SLIPS = {
    "a map that was not copied": (
        lambda m: nn.init.normal_(m.get_parameter("transformer.h.2.mlp.c_fc.weight"), std=0.02),
        "transformer.h.2.mlp.c_fc.weight has other entries.",
    ),
    "a map times two": (
        lambda m: m.get_parameter("transformer.h.0.mlp.c_proj.weight").mul_(2),
        "transformer.h.0.mlp.c_proj.weight has other entries: 2 times the size in the second.",
    ),
    "another epsilon": (
        lambda m: setattr(m.get_submodule("transformer.h.0.ln_1"), "eps", 1e-2),
        "transformer.h.0.ln_1 gives outputs ",
    ),
    "the other epsilon of the two that are usual, where it hardly counts": (
        lambda m: [setattr(block.ln_2, "eps", 1e-6) for block in m.transformer["h"]],
        "(eps is 1e-05, in the second 1e-06) (in 3 of 3 layers, this is the first).",
    ),
    "another epsilon of the final norm": (
        lambda m: setattr(m.get_submodule("transformer.ln_f"), "eps", 1e-3),
        "transformer.ln_f gives outputs ",
    ),
    "a factor on the logits": (
        lambda m: m.register_forward_hook(lambda _, __, output: (output[0] / 8, *output[1:])),
        "The output differs: its root mean square is ",
    ),
    "another activation": (
        lambda m: setattr(m.get_submodule("transformer.h.1.mlp"), "gelu", nn.ReLU()),
        "differs first after layer 2",
    ),
    "a norm that does not run": (
        lambda m: setattr(m.get_submodule("transformer.h.2"), "ln_2", nn.Identity()),
        "transformer.h.2.ln_2.weight is only in the first.",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_of_a_port_is_named(slip: str) -> None:
    original, ported = port()
    plant, sentence = SLIPS[slip]
    with torch.no_grad():
        plant(ported)
    found = compared(original, ported)
    assert any(sentence in each for each in found.findings), found.findings
    assert not found.ok


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mixtral", "bert"])
def test_other_draws_of_one_class_are_no_difference(kind: str) -> None:
    for seed in range(3):
        found = compared(models.build(kind, seed), models.build(kind, seed + 10))
        assert found.ok, found.findings


def test_a_law_that_differs_between_two_draws_is_named() -> None:
    first, second = models.build("llama"), models.build("llama", 1)
    with torch.no_grad():
        second.get_parameter("model.layers.1.mlp.down_proj.weight").mul_(3)
    (named, *_) = compared(first, second).findings
    assert named.startswith("model.layers.1.mlp.down_proj.weight has size 0.0")


def test_joint_matrices_are_matched_by_role_and_other_names_by_place() -> None:
    found = compared(models.build("phi3"), models.build("llama", 1, rms_norm_eps=1e-5))
    assert found.ok, found.findings
    roles = found.tensors.filter(matched="role")
    assert roles.height == 5 * 3
    assert "model.layers.0.self_attn.qkv_proj.weight [key]" in roles["name"].to_list()
    original, ported = port()
    for block in ported.transformer["h"]:  # pyright: ignore
        block.mlp = Renamed(block.mlp)
    found = compared(original, ported)
    assert found.ok, found.findings
    places = found.tensors.filter(matched="place")
    assert places["other"].to_list()[:2] == [
        "transformer.h.0.mlp.first.weight",
        "transformer.h.0.mlp.first.bias",
    ]


class Renamed(nn.Module):
    """nanoGPT's MLP by other names."""

    def __init__(self, mlp: shapes.Mlp) -> None:
        super().__init__()
        self.first, self.then, self.second = mlp.c_fc, mlp.gelu, mlp.c_proj

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.then(self.first(x)))


def test_what_all_layers_lack_is_said_once() -> None:
    found = compared(models.build("qwen2"), models.build("llama"))
    assert (
        "model.layers.0.self_attn.q_proj.bias is only in the first (in 3 of 3 layers, this is the first)."
        in found.findings
    )
    assert len(found.findings) == 3


def test_a_parameter_that_only_one_forward_uses_is_named() -> None:
    original, ported = port()
    unused = copy.deepcopy(ported)
    unused.get_submodule("transformer.h.1.mlp").forward = lambda x: 0 * x  # pyright: ignore
    found = compared(original, unused)
    assert "transformer.h.1.mlp.c_proj.weight has no gradient in the second." in found.findings


def test_default_inputs_are_no_longer_than_the_positions_of_both() -> None:
    found = diff(*port())
    assert found.profile is not None, found.notes


def test_what_does_not_run_is_compared_by_its_weights() -> None:
    found = diff(*port(), torch.zeros(1, shapes.N + 1, dtype=torch.int64))
    assert found.profile is None
    assert "layers were not compared" in found.notes[0]
    with pytest.raises(ConfigError, match="has no repeated layers"):
        diff(nn.Linear(2, 2), nn.Linear(2, 2))
