"""The families: the layer that each means, how it names its settings and its matrices, and how it draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from auxin.architecture import MLP, Attention, Experts, Layer, Norm, Rotary, Sublayer

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
_ATTENTION_PARTS = {name: LLAMA_PARTS[name] for name in ("query", "key", "value", "out")}
_EXPERT_PARTS = _ATTENTION_PARTS | {
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
_PLAIN_PARTS = {name: path for name, path in LLAMA_PARTS.items() if name != "gate"}


def layer_of(
    attention: Attention, mlp: MLP | Experts, norms: Mapping[str, Any], *, parallel: bool = False
) -> Layer:
    """Attention, then an MLP or experts, with the same norms by their place: before, after, stream."""
    return Layer((Sublayer(attention, **norms), Sublayer(mlp, **norms)), parallel)


def _gated(
    attention: Attention,
    *,
    activation: Any = "silu",
    norm: Norm = Norm("rms", epsilon=1e-6),  # noqa: B008  # it is frozen
    places: tuple[str, ...] = ("before",),
    parallel: bool = False,
) -> Layer:
    """A gated MLP."""
    return layer_of(attention, MLP(activation, gated=True), dict.fromkeys(places, norm), parallel=parallel)


def _experts(
    attention: Attention,
    experts: Experts = Experts(normalized=False),  # noqa: B008  # it is frozen
    epsilon: float = 1e-6,
) -> Layer:
    """Experts that are gated MLPs, and RMS norms before branches."""
    return layer_of(attention, experts, {"before": Norm("rms", epsilon=epsilon)})


def _plain(
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
    parts: Parts = field(default_factory=lambda: LLAMA_PARTS)
    fused: Literal["rows", "heads"] = "rows"
    """Joint matrices: one part below the other, or a head's queries, keys and values together (GPT-NeoX)."""
    scaled: bool = False
    """Whether output maps of branches are divided by √(2·layers)."""
    causal: bool = True
    positions: int = 0
    """Tables that are added to the tokens'."""
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


