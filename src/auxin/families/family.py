"""What a family is: the layer that it means, how it names its settings and matrices, and how it draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from auxin.architecture import MLP, Attention, Experts, LatentAttention, Layer, Norm, Rotary, Sublayer
from auxin.architecture.initialization import Scheme
from auxin.families.schemes import plain_normal

Parts = Mapping[str, str | tuple[str, ...]]
"""By role, the path inside a layer; of several, the first that there is. ``*`` stands for the modules of a list."""


def head_paths(pattern: str, names: str = "q k v o") -> dict[str, str]:
    """The paths of queries, keys, values and the output map, in which one name each stands for the braces."""
    paths = (pattern.format(name) for name in names.split())
    return dict(zip(("query", "key", "value", "out"), paths, strict=False))


ATTENTION_PARTS = head_paths("self_attn.{}_proj")
LLAMA_PARTS = ATTENTION_PARTS | {role: f"mlp.{role}_proj" for role in ("gate", "up", "down")}
PLAIN_PARTS = {role: path for role, path in LLAMA_PARTS.items() if role != "gate"}
BERT_PARTS = head_paths("attention.self.{}", "query key value") | {
    "out": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense",
}  # fmt: skip
GPT2_PARTS = {"qkv": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
FALCON_PARTS = {
    "qkv": "self_attention.query_key_value", "out": "self_attention.dense",
    "up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h",
}  # fmt: skip
JOINT_GATE = {"gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj"}
TORCH_PARTS = {
    "qkv": "self_attn.in_proj_weight", "out": "self_attn.out_proj", "up": "linear1", "down": "linear2",
}  # fmt: skip
OUR_PARTS = {
    "qkv": "attention.qkv", "out": "attention.out", "gate": "mlp.gate", "up": "mlp.up", "down": "mlp.down",
}  # fmt: skip
LATENT_PARTS = {
    "query_latent": "self_attn.q_a_proj",
    "query": ("self_attn.q_b_proj", "self_attn.q_proj"),
    "latent": "self_attn.kv_a_proj_with_mqa",
    "key_value": "self_attn.kv_b_proj",
    "out": "self_attn.o_proj",
}
_MIXTRAL = "block_sparse_moe.experts.*"
EXPERTS = {
    "router": ("mlp.gate", "block_sparse_moe.gate"),
    "gate_up": "mlp.experts.gate_up_proj",
    "gate": ("mlp.experts.*.gate_proj", f"{_MIXTRAL}.w1", "mlp.gate_proj"),
    "up": ("mlp.experts.*.up_proj", f"{_MIXTRAL}.w3", "mlp.up_proj"),
    "down": ("mlp.experts.down_proj", "mlp.experts.*.down_proj", f"{_MIXTRAL}.w2", "mlp.down_proj"),
}
"""Since version 5 of transformers experts are one tensor of three axes, before a list; some layers have none."""
EXPERT_PARTS = ATTENTION_PARTS | EXPERTS

RMS, RMS_5, LAYER = Norm("rms", epsilon=1e-6), Norm("rms", epsilon=1e-5), Norm(epsilon=1e-5)
ROTARY = Attention(head_dim=2, rotary=Rotary())
PER_HEAD = Attention(head_dim=2, rotary=Rotary(), qk_norm=True)
ALL_HEADS = Attention(head_dim=2, rotary=Rotary(), qk_norm="all")
LATENT = LatentAttention(head_dim=2, rotary=Rotary())
GELU, GATED, GATED_GELU = MLP("gelu"), MLP("silu", gated=True), MLP("gelu", gated=True)
SANDWICH = ("before", "after")


def layer_of(
    attention: Attention,
    mlp: MLP | Experts,
    norm: Norm = RMS,
    places: tuple[str, ...] = ("before",),
    *,
    parallel: bool = False,
) -> Layer:
    """Attention, then an MLP or experts, with the same norm at these places of both."""
    norms: Any = dict.fromkeys(places, norm)
    return Layer((Sublayer(attention, **norms), Sublayer(mlp, **norms)), parallel)


GPT2_LAYER = layer_of(Attention(), GELU, LAYER)
BERT_LAYER = layer_of(Attention(), GELU, Norm(epsilon=1e-12), ("stream",))
LLAMA_LAYER = layer_of(ROTARY, GATED)


@dataclass(frozen=True)
class Family:
    """One family; ``parts`` gives for every map the module or tensor in a layer, ``fused`` how joint ones are cut."""

    name: str
    types: tuple[str, ...]
    """``model_type`` of their configs."""
    means: str
    """The layer and its initialization in words, for the documentation."""
    layer: Layer
    """With what the config does not say; sizes, windows and σ's are the config's."""
    decoder: Layer | None = None
    """That of the decoder, where ``layer`` is its encoder's."""
    parts: Parts = field(default_factory=lambda: LLAMA_PARTS)
    fused: Literal["rows", "heads", "turns"] = "rows"
    """Joint matrices: one part below the other; a key's queries, the key and the value together (GPT-NeoX); or gate
    and up row by row in turn, of experts whose matrices are [fan_in, fan_out] (gpt-oss)."""
    scheme: Callable[[float, int], Scheme] = plain_normal
    """The law of weights, from the config's standard deviation and its number of layers."""
    unscaled: bool = False
    """Whether logits are q·k alone, and queries are drawn smaller instead (T5)."""
    causal: bool = True
    positions: int = 0
    """Tables that are added to the tokens'."""
    shared: int = 0
    """Those of them of which all tokens have the same row: that of their segment."""
    embedding: Literal["table", "scaled", "normalized", "vectors"] = "table"
    """The stream begins as the sum of tables, times √width (Gemma), normalized (BERT), or as pixels or vectors."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Settings where the config does not have them, and the class of transformers has others than the most."""
    special: str = ""
    """Names of settings that only some families have."""
    local_unscaled: bool = False
    """Whether rope_scaling leaves out the layers that see a window."""
    period: int | None = None
    """Every so many-th layer sees all, the others a window; 0: none, where the config sets one; None: all layers."""
    phase: int = 1
    """Layers i, from 0, see all where i + phase is a multiple of the period."""
    unrotated: bool = False
    """Whether layers that see all, where others see a window, have no rotation (Cohere 2)."""
