"""A config.json, and its settings as a ``Recipe``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from auxin.architecture import (
    MLP,
    Attention,
    CrossAttention,
    Experts,
    LatentAttention,
    Layer,
    Network,
    Sublayer,
)
from auxin.architecture.attention import Relative
from auxin.architecture.initialization import Map
from auxin.architecture.recipe import EmbeddingLaw, Recipe
from auxin.architecture.sizes import Sizes
from auxin.errors import ConfigError
from auxin.families.family import Family
from auxin.families.names import ACTIVATIONS, FULL, KINDS, LARGEST, NAMES, SLIDING, STACKED, without_effect
from auxin.families.rotary import rotary_of, strength_of_all
from auxin.families.table import BY_TYPE, FAMILIES, SPECIAL
from auxin.values import check


class NoFamily(ConfigError):
    """No family is known that a config or a model is of."""


def read_config(path: str | Path) -> dict[str, Any]:
    """The settings of a config.json, or of the one in a directory; raises ``ConfigError`` where there are none."""
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device read for ever
        raise ConfigError(f"{path} is no file; allowed: a config.json")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; allowed: a config.json") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    check(isinstance(values, dict), str(path), type(values).__name__, "a JSON object of settings")
    return values


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """The model that a config describes.

    Raises ``ConfigError`` for an unknown ``model_type`` (naming the known), and for a setting that is missing, of
    another kind, or not known to be without effect at initialization.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in BY_TYPE:
        known = ", ".join(t for f in FAMILIES for t in f.types)
        raise NoFamily(
            f"model_type is {kind!r}; known: {known}; allowed for any other: the model itself, which is measured "
            "(auxin check module:function)"
        )
    family = BY_TYPE[kind]
    text = values.get("text_config")
    if "hidden_size" not in values and isinstance(text, Mapping):
        values = text  # what stands beside it is of images
    return _Reader(values, family).recipe()


