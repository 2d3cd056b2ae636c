"""Families of encoders: of text and of images."""

from auxin.architecture import MLP, Attention, Norm
from auxin.families.family import (
    ATTENTION_PARTS,
    BERT_LAYER,
    BERT_PARTS,
    GATED_GELU,
    GELU,
    LAYER,
    ROTARY,
    Family,
    head_paths,
    layer_of,
)
from auxin.families.schemes import clip, cut_and_scaled, xavier

_TOWER = ATTENTION_PARTS | {"out": "self_attn.out_proj", "up": "mlp.fc1", "down": "mlp.fc2"}
_VIT = {
    role: (f"attention.{before}", f"attention.{now}_proj")
    for role, before, now in (
        ("query", "attention.query", "q"), ("key", "attention.key", "k"), ("value", "attention.value", "v"),
        ("out", "output.dense", "o"),
    )
}  # fmt: skip
_VISION_LAYER = layer_of(Attention(), GELU, Norm(epsilon=1e-6))
_CLIP_LAYER = layer_of(Attention(), MLP("quick_gelu"), LAYER)
ENCODERS = (
    Family(
        "BERT", ("bert", "roberta"), "post-norm, gelu, not causal; N(0, .02²); embeddings normalized",
        BERT_LAYER, parts=BERT_PARTS, causal=False, positions=2, shared=1,
        embedding="normalized", special="is_decoder",
    ),
    Family(
        "XLM-R, CamemBERT, data2vec", ("xlm-roberta", "camembert", "data2vec-text"), "as BERT",
        BERT_LAYER, parts=BERT_PARTS, causal=False, positions=2, shared=1,
        embedding="normalized", special="is_decoder",
    ),
    Family(
        "DistilBERT", ("distilbert",), "as BERT, without segments", BERT_LAYER,
        parts=head_paths("attention.{}_lin", "q k v out") | {"up": "ffn.lin1", "down": "ffn.lin2"},
        causal=False, positions=1, embedding="normalized",
        special="dim n_layers n_heads hidden_dim activation",
    ),
    Family(
        "ELECTRA", ("electra",), "as BERT, embeddings of another width mapped to the stream's",
        BERT_LAYER, parts=BERT_PARTS, causal=False, positions=2, shared=1,
        embedding="normalized", special="is_decoder embedding_size", defaults={"embedding_size": 128},
    ),
    Family(
        "DeBERTa v2", ("deberta-v2",), "as BERT, without segments, where attention is not relative",
        layer_of(Attention(), GELU, Norm(epsilon=1e-7), ("stream",)),
        parts=BERT_PARTS | head_paths("attention.self.{}_proj", "query key value"),
        causal=False, positions=1, embedding="normalized",
    ),
    Family(
        "ModernBERT", ("modernbert",), "pre-norm, rotary, gated gelu, two layers in three a window, not causal; "
        "N(0, .02²) cut at 2·.02, output maps of branches divided by √(2·layers); embeddings normalized",
        layer_of(ROTARY, GATED_GELU, LAYER),
        parts={"qkv": "attn.Wqkv", "out": "attn.Wo", "gate_up": "mlp.Wi", "down": "mlp.Wo"},
        scheme=cut_and_scaled, causal=False, embedding="normalized", period=3, phase=0, local_unscaled=True,
        defaults={"local_attention": 128, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0},
        special="norm_eps local_attention global_rope_theta local_rope_theta global_attn_every_n_layers",
    ),
    Family(
        "ViT, DeiT, I-JEPA", ("vit", "deit", "ijepa"), "pre-norm, gelu, not causal; N(0, .02²) cut at 2 (that is, not "
        "cut); pixels",
        layer_of(Attention(), GELU, Norm(epsilon=1e-12)),
        parts=_VIT | {"up": ("intermediate.dense", "mlp.fc1"), "down": ("output.dense", "mlp.fc2")},
        causal=False, embedding="vectors",
    ),
    Family(
        "DINOv2", ("dinov2", "dinov2_with_registers"), "as ViT, with LayerScale", _VISION_LAYER,
        parts=_VIT | {"up": "mlp.fc1", "down": "mlp.fc2"}, causal=False, embedding="vectors",
        special="layerscale_value mlp_ratio",
    ),
    Family(
        "CLIP, images", ("clip_vision_model",), "pre-norm, quick_gelu, not causal; 1/√width for attention's output "
        "map, √2 less for the MLP's first, √(2·layers) less for all others; pixels",
        _CLIP_LAYER, parts=_TOWER, scheme=clip, causal=False, embedding="vectors",
    ),
    Family(
        "CLIP, text", ("clip_text_model",), "the same, causal", _CLIP_LAYER, parts=_TOWER, scheme=clip,
        positions=1,
    ),
    Family(
        "SigLIP, images", ("siglip_vision_model",), "pre-norm, gelu, not causal; xavier; pixels", _VISION_LAYER,
        parts=_TOWER, scheme=xavier, causal=False, embedding="vectors",
    ),
    Family(
        "SigLIP, text", ("siglip_text_model",), "the same; embeddings N(0, 1/width)", _VISION_LAYER,
        parts=_TOWER, scheme=xavier, causal=False, positions=1,
    ),
)  # fmt: skip
