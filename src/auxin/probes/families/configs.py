"""A config.json's settings as a ``Design``; nothing but a dictionary is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auxin.architecture import Norm, Rotary
from auxin.errors import ConfigError
from auxin.probes.families.design import Design, Heads
from auxin.probes.families.table import BY_TYPE, FAMILIES, Family
from auxin.values import check

NAMES = {
    "width": ("hidden_size", "n_embd", "d_model"),
    "depth": ("num_hidden_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_head"),
    "hidden": ("intermediate_size", "ffn_dim", "n_inner"),
    "activation": ("hidden_activation", "hidden_act", "activation_function"),
    "epsilon": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
    "std": ("initializer_range", "init_std"),
    "vocabulary": ("vocab_size",),
}
"""What each setting is called, by the first that is there."""
ACTIVATIONS = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu_python": "gelu",
    "swish": "silu",
}
"""Other names of activations that differ by less than a percent."""
LARGEST = 2**30
SCALED = ", output maps of branches divided by √(2·layers)"


def read_config(path: str | Path) -> dict[str, Any]:
    """The settings of a config.json, or of the one in a directory; raises ``ConfigError`` where there are none."""
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    try:
        if path.stat().st_size > 2**24:
            raise ConfigError(f"{path} is larger than 16 MB; allowed: a config.json")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; allowed: a config.json") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    check(isinstance(values, dict), str(path), type(values).__name__, "a JSON object of settings")
    return values


def design_of(values: Mapping[str, Any]) -> Design:
    """The design that a config describes.

    Raises ``ConfigError`` for an unknown ``model_type`` (naming the known), or a setting that is missing or of
    another kind.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in BY_TYPE:
        known = ", ".join(t for f in FAMILIES for t in f.types)
        raise ConfigError(
            f"model_type is {kind!r}; known: {known}; allowed for any other: the model itself, which is measured "
            "(auxin check module:function)"
        )
    family = BY_TYPE[kind]
    text = values.get("text_config")
    if "hidden_size" not in values and isinstance(text, Mapping):
        values = text
    return _Reader(values, family).design()


class _Reader:
    """Reads settings, each by the names it goes by."""

    def __init__(self, values: Mapping[str, Any], family: Family) -> None:
        self.values, self.family = values, family

    def whole(self, name: str, default: int | None = None) -> int:
        """A positive whole number."""
        key, value = self._find(name)
        value = default if value is None else value
        check(type(value) is int and 1 <= value <= LARGEST, key, value, "a whole number of 1 or more")
        assert isinstance(value, int)
        return value

    def number(self, name: str, default: float) -> float:
        """A number of 0 or more."""
        key, value = self._find(name)
        value = default if value is None else value
        check(type(value) in (int, float) and 0 <= value < 1e9, key, value, "a number of 0 or more")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """A switch."""
        value = self.values.get(name, default)
        check(type(value) is bool, name, value, "true or false")
        return value

    def _find(self, name: str) -> tuple[str, Any]:
        for key in NAMES.get(name, (name,)):
            if self.values.get(key) is not None:
                return key, self.values[key]
        return NAMES.get(name, (name,))[0], None

    def design(self) -> Design:
        """The network that the config describes, with its sizes and initialization; ``ConfigError`` for what is not
        covered."""
        family = self.family
        width, depth, heads = self.whole("width"), self.whole("depth"), self.whole("heads")
        check(depth <= 10_000, "number of layers", depth, "1 to 10000")
        head_dim = self.whole("head_dim", max(1, width // heads))
        std = self.number("std", 0.02)
        norm = Norm(family.norm, epsilon=self.number("epsilon", family.epsilon))
        first, second = self._start(std, width)
        post = family.name == "OPT" and not self.flag("do_layer_norm_before", True)
        return Design(
            family=family.name,
            width=width,
            hidden=self.whole("hidden", 4 * width),
            heads=heads,
            key_width=self.whole("num_key_value_heads", heads) * head_dim,
            layers=tuple(self._heads(i, depth, head_dim) for i in range(depth)),
            norm=norm,
            placement="post" if post else family.placement,
            activation=self._activation(),
            gated=family.gated,
            parallel=family.parallel and self.flag("use_parallel_residual", True),
            scaled=family.scaled,
            law=lambda role, fan_in, fan_out: std,
            said=f"N(0, {std:g}²)" + (SCALED if family.scaled else ""),
            embedding_norm=first,
            embedding_overlap=second,
            embedding_std=None if family.embedding == "vectors" else std,
            vocabulary=None if family.embedding == "vectors" else self.whole("vocabulary", 50_000),
            tied=self.flag("tie_word_embeddings", family.tied),
            causal=family.causal,
            gain_shift=family.gain_shift,
        )

    def _activation(self) -> str:
        _, said = self._find("activation")
        activation = ACTIVATIONS.get(said, said) or self.family.activation
        known = ("gelu", "relu", "silu", "tanh")
        check(activation in known, "activation", said, ", ".join((*known, *ACTIVATIONS)))
        return activation

    def _start(self, std: float, width: int) -> tuple[float, float]:
        """Norm² and overlap of two tokens at the start of the stream."""
        tables = 1 + self.family.positions
        if self.family.embedding == "vectors":
            return 0.0, 0.0
        if self.family.embedding == "normalized":  # all tokens share the row of their segment
            return 1.0, 1 / tables
        scale = width if self.family.embedding == "scaled" else 1
        return tables * std**2 * scale, 0.0

    def _heads(self, layer: int, depth: int, head_dim: int) -> Heads:
        """What one layer's attention does."""
        family = self.family
        scale = softcap = None
        if family.placement == "sandwich":
            scale = self.number("query_pre_attn_scalar", head_dim) ** -0.5
            softcap = self.number("attn_logit_softcapping", 0.0) or None
        if family.name == "GPT-2":
            scale = 1.0 if not self.flag("scale_attn_weights", True) else head_dim**-0.5
            scale /= layer + 1 if self.flag("scale_attn_by_inverse_layer_idx", False) else 1
            scale = None if scale == head_dim**-0.5 else scale
        window = self._window(layer, depth)
        return Heads(
            head_dim=head_dim,
            scale=scale,
            qk_norm=family.qk_norm,
            rotary=self._rotary(head_dim, local=window is not None) if family.rotary else None,
            window=window,
            softcap=softcap,
        )

    def _rotary(self, head_dim: int, local: bool) -> Rotary | None:
        base = self.number("rope_theta", self.number("rotary_emb_base", 10_000.0))
        if self.family.name == "Gemma 3" and local:
            base = self.number("rope_local_base_freq", 10_000.0)
        fraction = self.number("rotary_pct", self.number("partial_rotary_factor", 1.0))
        if self.family.name == "GPT-J":
            fraction = self.number("rotary_dim", head_dim) / head_dim
        elif self.family.name == "GPT-NeoX" and "rotary_pct" not in self.values:
            fraction = self.number("partial_rotary_factor", 0.25)
        return Rotary(base, min(fraction, 1.0))

    def _window(self, layer: int, depth: int) -> int | None:
        """Tokens that a layer sees, where that is limited."""
        size = self.values.get("sliding_window")
        if size is None or self.values.get("use_sliding_window") is False:
            return None
        kinds = self.values.get("layer_types")
        if isinstance(kinds, (list, tuple)) and len(kinds) == depth:
            local = kinds[layer] == "sliding_attention"
        elif self.family.placement == "sandwich":
            period = 2 if self.family.name == "Gemma 2" else 6
            local = (layer + 1) % period != 0
        else:
            local = True
        return self.whole("sliding_window") if local else None
