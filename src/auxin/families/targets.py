"""The classes of transformers that a model of auxin can be: their settings, and their names for weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auxin.families.family import Family
from auxin.families.table import BY_TYPE


@dataclass(frozen=True, kw_only=True)
class Target:
    """A class of transformers, and its names for what stands around the maps of its family's layers."""

    kind: str
    """``model_type``, which has a family."""
    architecture: str
    settings: str
    """Names of those of its config that describe the model."""
    stack: str
    norms: tuple[str, str]
    """Inside a layer: attention's, the MLP's."""
    embedding: str
    head: str
    positions: str = ""
    """Empty: no table is added."""
    final: str = ""
    """Norm before the output map; empty: none."""
    start: str = ""
    """Norm of the embeddings; empty: none."""
    extra: tuple[str, ...] = ()
    """Tables of one row that are added to the embeddings, and stay zero."""
    offset: int = 0
    """Rows of the table of positions before the first."""
    transposed: bool = False
    """Whether maps are stored [fan_in, fan_out]."""
    biased: bool = True
    """Whether all maps of the layers have biases; else those that the settings say."""
    mlp_bias: bool = True
    """Whether the maps of the MLP can have biases."""
    head_bias: bool = False

    @property
    def family(self) -> Family:
        """Its family, whose table names the maps."""
        return BY_TYPE[self.kind]


_SIZES = "hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings "
_LLAMA: dict[str, Any] = {
    "settings": _SIZES
    + "num_key_value_heads head_dim hidden_act rms_norm_eps rope_theta attention_bias mlp_bias attention_dropout",
    "stack": "model.layers",
    "norms": ("input_layernorm", "post_attention_layernorm"),
    "embedding": "model.embed_tokens",
    "final": "model.norm",
    "head": "lm_head",
    "biased": False,
}
TARGETS = (
    Target(
        kind="gpt2", architecture="GPT2LMHeadModel",
        settings="n_embd n_layer n_head n_inner n_positions activation_function layer_norm_epsilon "
        "resid_pdrop embd_pdrop attn_pdrop",
        stack="transformer.h", norms=("ln_1", "ln_2"), embedding="transformer.wte", positions="transformer.wpe",
        final="transformer.ln_f", head="lm_head", transposed=True,
    ),
    Target(kind="llama", architecture="LlamaForCausalLM", **_LLAMA),
    Target(kind="qwen3", architecture="Qwen3ForCausalLM", mlp_bias=False, **_LLAMA),
    Target(
        kind="gpt_neox", architecture="GPTNeoXForCausalLM",
        settings=_SIZES + "hidden_act layer_norm_eps rotary_pct rotary_emb_base use_parallel_residual "
        "attention_dropout hidden_dropout",
        stack="gpt_neox.layers", norms=("input_layernorm", "post_attention_layernorm"),
        embedding="gpt_neox.embed_in", final="gpt_neox.final_layer_norm", head="embed_out",
    ),
    Target(
        kind="opt", architecture="OPTForCausalLM",
        settings="hidden_size num_hidden_layers num_attention_heads ffn_dim max_position_embeddings "
        "word_embed_proj_dim do_layer_norm_before activation_function dropout attention_dropout",
        stack="model.decoder.layers", norms=("self_attn_layer_norm", "final_layer_norm"),
        embedding="model.decoder.embed_tokens", positions="model.decoder.embed_positions", offset=2, head="lm_head",
    ),
    Target(
        kind="bert", architecture="BertForTokenClassification",
        settings=_SIZES + "type_vocab_size num_labels hidden_act layer_norm_eps "
        "hidden_dropout_prob attention_probs_dropout_prob classifier_dropout",
        stack="bert.encoder.layer", norms=("attention.output.LayerNorm", "output.LayerNorm"),
        embedding="bert.embeddings.word_embeddings", positions="bert.embeddings.position_embeddings",
        start="bert.embeddings.LayerNorm", extra=("bert.embeddings.token_type_embeddings",),
        head="classifier", head_bias=True,
    ),
)  # fmt: skip
