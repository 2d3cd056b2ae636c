"""Small models of every class with a config in the installed transformers, and of vision transformers elsewhere."""

from __future__ import annotations

import copy
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from auxin.values import check

WIDTH, HEADS, DEPTH = 64, 4, 3
SIZES: tuple[tuple[int, str], ...] = (
    (
        WIDTH,
        "hidden_size d_model n_embd dim embed_dim emb_dim embedding_size word_embed_proj_dim projection_dim d_embed "
        "hidden_dim encoder_hidden_size decoder_hidden_size out_hidden_size output_hidden_size embedding_dim "
        "text_embed_dim q_lora_rank output_dim decoder_hidden_dim encoder_hidden_dim output_proj_dims",
    ),
    (
        WIDTH // HEADS,
        "head_dim d_kv attention_head_size v_head_dim query_pre_attn_scalar global_head_dim linear_key_head_dim "
        "linear_value_head_dim qk_nope_head_dim index_head_dim swa_head_dim kv_channels num_mel_bins decoder_head_dim",
    ),
    (WIDTH // HEADS // 2, "qk_rope_head_dim rotary_dim patch_size"),
    (
        HEADS,
        "num_attention_heads n_head num_heads encoder_attention_heads decoder_attention_heads n_heads "
        "num_encoder_attention_heads num_decoder_attention_heads num_query_heads linear_num_value_heads "
        "decoder_num_attention_heads encoder_num_attention_heads attention_heads index_n_heads num_experts "
        "num_local_experts n_routed_experts moe_num_experts num_codebooks mamba_n_heads",
    ),
    (
        HEADS // 2,
        "num_key_value_heads num_kv_heads n_kv_heads linear_num_key_heads decoder_num_key_value_heads "
        "encoder_num_key_value_heads num_global_key_value_heads n_shared_experts num_shared_experts "
        "num_experts_per_tok num_experts_per_token moe_k moe_topk type_vocab_size num_labels",
    ),
    (
        DEPTH,
        "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers depth num_decoder_layers "
        "num_encoder_layers decoder_num_hidden_layers encoder_num_hidden_layers num_blocks eos_token_id sep_token_id "
        "cls_token_id mask_token_id",
    ),
    (
        2 * WIDTH,
        "intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff n_inner d_inner mlp_dim intermediate_dim "
        "dim_feedforward encoder_intermediate_size decoder_intermediate_size ffn_hidden_size "
        "shared_intermediate_size decoder_ffn_intermediate_size max_position_embeddings n_positions "
        "max_source_positions max_target_positions num_position_embeddings context_length",
    ),
    (
        WIDTH // 2,
        "moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size kv_lora_rank "
        "image_size img_size expert_ffn_hidden_size",
    ),
    (4 * WIDTH, "vocab_size text_vocab_size decoder_vocab_size"),
    (1, "n_group topk_group bos_token_id num_nextn_predict_layers decoder_start_token_id mamba_n_groups"),
    (0, "pad_token_id"),
)
BY_NAME: dict[str, Any] = {name: size for size, names in SIZES for name in names.split()}
"""Small sizes, by the names of configs' settings."""
WIDE = {name for _, names in (*SIZES[:2], *SIZES[6:8]) for name in names.split() if "position" not in name}
"""Those that grow with the width."""
DEEP = {name for name in SIZES[5][1].split() if "token" not in name}
"""Numbers of layers."""
SPECIAL: dict[str, dict[str, Any]] = {
    "autoformer": {"prediction_length": 8},
    "informer": {"prediction_length": 8},
    "time_series_transformer": {"prediction_length": 8},
    "esmc": {"num_key_value_heads": HEADS},
    "minicpm3": {"dim_model_base": WIDTH},
    "dots3_note": {"num_key_value_heads": HEADS},
    "ernie4_5_vl_moe_text": {"moe_intermediate_size": [32, 32]},
}
"""By the type of the config, what its class asks for."""
MOST = 20_000_000
"""Parameters of a model that counts as small."""
MAPPINGS = (
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING",
    "MODEL_FOR_CAUSAL_LM_MAPPING",
    "MODEL_FOR_MASKED_LM_MAPPING",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    "MODEL_MAPPING",
)
"""Where a config's class is looked for first."""


def classes() -> Iterator[tuple[str, Callable[..., nn.Module]]]:
    """The name of each class, once, and what builds a small model of it."""
    from transformers.models.auto import configuration_auto, modeling_auto

    mappings = [getattr(modeling_auto, mapping)._model_mapping for mapping in MAPPINGS]
    found: set[str] = set()
    for kind in configuration_auto.CONFIG_MAPPING:
        name = next((mapping[kind] for mapping in mappings if kind in mapping), None)
        if name is not None:
            found.add(name if isinstance(name, str) else name[0])
    for name in sorted(found):
        yield name, partial(of_transformers, name)
    for name, (place, settings) in VISION.items():
        if importlib.util.find_spec(place.partition(".")[0]) is not None:
            yield name, partial(of_vision, place, settings)


def of_transformers(name: str, width: int = WIDTH) -> nn.Module:
    """A small model of a class; ``ConfigError`` where it is not small."""
    import transformers

    model = getattr(transformers, name)
    config = small(model.config_class, width)
    with torch.device("meta"):
        size = sum(p.numel() for p in model(copy.deepcopy(config)).parameters())
    check(size <= MOST, "parameters", f"{size:,}", f"{MOST:,} for a small model")
    return model(config)


def small(config: Any, width: int = WIDTH, depth: int = DEPTH) -> Any:
    """A config with small sizes, its parts' as well; a tower that only pixels or sounds reach has one layer."""
    known = inspect.signature(config.__init__).parameters
    given = {name: depth if name in DEEP else BY_NAME[name] for name in known if name in BY_NAME}
    for name, size in tuple(given.items()):
        default = known[name].default
        if name in WIDE:
            given[name] = size = size * width // WIDTH
        if isinstance(default, (list, tuple)):
            given[name] = type(default)([size] * len(default))
        elif isinstance(default, (bool, dict)):
            del given[name]
    if "qk_rope_head_dim" in given:
        given.pop("head_dim", None)  # it is that
    if "kv_lora_rank" in given and "num_key_value_heads" in given:
        given["num_key_value_heads"] = HEADS  # keys are latent
    parts = {name: part for name, part in getattr(config, "sub_configs", {}).items() if name in known}
    whole = config() if parts else None
    for name in parts:
        part = getattr(whole, name, None)
        if isinstance(getattr(part, "model_type", None), str):
            tower = "text_config" in parts and name in ("vision_config", "audio_config")
            given[name] = small(type(part), width, 1 if tower else depth)
    return config(**given | SPECIAL.get(config.model_type, {}))


def of_vision(place: str, settings: Mapping[str, Any], width: int = WIDTH) -> nn.Module:
    """A small vision transformer of timm or torchvision, by the place of its class."""
    module, _, name = place.rpartition(".")
    image = {"img_size": 32, "patch_size": 8, "embed_dim": width, "depth": DEPTH, "num_heads": HEADS}
    if module.startswith("torchvision"):
        image = {
            "image_size": 32,
            "patch_size": 8,
            "hidden_dim": width,
            "num_layers": DEPTH,
            "num_heads": HEADS,
        }
        image["mlp_dim"] = 2 * width
    given = image | {"num_classes": 20} | dict(settings)
    return getattr(importlib.import_module(module), name)(
        **{key: value for key, value in given.items() if value is not None}
    )


_VIT, _EVA = "timm.models.vision_transformer.VisionTransformer", "timm.models.eva.Eva"
VISION: dict[str, tuple[str, Mapping[str, Any]]] = {
    "timm VisionTransformer": (_VIT, {}),
    "timm VisionTransformer, LayerScale": (_VIT, {"init_values": 1e-5}),
    "timm VisionTransformerDistilled": ("timm.models.deit.VisionTransformerDistilled", {}),
    "timm Eva": (_EVA, {}),
    "timm Eva, rotary": (_EVA, {"swiglu_mlp": True, "use_rot_pos_emb": True, "qkv_fused": False}),
    "timm Beit": ("timm.models.beit.Beit", {"use_abs_pos_emb": False, "use_rel_pos_bias": True}),
    "timm Cait": ("timm.models.cait.Cait", {}),
    "timm SwinTransformer": (
        "timm.models.swin_transformer.SwinTransformer",
        {"patch_size": 4, "window_size": 4, "depth": None, "depths": (3,), "num_heads": (HEADS,)},
    ),
    "torchvision VisionTransformer": ("torchvision.models.vision_transformer.VisionTransformer", {}),
}
"""Vision transformers of libraries without configs."""