_ROTARY = Attention(head_dim=2, rotary=Rotary())
_PER_HEAD = Attention(head_dim=2, rotary=Rotary(), qk_norm=True)
_ALL_HEADS = Attention(head_dim=2, rotary=Rotary(), qk_norm="all")
_SANDWICH = ("before", "after")
FAMILIES = (
    Family(
        "GPT-2", ("gpt2",), "pre-norm, gelu; N(0, .02²), output maps of branches divided by √(2·layers)", _plain(),
        parts=GPT2_PARTS, scaled=True, positions=1, special=("scale_attn_weights", "scale_attn_by_inverse_layer_idx"),
    ),
    Family(
        "GPT-NeoX", ("gpt_neox",), "pre-norm, attention and MLP side by side, rotary on a quarter, gelu; N(0, .02²)",
        _plain(attention=_ROTARY, parallel=True),
        parts={
            "qkv": "attention.query_key_value", "out": "attention.dense",
            "up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h",
        },
        fused="heads", defaults={"partial_rotary_factor": 0.25}, special=("use_parallel_residual",),
    ),
    Family(
        "GPT-J", ("gptj",), "pre-norm, attention and MLP side by side after one norm, rotary, gelu; N(0, .02²)",
        _plain(attention=_ROTARY, parallel=True),
        parts={
            "query": "attn.q_proj", "key": "attn.k_proj", "value": "attn.v_proj", "out": "attn.out_proj",
            "up": "mlp.fc_in", "down": "mlp.fc_out",
        },
        special=("rotary_dim",),
    ),
    Family("Llama", ("llama",), "pre-norm (RMS), rotary, gated silu; N(0, .02²)", _gated(_ROTARY)),
    Family(
        "Mistral", ("mistral",), "as Llama, with a sliding window where the config says so",
        _gated(_ROTARY), period=0,
    ),
    Family(
        "Qwen 2", ("qwen2",), "as Llama, with biases of queries, keys and values that are 0 at initialization",
        _gated(_ROTARY), period=0, defaults={"use_sliding_window": False},
    ),
    Family(
        "Qwen 3", ("qwen3",), "as Llama, queries and keys normalized per head",
        _gated(_PER_HEAD), period=0, defaults={"use_sliding_window": False},
    ),
    Family(
        "Gemma 2", ("gemma2",), "norms (RMS) before and after a branch, rotary, gated gelu, capped logits, every "
        "other layer a sliding window; tied; embeddings times √width; N(0, .02²)",
        _gated(_ROTARY, activation="gelu", places=_SANDWICH),
        embedding="scaled", period=2, defaults={"sliding_window": 4096},
        special=("query_pre_attn_scalar", "attn_logit_softcapping"),
    ),
    Family(
        "Gemma 3", ("gemma3_text", "gemma3"), "as Gemma 2 with normalized queries and keys instead of caps, five "
        "layers in six a sliding window",
        _gated(_PER_HEAD, activation="gelu", places=_SANDWICH), embedding="scaled", period=6,
        defaults={"sliding_window": 4096, "rope_theta": 1e6, "rope_local_base_freq": 1e4},
        special=("query_pre_attn_scalar", "attn_logit_softcapping", "rope_local_base_freq"), local_unscaled=True,
    ),
    Family(
        "Phi-3", ("phi3",), "as Llama, with joint matrices", _gated(_ROTARY, norm=Norm("rms", epsilon=1e-5)),
        parts={
            "qkv": "self_attn.qkv_proj", "out": "self_attn.o_proj",
            "gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj",
        },
        period=0, special=("original_max_position_embeddings",),
    ),
    Family(
        "OLMo 2", ("olmo2",), "a norm (RMS) after each branch and none before, queries and keys normalized over all "
        "heads, rotary, gated silu; N(0, .02²)",
        _gated(_ALL_HEADS, norm=Norm("rms", epsilon=1e-5), places=("after",)),
    ),
    Family(
        "OLMo 3", ("olmo3",), "as OLMo 2, three layers in four a sliding window",
        _gated(_ALL_HEADS, norm=Norm("rms", epsilon=1e-5), places=("after",)), period=4,
        defaults={"sliding_window": 4096}, local_unscaled=True,
    ),
    Family(
        "OLMo", ("olmo",), "as Llama, with layer norms",
        _gated(_ROTARY, norm=Norm(epsilon=1e-5)),
    ),
    Family(
        "Gemma", ("gemma",), "as Llama, gated gelu; tied; embeddings times √width",
        _gated(_ROTARY, activation="gelu"), embedding="scaled",
    ),
    Family(
        "Granite", ("granite",), "as Llama, with factors on embeddings, logits and branches as the config says",
        _gated(_ROTARY), defaults={"attention_multiplier": 1.0},
        special=("attention_multiplier", "residual_multiplier", "embedding_multiplier"),
    ),
    Family(
        "Cohere", ("cohere",), "pre-norm, gated MLP (silu) beside attention, after one norm, rotary; N(0, .02²)",
        _gated(_ROTARY, norm=Norm(epsilon=1e-5), parallel=True),
    ),
    Family(
        "StarCoder 2", ("starcoder2",), "pre-norm, rotary, gelu; N(0, .018²)", _plain(attention=_ROTARY),
        parts=_PLAIN_PARTS | {"up": "mlp.c_fc", "down": "mlp.c_proj"},
        defaults={"initializer_range": 0.018042}, period=0,
    ),
    Family(
        "Phi", ("phi",), "pre-norm, attention and MLP side by side after one norm, rotary on a half, gelu; N(0, .02²)",
        _plain(attention=_ROTARY, parallel=True),
        parts=_PLAIN_PARTS | {"out": "self_attn.dense", "up": "mlp.fc1", "down": "mlp.fc2"},
        defaults={"partial_rotary_factor": 0.5},
    ),
    Family(
        "StableLM", ("stablelm",), "as Llama, with layer norms, rotary on a quarter",
        _gated(_ROTARY, norm=Norm(epsilon=1e-5), parallel=True), special=("use_parallel_residual",),
        defaults={"partial_rotary_factor": 0.25, "use_parallel_residual": False},
    ),
    Family(
        "Mixtral", ("mixtral",), "as Mistral, with experts: the softmax of the chosen ones' logits",
        _experts(_ROTARY, Experts(), 1e-5), parts=_EXPERT_PARTS, period=0,
    ),
    Family(
        "Qwen 2 MoE", ("qwen2_moe",), "as Qwen 2, with experts beside an MLP that a sigmoid weighs, or an MLP alone",
        _experts(_ROTARY, Experts(normalized=False, shared=MLP("silu", gated=True), sigma_s=1.0)),
        parts=_EXPERT_PARTS | {
            "shared_gate": "mlp.shared_expert.gate_proj", "shared_up": "mlp.shared_expert.up_proj",
            "shared_down": "mlp.shared_expert.down_proj", "shared_router": "mlp.shared_expert_gate",
        },
        period=0, defaults={"use_sliding_window": False},
    ),
    Family(
        "Qwen 3 MoE", ("qwen3_moe",), "as Qwen 3, with experts, or an MLP alone",
        _experts(_PER_HEAD), parts=_EXPERT_PARTS, period=0, defaults={"use_sliding_window": False},
    ),
    Family(
        "OLMoE", ("olmoe",), "as Llama, queries and keys normalized over all heads, with experts",
        _experts(_ALL_HEADS, epsilon=1e-5), parts=_EXPERT_PARTS,
    ),
    Family(
        "Granite MoE", ("granitemoe",), "as Granite, with experts: the softmax of the chosen ones' logits",
        _experts(_ROTARY, Experts()), defaults={"attention_multiplier": 1.0},
        parts=_ATTENTION_PARTS | {
            "router": ("block_sparse_moe.router", "block_sparse_moe.router.layer"),
            "gate_up": ("block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.input_linear"),
            "down": ("block_sparse_moe.experts.down_proj", "block_sparse_moe.output_linear"),
        },
        special=("attention_multiplier", "residual_multiplier", "embedding_multiplier"),
    ),
    Family(
        "OPT", ("opt",), "pre-norm, relu, learned positions; N(0, .02²)", _plain("relu"),
        parts={
            "query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj",
            "out": "self_attn.out_proj", "up": "fc1", "down": "fc2",
        },
        positions=1, special=("do_layer_norm_before", "word_embed_proj_dim"),
    ),
    Family(
        "BERT", ("bert", "roberta"), "post-norm, gelu, not causal; N(0, .02²); embeddings normalized",
        _plain(place="stream", epsilon=1e-12), parts=BERT_PARTS, causal=False, positions=2, embedding="normalized",
        special=("is_decoder",),
    ),
    Family(
        "ViT", ("vit",), "pre-norm, gelu, not causal; N(0, .02²) cut at 2 (that is, not cut); pixels",
        _plain(epsilon=1e-12),
        parts={
            "query": ("attention.attention.query", "attention.q_proj"),
            "key": ("attention.attention.key", "attention.k_proj"),
            "value": ("attention.attention.value", "attention.v_proj"),
            "out": ("attention.output.dense", "attention.o_proj"),
            "up": ("intermediate.dense", "mlp.fc1"), "down": ("output.dense", "mlp.fc2"),
        },
        causal=False, embedding="vectors",
    ),
)  # fmt: skip
SPECIAL = {name for family in FAMILIES for name in family.special}
BY_TYPE = {kind: family for family in FAMILIES for kind in family.types}
