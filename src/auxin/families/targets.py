"""The classes of transformers that a model of auxin can be: their settings, and their names for weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auxin.architecture import MLP, Attention, Layer
from auxin.families.family import Family
from auxin.families.table import BY_TYPE
from auxin.models.stack import norms_of


def bodies_of(layer: Layer) -> tuple[Attention, MLP]:
    """The two branches of a layer of plain attention, then an MLP."""
    attention, mlp = (sublayer.body for sublayer in layer.sublayers)
    assert isinstance(attention, Attention)
    assert isinstance(mlp, MLP)
    return attention, mlp


def form_of(layer: Layer, *, causal: bool, embedding_norm: bool) -> dict[str, Any]:
    """What a class of transformers has fixed about a model whose layers are all one: attention, then an MLP."""
    attention, mlp = bodies_of(layer)
    places = [norms_of(sublayer) for sublayer in layer.sublayers]
    kinds = [norm.kind for norms in places for norm in norms.values()]
    return {
        "place of the norms": " or ".join(sorted({" and ".join(norms) or "none" for norms in places})),
        "kind of norm": kinds[0] if kinds else "none",
        "rotary positions": attention.rotary is not None,
        "gated": mlp.gated,
        "qk_norm": attention.qk_norm,
        "parallel": layer.parallel,
        "causal": causal,
        "embedding_norm": embedding_norm,
    }


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
    place: str = ""
    """Of the norms, where it is not the family's."""
    offset: int = 0
    """Rows of the table of positions before the first."""
    transposed: bool = False
    """Whether maps are stored [fan_in, fan_out]."""
    biased: bool = True
    """Whether all maps of the layers have biases; else those that the settings say."""
    mlp_bias: bool = True
    """Whether the maps of the MLP can have biases."""
    epsilon: float | None = None
    """That of all norms, where it is no setting, or not of all of them."""
    shared_keys: bool = False
    """Whether heads can share keys and values, and be of any size."""
    head_bias: bool = False

    @property
    def family(self) -> Family:
        """Its family, whose table names the maps."""
        return BY_TYPE[self.kind]

    def allows(self) -> dict[str, tuple[Any, ...]]:
        """What the form of a model may be."""
        family = self.family
        fixed = form_of(family.layer, causal=family.causal, embedding_norm=bool(self.start))
        allowed: dict[str, tuple[Any, ...]] = {name: (value,) for name, value in fixed.items()}
        if self.place:
            allowed["place of the norms"] = (self.place,)
        if family.layer.parallel:
            allowed["parallel"] = (False, True)
        return allowed


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
    "shared_keys": True,
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
    Target(kind="qwen3", architecture="Qwen3ForCausalLM", mlp_bias=False, epsilon=1e-6, **_LLAMA),
    Target(
        kind="gpt_neox", architecture="GPTNeoXForCausalLM",
        settings=_SIZES + "hidden_act layer_norm_eps rotary_pct rotary_emb_base use_parallel_residual "
        "attention_dropout hidden_dropout",
        stack="gpt_neox.layers", norms=("input_layernorm", "post_attention_layernorm"),
        embedding="gpt_neox.embed_in", final="gpt_neox.final_layer_norm", head="embed_out",
    ),
    Target(
        kind="opt", architecture="OPTForCausalLM", place="stream", epsilon=1e-5,
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
