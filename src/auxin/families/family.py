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
LLAMA_PARTS = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
BERT_PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
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
ATTENTION_PARTS = {name: LLAMA_PARTS[name] for name in ("query", "key", "value", "out")}
LATENT_PARTS = {
    "query_latent": "self_attn.q_a_proj",
    "query": ("self_attn.q_b_proj", "self_attn.q_proj"),
    "latent": "self_attn.kv_a_proj_with_mqa",
    "key_value": "self_attn.kv_b_proj",
    "out": "self_attn.o_proj",
}
EXPERT_PARTS = ATTENTION_PARTS | {
    "router": ("mlp.gate", "block_sparse_moe.gate"),
    "gate_up": "mlp.experts.gate_up_proj",
    "gate": ("mlp.experts.*.gate_proj", "block_sparse_moe.experts.*.w1", "mlp.gate_proj"),
    "up": ("mlp.experts.*.up_proj", "block_sparse_moe.experts.*.w3", "mlp.up_proj"),
    "down": (
        "mlp.experts.down_proj",
        "mlp.experts.*.down_proj",
        "block_sparse_moe.experts.*.w2",
        "mlp.down_proj",
    ),
}
"""Since version 5 of transformers experts are one tensor of three axes, before a list; some layers have none."""
PLAIN_PARTS = {name: path for name, path in LLAMA_PARTS.items() if name != "gate"}


def layer_of(
    attention: Attention, mlp: MLP | Experts, norms: Mapping[str, Any], *, parallel: bool = False
) -> Layer:
    """Attention, then an MLP or experts, with the same norms by their place: before, after, stream."""
    return Layer((Sublayer(attention, **norms), Sublayer(mlp, **norms)), parallel)


def gated(
    attention: Attention,
    *,
    activation: Any = "silu",
    norm: Norm = Norm("rms", epsilon=1e-6),  # noqa: B008  # it is frozen
    places: tuple[str, ...] = ("before",),
    parallel: bool = False,
) -> Layer:
    """A gated MLP."""
    return layer_of(attention, MLP(activation, gated=True), dict.fromkeys(places, norm), parallel=parallel)


def mixture(
    attention: Attention,
    experts: Experts = Experts(normalized=False),  # noqa: B008  # it is frozen
    epsilon: float = 1e-6,
) -> Layer:
    """Experts that are gated MLPs, and RMS norms before branches."""
    return layer_of(attention, experts, {"before": Norm("rms", epsilon=epsilon)})


def plain(
    activation: Any = "gelu",
    *,
    attention: Attention = Attention(),  # noqa: B008  # it is frozen
    place: str = "before",
    epsilon: float = 1e-5,
    parallel: bool = False,
) -> Layer:
    """An MLP without a gate and layer norms."""
    return layer_of(attention, MLP(activation), {place: Norm(epsilon=epsilon)}, parallel=parallel)


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
    special: tuple[str, ...] = ()
    """Settings that only some families have."""
    local_unscaled: bool = False
    """Whether rope_scaling leaves out the layers that see a window."""
    period: int | None = None
    """Every so many-th layer sees all, the others a window; 0: none, where the config sets one; None: all layers."""
    phase: int = 1
    """Layers i, from 0, see all where i + phase is a multiple of the period."""
    unrotated: bool = False
    """Whether layers that see all, where others see a window, have no rotation (Cohere 2)."""


ROTARY = Attention(head_dim=2, rotary=Rotary())
LATENT = LatentAttention(head_dim=2, rotary=Rotary())
PER_HEAD = Attention(head_dim=2, rotary=Rotary(), qk_norm=True)
ALL_HEADS = Attention(head_dim=2, rotary=Rotary(), qk_norm="all")
SANDWICH = ("before", "after")