class _Reader:
    """Reads settings, each by the names it goes by, and keeps account of what has been read."""

    def __init__(self, values: Mapping[str, Any], family: Family) -> None:
        self.values, self.family, self.read = values, family, set[str]()
        self.stack = ""
        """Which of two is read: encoder or decoder."""

    def recipe(self) -> Recipe:
        """All that the config describes; ``ConfigError`` for what is not covered."""
        if self.family.decoder is None:
            recipe = self._stack(self.family.layer)
        else:
            self.read.update(("is_encoder_decoder", "is_decoder"))
            self.stack = "encoder"
            encoder = self._stack(self.family.layer)
            self.stack = "decoder"
            recipe = replace(self._stack(self.family.decoder), causal=True, encoder=encoder)
        for name, value in self.values.items():
            known = name in self.read or without_effect(name, value)
            check(known, name, value, f"none, as it is not covered for {self.family.name}")
        return recipe

    def _stack(self, template: Layer) -> Recipe:
        """The layers of a template, with the config's numbers."""
        family = self.family
        width, depth, heads = self.whole("width"), self.whole("depth"), self.whole("heads")
        check(depth <= 10_000, "number of layers", depth, "1 to 10000")
        head_dim, key_heads = self.whole("head_dim", max(1, width // heads)), self._key_heads(heads)
        hidden = self.whole("hidden", round(self.number("mlp_ratio", 4) * width))
        of_expert, of_shared = self._expert_sizes(template)
        sizes = Sizes(width, heads, key_heads, hidden, expert_hidden=of_expert, shared_hidden=of_shared)
        std, causal = self.number("std", 0.02), family.causal or self.flag("is_decoder", False)
        parallel = template.parallel and self.flag("parallel", True)
        templates = [self._sublayer(sublayer) for sublayer in template.sublayers]
        self.depth, self.sizes, self.head_dim = depth, sizes, head_dim

        @cache  # equal layers are one object
        def layer(*bodies: Any) -> Layer:
            pairs = zip(templates, bodies, strict=True)
            return Layer(tuple(replace(sublayer, body=body) for sublayer, body in pairs), parallel)

        layers = tuple(layer(*(self._body(s.body, i) for s in templates)) for i in range(depth))
        scheme = family.scheme(std, depth)
        embedding = self._embedding(scheme.embeddings(Map(width, 1)).std, width)
        network = Network(layers, templates[0].before or templates[0].after)
        return Recipe(family.name, network, sizes, scheme, embedding, causal)

    def whole(self, name: str, default: int | None = None) -> int:
        """A positive whole number."""
        fits = lambda value: type(value) is int and 1 <= value <= LARGEST
        return self._checked(name, default, fits, "a whole number of 1 or more")

    def number(self, name: str, default: float) -> float:
        """A number of 0 or more."""
        fits = lambda value: type(value) in (int, float) and 0 <= value < 1e12
        return float(self._checked(name, default, fits, "a number of 0 or more"))

    def flag(self, name: str, default: bool) -> bool:
        """A switch."""
        return self._checked(name, default, lambda value: type(value) is bool, "true or false")

    def _checked(self, name: str, default: Any, fits: Callable[[Any], bool], allowed: str) -> Any:
        key, value = self._find(name)
        value = default if value is None else value
        check(fits(value), key, value, allowed)
        return value

    def _find(self, name: str) -> tuple[str, Any]:
        """A setting's name and value: the config's, else the family's; None where the family does not have it."""
        names = STACKED.get((self.stack, name), ()) + NAMES.get(name, (name,))
        names = [key for key in names if key not in SPECIAL or key in self.family.special.split()]
        self.read.update(names)
        for values in (self.values, self.family.defaults):
            for key in names:
                if values.get(key) is not None:
                    return key, values[key]
        return NAMES.get(name, (name,))[0], None

    def _sublayer(self, template: Sublayer) -> Sublayer:
        """With the config's ε, activation and place of the norms."""
        places = {"before": template.before, "after": template.after, "stream": template.stream}
        if not self.flag("do_layer_norm_before", True):
            places = {"before": None, "stream": template.before}
        for place, norm in places.items():
            places[place] = norm and replace(norm, epsilon=self.number("epsilon", norm.epsilon))
        body = template.body
        if isinstance(body, MLP):
            body = self._mlp(body)
        elif isinstance(body, Experts):
            groups, (key, score) = self.whole("n_group", 1), self._find("scoring_func")
            check(score in (None, body.score), key, score, body.score)
            body = replace(
                body,
                expert=self._mlp(body.expert),
                shared=None if body.shared is None else self._mlp(body.shared),
                count=self.whole("experts"),
                active=self.whole("num_experts_per_tok"),
                normalized=body.normalized or self.flag("norm_topk_prob", False),
                factor=self.number("routed_scaling_factor", 1.0),
                groups=groups,
                kept_groups=self.whole("topk_group", groups),
            )
        return replace(template, body=body, branch=self.number("branch", 1.0), **places)

    def _mlp(self, template: MLP) -> MLP:
        """With the config's activation; gpt-oss's config names another than its code has."""
        key, name = self._find("activation")
        if template.shift:
            return template
        if (projection := self._find("feed_forward_proj")[1]) is not None:  # T5's, such as gated-gelu
            *gate, name = str(projection).split("-")
            template = replace(template, gated=gate == ["gated"])
        check(name is None or isinstance(name, str), key, name, "the name of an activation")
        activation: Any = ACTIVATIONS.get(str(name), name) or template.activation
        known = ("gelu", "quick_gelu", "relu", "relu2", "silu", "tanh", "linear")
        check(activation in known, "activation", name, ", ".join((*known, *ACTIVATIONS)))
        return replace(template, activation=activation)

    def _expert_sizes(self, template: Layer) -> tuple[int, int]:
        """Hidden units of experts and of the MLP beside them; 0 where there are none."""
        body = template.sublayers[1].body
        if not isinstance(body, Experts):
            return 0, 0
        hidden = self.whole("expert_hidden")
        together = self.whole("n_shared_experts", 1) * hidden
        return hidden, 0 if body.shared is None else self.whole("shared_expert_intermediate_size", together)

    def _experts(self, body: Experts, layer: int) -> MLP | Experts:
        """A layer's experts, or the one MLP that it has instead."""
        dense, step = self._find("mlp_only_layers")[1] or (), self.whole("decoder_sparse_step", 1)
        first = self.number("first_k_dense_replace", 0)
        return body.expert if layer < first or layer in dense or (layer + 1) % step else body

    def _body(self, template: Any, layer: int) -> Any:
        """What one layer's sublayer has inside."""
        if isinstance(template, MLP):
            return template
        if isinstance(template, Experts):
            return self._experts(template, layer)
        if isinstance(template, LatentAttention):
            return self._latent(template)
        body = replace(template, head_dim=self.head_dim)
        if not isinstance(template, CrossAttention):
            body = self._attention(body, layer)
        if self.family.unscaled:
            body = replace(body, sigma_q=self.head_dim**-0.5, scale=1.0)
        if body.relative is not None:
            rows, longest = (
                self.whole(f"relative_attention_{name}") for name in ("num_buckets", "max_distance")
            )
            body = replace(body, relative=Relative(self.sizes.width**-0.5, rows, longest))
        return body

    def _key_heads(self, heads: int) -> int:
        """How many heads of keys there are; Falcon and StarCoder say whether there is one."""
        keys, grouped = self.whole("key_heads", heads), self.flag("new_decoder_architecture", False)
        if grouped or "multi_query" not in self.family.special.split():
            return keys
        return 1 if self.flag("multi_query", False) else heads

    def _attention(self, template: Attention, layer: int) -> Attention:
        """What one layer's attention does."""
        head_dim, natural = self.head_dim, self.head_dim**-0.5
        scale = self.number("query_pre_attn_scalar", head_dim) ** -0.5
        scale = self.number("attention_multiplier", scale)
        scale = scale if self.flag("scale_attn_weights", True) else 1.0
        scale /= layer + 1 if self.flag("scale_attn_by_inverse_layer_idx", False) else 1
        kind, rotary = self._kind(layer), None
        turned = template.rotary and self._turns(kind, layer)
        if turned and (settings := self._rotation(kind, head_dim)) is not None:
            rotary, strength = rotary_of(settings, head_dim, self.whole("longest", LARGEST))
            scale *= strength**2
        norms = self.family.layer.sublayers[0]
        epsilon = max(norm.epsilon for norm in (norms.before, norms.after, norms.stream) if norm)
        return replace(
            template,
            qk_epsilon=self.number("epsilon", epsilon) if template.qk_norm else template.qk_epsilon,
            scale=None if scale == natural else scale,
            rotary=rotary,
            alibi=self.whole("heads") if template.alibi else 0,
            window=self._window() if kind == SLIDING else None,
            softcap=self.number("attn_logit_softcapping", 0.0) or None,
        )

    def _latent(self, template: LatentAttention) -> LatentAttention:
        """What attention with latent keys does; the norms of latents have the classes' ε, not the config's."""
        heads, keys = self.sizes.heads, self.sizes.key_heads
        check(keys == heads, "num_key_value_heads", keys, f"{heads}, as of queries")
        turned = self.whole("qk_rope_head_dim")
        head_dim = self.whole("qk_nope_head_dim") + turned
        self.read.add("qk_head_dim")  # their sum
        fraction = math.nextafter(turned / head_dim, 1)  # times head_dim no less than turned
        settings = {**(self._rotation(FULL, turned) or {}), "partial_rotary_factor": fraction}
        strength = strength_of_all(settings)
        none = self.values.get("q_lora_rank", 0) is None
        return replace(
            template,
            head_dim=head_dim,
            scale=None if strength == 1 else strength**2 * head_dim**-0.5,
            rotary=rotary_of(settings, head_dim, self.whole("longest", LARGEST))[0],
            rank=self.whole("kv_lora_rank"),
            query_rank=None if none else self.whole("q_lora_rank"),
            value_dim=self.whole("v_head_dim"),
        )

    def _rotation(self, kind: str, head_dim: int) -> Mapping[str, Any] | None:
        """Settings of the rotation in layers of a kind; None where there is none.

        Since version 5 of transformers all stand in rope_parameters, where layers differ by their kind; before, a
        part stood in rope_scaling.
        """
        base, fraction = self.number("base", 10_000.0), self.number("fraction", 1.0)
        fraction *= self.whole("rotary_dim", head_dim) / head_dim
        scaling = [self._find(name)[1] for name in ("rope_parameters", "rope_scaling")]
        for value in scaling:
            check(value is None or isinstance(value, Mapping), "rope_parameters", value, "settings by name")
        settings = scaling[0] or scaling[1] or {}
        local = self.family.local_unscaled and kind == SLIDING
        base = self.number("local_base", base) if local else base
        if KINDS & set(settings):
            settings = settings.get(kind, {})
            if settings is None:
                return None
        elif local:
            settings = {}  # what is scaled is the other layers' rotation
        if (old := self._find("original_max_position_embeddings")[1]) is not None:
            settings = {**settings, "original_max_position_embeddings": old}
        defaults = {"rope_theta": base, "partial_rotary_factor": fraction}
        return defaults | {name: value for name, value in settings.items() if value is not None}

    def _kind(self, layer: int) -> str:
        """What a layer's tokens see: all, or a window."""
        period = self.family.period
        if period is None:
            return FULL
        size, used = self._find("window")[1], self.flag("use_sliding_window", True)
        first, kinds = self.number("max_window_layers", 0), self._find("layer_types")[1]
        period = self.whole("pattern", period) if period else 0
        if kinds is not None:
            given = isinstance(kinds, (list, tuple)) and len(kinds) == self.depth and set(kinds) <= KINDS
            check(given, "layer_types", kinds, f"{self.depth} of {', '.join(sorted(KINDS))}")
            return kinds[layer]
        if size is None or not used:
            return FULL
        local = (layer + self.family.phase) % period != 0 if period else layer >= first
        return SLIDING if local else FULL

    def _window(self) -> int:
        """Tokens that a layer with a window sees; ModernBERT's counts both sides, without the token itself."""
        size = self.whole("window")
        return size // 2 + 1 if self._find("window")[0] == "local_attention" else size

    def _turns(self, kind: str, layer: int) -> bool:
        """Whether a layer rotates: not those that SmolLM 3 lists with 0, nor Cohere 2's that see all."""
        kinds, every = self._find("no_rope_layers")[1], self.whole("no_rope_layer_interval", LARGEST)
        if kinds is not None:
            given = isinstance(kinds, (list, tuple)) and len(kinds) == self.depth and set(kinds) <= {0, 1}
            check(given, "no_rope_layers", kinds, f"{self.depth} of 0 and 1")
            return kinds[layer] == 1
        return (layer + 1) % every != 0 and not (self.family.unrotated and kind == FULL)

    def _embedding(self, std: float, width: int) -> EmbeddingLaw:
        family, tables = self.family, 1 + self.family.positions
        key, embedded = self._find("embedded")[0], self.whole("embedded", width)
        projected = key == "embedding_size" and embedded != width
        check(embedded == width or projected, key, embedded, f"the width, {width}")
        if family.embedding == "vectors" and self.stack != "decoder":
            return EmbeddingLaw()
        if family.embedding == "normalized":
            self.read.add("scale_embedding")
            size = embedded * std**2 if projected else 1.0
            return EmbeddingLaw(std, size, size * family.shared / tables)
        scale = width if family.embedding == "scaled" else self.number("embedding_multiplier", 1.0) ** 2
        return EmbeddingLaw(std, tables * std**2 * scale)
