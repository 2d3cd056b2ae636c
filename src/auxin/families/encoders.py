"""Families of encoders: of text and of images."""

from auxin.architecture import Norm
from auxin.families.family import ATTENTION_PARTS, BERT_PARTS, ROTARY, Family, gated, plain
from auxin.families.schemes import clip, cut_and_scaled, xavier

_TOWER = ATTENTION_PARTS | {"out": "self_attn.out_proj", "up": "mlp.fc1", "down": "mlp.fc2"}
ENCODERS = (
    Family(
        "BERT", ("bert", "roberta"), "post-norm, gelu, not causal; N(0, .02²); embeddings normalized",
        plain(place="stream", epsilon=1e-12), parts=BERT_PARTS, causal=False, positions=2, shared=1,
        embedding="normalized", special=("is_decoder",),
    ),
    Family(
        "XLM-R, CamemBERT, data2vec", ("xlm-roberta", "camembert", "data2vec-text"), "as BERT",
        plain(place="stream", epsilon=1e-12), parts=BERT_PARTS, causal=False, positions=2, shared=1,
        embedding="normalized", special=("is_decoder",),
    ),
    Family(
        "DistilBERT", ("distilbert",), "as BERT, without segments", plain(place="stream", epsilon=1e-12),
        parts={
            "query": "attention.q_lin", "key": "attention.k_lin", "value": "attention.v_lin",
            "out": "attention.out_lin", "up": "ffn.lin1", "down": "ffn.lin2",
        },
        causal=False, positions=1, embedding="normalized",
        special=("dim", "n_layers", "n_heads", "hidden_dim", "activation"),
    ),
    Family(
        "ELECTRA", ("electra",), "as BERT, embeddings of another width mapped to the stream's",
        plain(place="stream", epsilon=1e-12), parts=BERT_PARTS, causal=False, positions=2, shared=1,
        embedding="normalized", special=("is_decoder", "embedding_size"), defaults={"embedding_size": 128},
    ),
    Family(
        "DeBERTa v2", ("deberta-v2",), "as BERT, without segments, where attention is not relative",
        plain(place="stream", epsilon=1e-7),
        parts=BERT_PARTS | {f"{role}": f"attention.self.{role}_proj" for role in ("query", "key", "value")},
        causal=False, positions=1, embedding="normalized",
    ),
    Family(
        "ModernBERT", ("modernbert",), "pre-norm, rotary, gated gelu, two layers in three a window, not causal; "
        "N(0, .02²) cut at 2·.02, output maps of branches divided by √(2·layers); embeddings normalized",
        gated(ROTARY, activation="gelu", norm=Norm(epsilon=1e-5)),
        parts={"qkv": "attn.Wqkv", "out": "attn.Wo", "gate_up": "mlp.Wi", "down": "mlp.Wo"},
        scheme=cut_and_scaled, causal=False, embedding="normalized", period=3, phase=0, local_unscaled=True,
        defaults={"local_attention": 128, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0},
        special=(
            "norm_eps", "local_attention", "global_rope_theta", "local_rope_theta", "global_attn_every_n_layers",
        ),
    ),
    Family(
        "ViT, DeiT, I-JEPA", ("vit", "deit", "ijepa"), "pre-norm, gelu, not causal; N(0, .02²) cut at 2 (that is, not "
        "cut); pixels",
        plain(epsilon=1e-12),
        parts={
            "query": ("attention.attention.query", "attention.q_proj"),
            "key": ("attention.attention.key", "attention.k_proj"),
            "value": ("attention.attention.value", "attention.v_proj"),
            "out": ("attention.output.dense", "attention.o_proj"),
            "up": ("intermediate.dense", "mlp.fc1"), "down": ("output.dense", "mlp.fc2"),
        },
        causal=False, embedding="vectors",
    ),
    Family(
        "DINOv2", ("dinov2", "dinov2_with_registers"), "as ViT, with LayerScale", plain(epsilon=1e-6),
        parts={
            "query": ("attention.attention.query", "attention.q_proj"),
            "key": ("attention.attention.key", "attention.k_proj"),
            "value": ("attention.attention.value", "attention.v_proj"),
            "out": ("attention.output.dense", "attention.o_proj"), "up": "mlp.fc1", "down": "mlp.fc2",
        },
        causal=False, embedding="vectors", special=("layerscale_value", "mlp_ratio"),
    ),
    Family(
        "CLIP, images", ("clip_vision_model",), "pre-norm, quick_gelu, not causal; 1/√width for attention's output "
        "map, √2 less for the MLP's first, √(2·layers) less for all others; pixels",
        plain("quick_gelu"), parts=_TOWER, scheme=clip, causal=False, embedding="vectors",
    ),
    Family(
        "CLIP, text", ("clip_text_model",), "the same, causal", plain("quick_gelu"), parts=_TOWER, scheme=clip,
        positions=1,
    ),
    Family(
        "SigLIP, images", ("siglip_vision_model",), "pre-norm, gelu, not causal; xavier; pixels", plain(epsilon=1e-6),
        parts=_TOWER, scheme=xavier, causal=False, embedding="vectors",
    ),
    Family(
        "SigLIP, text", ("siglip_text_model",), "the same; embeddings N(0, 1/width)", plain(epsilon=1e-6),
        parts=_TOWER, scheme=xavier, causal=False, positions=1,
    ),
)  # fmt: skip
