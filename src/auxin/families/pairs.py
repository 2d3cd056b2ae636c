"""Families of encoders with a decoder."""

from typing import Any

from auxin.architecture import MLP, Attention, CrossAttention, Layer, Norm, Sublayer
from auxin.architecture.attention import Relative
from auxin.families.family import GELU, GPT2_LAYER, LAYER, RMS, Family, head_paths, layer_of
from auxin.families.schemes import by_fan_in


def _decoder(mlp: MLP, norm: Norm, place: str, attention: Attention = Attention()) -> Layer:  # noqa: B008  # frozen
    """Attention, attention to the encoder, and an MLP."""
    norms: Any = {place: norm}
    return Layer(tuple(Sublayer(body, **norms) for body in (attention, CrossAttention(), mlp)))


_RELATIVE = Attention(relative=Relative())
_T5_PARTS = {
    **head_paths("layer.0.SelfAttention.{}"),
    **{f"cross_{role}": path for role, path in head_paths("layer.1.EncDecAttention.{}").items()},
    "relative": "layer.0.SelfAttention.relative_attention_bias",
    **{
        role: tuple(f"layer.{i}.DenseReluDense.{name}" for i in (1, 2) for name in names)
        for role, names in (("up", ("wi", "wi_1")), ("gate", ("wi_0",)), ("down", ("wo",)))
    },
}
_BART_PARTS = {
    "up": "fc1",
    "down": "fc2",
    **head_paths("self_attn.{}_proj", "q k v out"),
    **{f"cross_{role}": path for role, path in head_paths("encoder_attn.{}_proj", "q k v out").items()},
}
PAIRS = (
    Family(
        "T5", ("t5", "mt5", "umt5"), "pre-norm (RMS), relative positions, relu or a gate; N(0, 1/fan_in), of queries "
        "N(0, 1/(fan_in·d_h)) as logits are not scaled; embeddings N(0, 1)",
        layer_of(_RELATIVE, MLP("relu")), decoder=_decoder(MLP("relu"), RMS, "before", _RELATIVE),
        parts=_T5_PARTS, scheme=by_fan_in, unscaled=True, causal=False,
        defaults={"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "d_kv": 64},
        special="num_heads d_kv d_ff num_decoder_layers feed_forward_proj",
    ),
    Family(
        "BART", ("bart",), "post-norm, gelu; N(0, .02²); embeddings normalized",
        layer_of(Attention(), GELU, LAYER, ("stream",)), decoder=_decoder(GELU, LAYER, "stream"),
        parts=_BART_PARTS, causal=False, positions=1, embedding="normalized",
    ),
    Family(
        "mBART", ("mbart",), "as BART, pre-norm", GPT2_LAYER,
        decoder=_decoder(GELU, LAYER, "before"), parts=_BART_PARTS, causal=False, positions=1,
        embedding="normalized",
    ),
    Family(
        "Whisper", ("whisper",), "pre-norm, gelu; N(0, .02²); the encoder reads sounds", GPT2_LAYER,
        decoder=_decoder(GELU, LAYER, "before"), parts=_BART_PARTS, causal=False, positions=1,
        embedding="vectors",
    ),
)  # fmt: skip
