"""Stacks with the weights of Hugging Face's models: the same states, for the same tokens."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from auxin.architecture import MLP, Attention, Layer, Network, Norm, Rotary, Sublayer
from auxin.architecture.sizes import Sizes
from auxin.models.context import Context
from auxin.models.norm import norm_module
from auxin.models.stack import Stack

transformers = pytest.importorskip("transformers")

D, M, HEADS, KEYS, LAYERS = 32, 48, 4, 2, 2
SMALL = {
    "hidden_size": D,
    "intermediate_size": M,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "vocab_size": 7,
    "attn_implementation": "eager",
}
RMS = Norm("rms", epsilon=1e-6)
GATED = MLP("silu", gated=True)
SIZES = Sizes(D, HEADS, KEYS, M, attention_bias=False, mlp_bias=False)


def copied(
    layer: Any, attention: Any, mlp: Any, norms: dict[str, Any], plus: float = 0.0
) -> dict[str, Tensor]:
    """A gated layer's weights under our names; ``norms`` maps ours to theirs, which may store w − 1."""
    weights = {
        "attention.qkv.weight": torch.cat([getattr(attention, f"{n}_proj").weight for n in "qkv"]),
        "attention.out.weight": attention.o_proj.weight,
        **{f"mlp.{n}.weight": getattr(mlp, f"{n}_proj").weight for n in ("up", "gate", "down")},
    }
    for ours, theirs in norms.items():
        weights[f"{ours}.weight"] = getattr(layer, theirs).weight + plus
    for name in ("q_norm", "k_norm"):
        if hasattr(attention, name):
            weights[f"attention.{name}.weight"] = getattr(attention, name).weight
    return weights


def check(
    model: Any, network: Network, sizes: Sizes, weights: list[dict[str, Tensor]], plus: float = 0.0
) -> None:
    stack = Stack(network, sizes)
    for layer, own in zip(stack, weights, strict=True):
        layer.load_state_dict(own)
    assert network.final is not None
    final = norm_module(network.final, D)
    theirs = copy.deepcopy(getattr(model, "norm", None) or model.final_layer_norm)
    theirs.weight.data += plus
    final.load_state_dict(dict(theirs.named_parameters()))
    x = torch.randn(3, 9, D, generator=torch.Generator().manual_seed(1))
    # Gemma multiplies its embeddings, before transformers 5 also those that it is given
    scale = 1.0 if not plus or hasattr(model.embed_tokens, "embed_scale") else D**0.5
    expected = model(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(final(stack(x * scale, Context.of(x))), expected, atol=2e-5, rtol=1e-4)


def prepared(model: Any) -> Any:
    """In eval mode with weights of size 1, so that attention is far from uniform, and norms that do something."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            spread = 0.3 if p.ndim == 1 else D**-0.5
            p.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, spread, generator=generator)
    return model.eval().requires_grad_(False)


def test_llama_with_grouped_keys() -> None:
    config = transformers.LlamaConfig(**SMALL, num_key_value_heads=KEYS, rms_norm_eps=1e-6, rope_theta=500.0)
    model = prepared(transformers.LlamaModel(config))
    attention = Attention(head_dim=8, rotary=Rotary(base=500.0))
    layer = Layer((Sublayer(attention, before=RMS), Sublayer(GATED, before=RMS)))
    norms = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    weights = [copied(each, each.self_attn, each.mlp, norms) for each in model.layers]
    check(model, Network.repeat(layer, LAYERS, RMS), SIZES, weights)


def test_qwen3_with_heads_wider_than_the_stream() -> None:
    config = transformers.Qwen3Config(**SMALL, num_key_value_heads=KEYS, head_dim=16, rms_norm_eps=1e-6)
    model = prepared(transformers.Qwen3Model(config))
    attention = Attention(head_dim=16, rotary=Rotary(), qk_norm=True)
    layer = Layer((Sublayer(attention, before=RMS), Sublayer(GATED, before=RMS)))
    norms = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    weights = [copied(each, each.self_attn, each.mlp, norms) for each in model.layers]
    check(model, Network.repeat(layer, LAYERS, RMS), SIZES, weights)


def test_olmo2_with_norms_behind_branches() -> None:
    config = transformers.Olmo2Config(**SMALL, num_key_value_heads=KEYS, rms_norm_eps=1e-6)
    model = prepared(transformers.Olmo2Model(config))
    attention = Attention(head_dim=8, rotary=Rotary(), qk_norm="all")
    layer = Layer((Sublayer(attention, after=RMS), Sublayer(GATED, after=RMS)))
    norms = {
        "attention_after_norm": "post_attention_layernorm",
        "mlp_after_norm": "post_feedforward_layernorm",
    }
    weights = [copied(each, each.self_attn, each.mlp, norms) for each in model.layers]
    check(model, Network.repeat(layer, LAYERS, RMS), SIZES, weights)


def test_gemma2_with_soft_caps_windows_and_sandwiches() -> None:
    config = transformers.Gemma2Config(
        **SMALL,
        num_key_value_heads=KEYS,
        head_dim=8,
        query_pre_attn_scalar=5,
        attn_logit_softcapping=2.0,
        sliding_window=4,
        hidden_activation="gelu",
    )
    model = prepared(transformers.Gemma2Model(config))
    attention = Attention(head_dim=8, rotary=Rotary(), scale=5.0**-0.5, softcap=2.0)
    local = Attention(head_dim=8, rotary=Rotary(), scale=5.0**-0.5, softcap=2.0, window=4)
    mlp = Sublayer(MLP("gelu", gated=True), before=RMS, after=RMS)
    layers = [Layer((Sublayer(body, before=RMS, after=RMS), mlp)) for body in (local, attention)]
    norms = {
        "attention_norm": "input_layernorm",
        "attention_after_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_after_norm": "post_feedforward_layernorm",
    }
    weights = [copied(each, each.self_attn, each.mlp, norms, plus=1.0) for each in model.layers]
    check(model, Network.repeat(layers, LAYERS, RMS), SIZES, weights, plus=1.0)


def test_gpt_neox_with_parallel_branches_and_a_quarter_rotary() -> None:
    config = transformers.GPTNeoXConfig(**SMALL, rotary_pct=0.25, hidden_act="gelu")
    model = prepared(transformers.GPTNeoXModel(config))
    norm = Norm(epsilon=1e-5)
    attention = Attention(head_dim=8, rotary=Rotary(fraction=0.25))
    layer = Layer((Sublayer(attention, before=norm), Sublayer(MLP("gelu"), before=norm)), parallel=True)
    names = {
        "attention.dense": "attention.out",
        "mlp.dense_h_to_4h": "mlp.up",
        "mlp.dense_4h_to_h": "mlp.down",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "mlp_norm",
    }
    weights = []
    for each in model.layers:
        own = {}
        for kind in ("weight", "bias"):
            for theirs, ours in names.items():
                own[f"{ours}.{kind}"] = each.get_submodule(theirs).get_parameter(kind)
            merged = each.attention.query_key_value.get_parameter(kind)  # runs over heads, then q, k, v
            own[f"attention.qkv.{kind}"] = merged.unflatten(0, (HEADS, 3, 8)).transpose(0, 1).flatten(0, 2)
        weights.append(own)
    check(model, Network.repeat(layer, LAYERS, norm), Sizes(D, HEADS, hidden=M), weights)
