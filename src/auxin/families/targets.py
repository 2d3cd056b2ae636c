"""The classes of transformers that a model of auxin can be: their settings, and their names for weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from auxin.architecture import MLP, Attention, Layer, Norm, Rotary
from auxin.architecture.model import ModelConfig
from auxin.architecture.recipe import Recipe
from auxin.families.table import BY_TYPE, Family
from auxin.models.stack import norms_of
from auxin.values import check


@dataclass(frozen=True)
class Parts:
    """A config, and the recipe that it is, whose layers are all one: attention, then an MLP."""

    config: ModelConfig
    recipe: Recipe
    attention: Attention
    mlp: MLP

    @classmethod
    def of(cls, config: ModelConfig) -> Parts:
        """Those of a config; ``ConfigError`` where its layers are others."""
        recipe = config.recipe()
        layer, *others = set(recipe.network.layers)
        check(not others, "number of different layers", 1 + len(others), "1, to be exported")
        bodies = [sublayer.body for sublayer in layer.sublayers]
        names = ", ".join(type(body).__name__ for body in bodies)
        check(names == "Attention, MLP", "sublayers", names, "Attention, MLP, to be exported")
        attention, mlp = bodies
        assert isinstance(attention, Attention)
        assert isinstance(mlp, MLP)
        return cls(config, recipe, attention, mlp)

    @property
    def layer(self) -> Layer:
        """Each of its layers."""
        return self.recipe.network.layers[0]

    @property
    def norms(self) -> list[Norm]:
        """Those of a layer."""
        return [norm for sublayer in self.layer.sublayers for norm in norms_of(sublayer).values()]

    @property
    def epsilon(self) -> float:
        """That of the norms."""
        return self.norms[0].epsilon

    @property
    def rotary(self) -> Rotary:
        """Its rotary positions."""
        assert self.attention.rotary is not None
        return self.attention.rotary

    @property
    def head_dim(self) -> int:
        """Dimensions of a head."""
        return self.attention.dimensions(self.config.sizes)

    def form(self) -> dict[str, Any]:
        """What decides about the class."""
        embedded = self.config.embedding_norm is not None
        return _form(self.layer) | {"causal": self.config.causal, "embedding_norm": embedded}


def _form(layer: Layer) -> dict[str, Any]:
    """What a class of transformers has fixed about its layers."""
    attention, mlp = (sublayer.body for sublayer in layer.sublayers)
    assert isinstance(attention, Attention)
    assert isinstance(mlp, MLP)
    norms = [norms_of(sublayer) for sublayer in layer.sublayers]
    kinds = [norm.kind for each in norms for norm in each.values()]
    return {
        "place of the norms": " or ".join(sorted({" and ".join(each) or "none" for each in norms})),
        "kind of norm": kinds[0] if kinds else "none",
        "rotary positions": attention.rotary is not None,
        "gated": mlp.gated,
        "qk_norm": attention.qk_norm,
        "parallel": layer.parallel,
    }


@dataclass(frozen=True, kw_only=True)
class Target:
    """A class of transformers, and its names for what stands around the maps of its family's layers."""

    kind: str
    """``model_type``, which has a family."""
    architecture: str
    settings: Callable[[Parts], dict[str, Any]]
    """Those that not all have in common."""
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
        fixed = _form(self.family.layer) | {"causal": self.family.causal, "embedding_norm": bool(self.start)}
        allowed: dict[str, tuple[Any, ...]] = {name: (value,) for name, value in fixed.items()}
        if self.place:
            allowed["place of the norms"] = (self.place,)
        if self.family.layer.parallel:
            allowed["parallel"] = (False, True)
        return allowed


def _gpt2(of: Parts) -> dict[str, Any]:
    config = of.config
    return {
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_inner": config.hidden,
        "n_positions": config.max_length,
        "activation_function": of.mlp.activation,
        "layer_norm_epsilon": of.epsilon,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
    }


def _sizes(of: Parts, hidden: str = "intermediate_size") -> dict[str, Any]:
    config = of.config
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        hidden: config.hidden,
        "max_position_embeddings": config.max_length,
    }


def _llama(of: Parts) -> dict[str, Any]:
    check(of.rotary.fraction == 1, "fraction of rotary", of.rotary.fraction, "1, where MLPs are gated")
    config = of.config
    return {
        **_sizes(of),
        "num_key_value_heads": config.sizes.key_heads,
        "head_dim": of.head_dim,
        "hidden_act": of.mlp.activation,
        "rms_norm_eps": of.epsilon,
        "rope_theta": of.rotary.base,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "attention_dropout": config.dropout,
    }


def _neox(of: Parts) -> dict[str, Any]:
    fraction = of.rotary.fraction
    whole = int(of.head_dim * fraction) == of.rotary.turned(of.head_dim)
    check(whole, "fraction of rotary", fraction, "one that turns an even number of dimensions")
    return {
        **_sizes(of),
        "hidden_act": of.mlp.activation,
        "layer_norm_eps": of.epsilon,
        "rotary_pct": fraction,
        "rotary_emb_base": of.rotary.base,
        "use_parallel_residual": of.layer.parallel,
        **dict.fromkeys(("attention_dropout", "hidden_dropout"), of.config.dropout),
    }


def _opt(of: Parts) -> dict[str, Any]:
    return {
        **_sizes(of, "ffn_dim"),
        "word_embed_proj_dim": of.config.width,
        "do_layer_norm_before": False,
        "activation_function": of.mlp.activation,
        **dict.fromkeys(("dropout", "attention_dropout"), of.config.dropout),
    }


def _bert(of: Parts) -> dict[str, Any]:
    dropouts = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
    return {
        **_sizes(of),
        "type_vocab_size": 1,
        "num_labels": of.config.vocabulary_size,
        "hidden_act": of.mlp.activation,
        "layer_norm_eps": of.epsilon,
        **dict.fromkeys(dropouts, of.config.dropout),
    }


_LLAMA: dict[str, Any] = {
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
        kind="gpt2", architecture="GPT2LMHeadModel", settings=_gpt2,
        stack="transformer.h", norms=("ln_1", "ln_2"), embedding="transformer.wte", positions="transformer.wpe",
        final="transformer.ln_f", head="lm_head", transposed=True,
    ),
    Target(kind="llama", architecture="LlamaForCausalLM", settings=_llama, **_LLAMA),
    Target(kind="qwen3", architecture="Qwen3ForCausalLM", settings=_llama, mlp_bias=False, epsilon=1e-6, **_LLAMA),
    Target(
        kind="gpt_neox", architecture="GPTNeoXForCausalLM", settings=_neox,
        stack="gpt_neox.layers", norms=("input_layernorm", "post_attention_layernorm"),
        embedding="gpt_neox.embed_in", final="gpt_neox.final_layer_norm", head="embed_out",
    ),
    Target(
        kind="opt", architecture="OPTForCausalLM", settings=_opt, place="stream", epsilon=1e-5,
        stack="model.decoder.layers", norms=("self_attn_layer_norm", "final_layer_norm"),
        embedding="model.decoder.embed_tokens", positions="model.decoder.embed_positions", offset=2, head="lm_head",
    ),
    Target(
        kind="bert", architecture="BertForTokenClassification", settings=_bert,
        stack="bert.encoder.layer", norms=("attention.output.LayerNorm", "output.LayerNorm"),
        embedding="bert.embeddings.word_embeddings", positions="bert.embeddings.position_embeddings",
        start="bert.embeddings.LayerNorm", extra=("bert.embeddings.token_type_embeddings",),
        head="classifier", head_bias=True,
    ),
)  # fmt: skip
