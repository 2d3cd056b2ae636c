"""The families: how each names its settings and its matrices, and what it means by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from auxin.architecture.norm import NormKind
from auxin.probes.families.design import Placement

LLAMA_PARTS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "out": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
BERT_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "out": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
GPT2_PARTS = {"qkv": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
TORCH_PARTS = {
    "qkv": "self_attn.in_proj_weight",
    "out": "self_attn.out_proj",
    "up": "linear1",
    "down": "linear2",
}
OUR_PARTS = {
    "qkv": "attention.qkv",
    "out": "attention.out",
    "gate": "mlp.gate",
    "up": "mlp.up",
    "down": "mlp.down",
}
PLACES: Mapping[tuple[str, ...], Placement] = {
    ("before",): "pre",
    ("stream",): "post",
    ("after",): "after",
    ("before", "after"): "sandwich",
}
"""Placements by where the norms of a described sublayer stand."""


@dataclass(frozen=True)
class Family:
    """One family; ``parts`` gives for every map the module inside a layer, ``fused`` how joint ones are cut."""

    name: str
    types: tuple[str, ...]
    """``model_type`` of their configs."""
    means: str
    """The layer and its initialization in words, for the documentation."""
    parts: Mapping[str, str] = field(default_factory=lambda: LLAMA_PARTS)
    fused: Literal["rows", "heads"] = "rows"
    """Joint matrices: one part below the other, or a head's q, k, v together (GPT-NeoX)."""
    norm: NormKind = "rms"
    placement: Placement = "pre"
    activation: str = "silu"
    """Where the config does not say."""
    gated: bool = True
    parallel: bool = False
    scaled: bool = False
    causal: bool = True
    rotary: bool = True
    qk_norm: bool | Literal["all"] = False
    epsilon: float = 1e-6
    """Where the config does not say."""
    positions: int = 0
    """Tables that are added to the tokens' at the start."""
    tied: bool = False
    """Where the config does not say."""
    embedding: Literal["table", "scaled", "normalized", "vectors"] = "table"
    """The stream starts as the sum of tables, times √width (Gemma), normalized (BERT), or from pixels or vectors."""
    base: float = 10_000.0
    """Of the rotation, where the config does not say."""
    fraction: float = 1.0
    """Of a head that turns, where the config does not say."""
    period: int | None = None
    """Every so many-th layer sees all, the others a window; 0: none, where the config sets one; None: all layers."""
    window: int | None = None
    """Tokens that such a layer sees, where the config does not say."""
    renamed: Mapping[str, str] | None = None
    """``parts`` since version 5 of transformers, where they are others."""


FAMILIES = (
    Family(
        "GPT-2", ("gpt2",), "pre-norm, gelu; N(0, .02²), output maps of branches divided by √(2·layers)",
        parts=GPT2_PARTS, norm="layer", activation="gelu", gated=False, scaled=True, rotary=False, epsilon=1e-5,
        positions=1, tied=True,
    ),
    Family(
        "GPT-NeoX", ("gpt_neox",), "pre-norm, attention and MLP side by side, rotary on a quarter, gelu; N(0, .02²)",
        parts={
            "qkv": "attention.query_key_value", "out": "attention.dense",
            "up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h",
        },
        fused="heads", norm="layer", activation="gelu", gated=False, parallel=True, epsilon=1e-5, fraction=0.25,
    ),
    Family(
        "GPT-J", ("gptj",), "pre-norm, attention and MLP side by side behind one norm, rotary, gelu; N(0, .02²)",
        parts={
            "q": "attn.q_proj", "k": "attn.k_proj", "v": "attn.v_proj", "out": "attn.out_proj",
            "up": "mlp.fc_in", "down": "mlp.fc_out",
        },
        norm="layer", activation="gelu", gated=False, parallel=True, epsilon=1e-5,
    ),
    Family("Llama", ("llama",), "pre-norm (RMS), rotary, gated silu; N(0, .02²)"),
    Family("Mistral", ("mistral",), "as Llama, with a sliding window where the config says so", period=0),
    Family("Qwen 2", ("qwen2",), "as Llama, with biases of q, k, v that start at 0", period=0),
    Family("Qwen 3", ("qwen3",), "as Llama, queries and keys normalized per head", qk_norm=True, period=0),
    Family(
        "Gemma 2", ("gemma2",), "norms (RMS) before and behind a branch, rotary, gated gelu, capped logits, every "
        "other layer a sliding window; tied; embeddings times √width; N(0, .02²)",
        placement="sandwich", activation="gelu", tied=True, embedding="scaled", period=2, window=4096,
    ),
    Family(
        "Gemma 3", ("gemma3_text", "gemma3"), "as Gemma 2 with normalized queries and keys instead of caps, five "
        "layers in six a sliding window",
        placement="sandwich", activation="gelu", qk_norm=True, tied=True, embedding="scaled", period=6, window=4096,
        base=1e6,
    ),
    Family(
        "Phi-3", ("phi3",), "as Llama, with joint matrices",
        parts={
            "qkv": "self_attn.qkv_proj", "out": "self_attn.o_proj",
            "gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj",
        },
        epsilon=1e-5, period=0,
    ),
    Family(
        "OLMo 2", ("olmo2",), "a norm (RMS) behind each branch and none before, queries and keys normalized over all "
        "heads, rotary, gated silu; N(0, .02²)",
        placement="after", qk_norm="all",
    ),
    Family(
        "OPT", ("opt",), "pre-norm, relu, learned positions; N(0, .02²)",
        parts={
            "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "out": "self_attn.out_proj",
            "up": "fc1", "down": "fc2",
        },
        norm="layer", activation="relu", gated=False, rotary=False, epsilon=1e-5, positions=1, tied=True,
    ),
    Family(
        "BERT", ("bert", "roberta"), "post-norm, gelu, not causal; N(0, .02²); embeddings normalized",
        parts=BERT_PARTS, norm="layer", placement="post", activation="gelu", gated=False, causal=False,
        rotary=False, epsilon=1e-12, positions=2, tied=True, embedding="normalized",
    ),
    Family(
        "ViT", ("vit",), "pre-norm, gelu, not causal; N(0, .02²) cut at 2 (that is, not cut); pixels",
        parts={
            "q": "attention.attention.query", "k": "attention.attention.key", "v": "attention.attention.value",
            "out": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense",
        },
        renamed={
            "q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "out": "attention.o_proj",
            "up": "mlp.fc1", "down": "mlp.fc2",
        },
        norm="layer", activation="gelu", gated=False, causal=False, rotary=False, epsilon=1e-12, embedding="vectors",
    ),
)  # fmt: skip
BY_TYPE = {kind: family for family in FAMILIES for kind in family.types}
