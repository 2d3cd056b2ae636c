"""Families of encoders with a decoder."""

from typing import Any

from auxin.architecture import MLP, Attention, CrossAttention, Layer, Norm, Sublayer
from auxin.architecture.attention import Relative
from auxin.families.family import Family, plain
from auxin.families.schemes import by_fan_in


def _decoder(mlp: MLP, norms: dict[str, Any], attention: Attention = Attention()) -> Layer:  # noqa: B008  # it is frozen
    """Attention, attention to the encoder, and an MLP."""
    return Layer(tuple(Sublayer(body, **norms) for body in (attention, CrossAttention(), mlp)))


_T5: dict[str, Any] = {"before": Norm("rms", epsilon=1e-6)}
_RELATIVE = Attention(relative=Relative())
_T5_PARTS = {
    **{role: f"layer.0.SelfAttention.{role[0]}" for role in ("query", "key", "value", "out")},
    **{f"cross_{role}": f"layer.1.EncDecAttention.{role[0]}" for role in ("query", "key", "value", "out")},
    "relative": "layer.0.SelfAttention.relative_attention_bias",
    **{
        role: tuple(f"layer.{i}.DenseReluDense.{name}" for i in (1, 2) for name in names)
        for role, names in (("up", ("wi", "wi_1")), ("gate", ("wi_0",)), ("down", ("wo",)))
    },
}
_BART_PARTS = {
    "up": "fc1", "down": "fc2",
    **{
        f"{prefix}{role}": f"{module}.{role[0]}_proj" if role != "out" else f"{module}.out_proj"
        for prefix, module in (("", "self_attn"), ("cross_", "encoder_attn"))
        for role in ("query", "key", "value", "out")
    },
}  # fmt: skip
PAIRS = (
    Family(
        "T5", ("t5", "mt5", "umt5"), "pre-norm (RMS), relative positions, relu or a gate; N(0, 1/fan_in), of queries "
        "N(0, 1/(fan_in·d_h)) as logits are not scaled; embeddings N(0, 1)",
        Layer((Sublayer(_RELATIVE, **_T5), Sublayer(MLP("relu"), **_T5))),
        decoder=_decoder(MLP("relu"), _T5, _RELATIVE), parts=_T5_PARTS, scheme=by_fan_in, unscaled=True, causal=False,
        defaults={"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "d_kv": 64},
        special=("num_heads", "d_kv", "d_ff", "num_decoder_layers", "feed_forward_proj"),
    ),
    Family(
        "BART", ("bart",), "post-norm, gelu; N(0, .02²); embeddings normalized", plain(place="stream"),
        decoder=_decoder(MLP("gelu"), {"stream": Norm(epsilon=1e-5)}), parts=_BART_PARTS, causal=False, positions=1,
        embedding="normalized",
    ),
    Family(
        "mBART", ("mbart",), "as BART, pre-norm", plain(),
        decoder=_decoder(MLP("gelu"), {"before": Norm(epsilon=1e-5)}), parts=_BART_PARTS, causal=False, positions=1,
        embedding="normalized",
    ),
    Family(
        "Whisper", ("whisper",), "pre-norm, gelu; N(0, .02²); the encoder reads sounds", plain(),
        decoder=_decoder(MLP("gelu"), {"before": Norm(epsilon=1e-5)}), parts=_BART_PARTS, causal=False, positions=1,
        embedding="vectors",
    ),
)  # fmt: skip
