"""Small models of transformers' families with their own random weights, and torch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "gpt_neox": "GPTNeoXForCausalLM",
    "gptj": "GPTJForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "olmo3": "Olmo3ForCausalLM",
    "olmo": "OlmoForCausalLM",
    "gemma": "GemmaForCausalLM",
    "granite": "GraniteForCausalLM",
    "cohere": "CohereForCausalLM",
    "starcoder2": "Starcoder2ForCausalLM",
    "phi": "PhiForCausalLM",
    "stablelm": "StableLmForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "olmoe": "OlmoeForCausalLM",
    "granitemoe": "GraniteMoeForCausalLM",
    "opt": "OPTForCausalLM",
    "bert": "BertForMaskedLM",
    "roberta": "RobertaForMaskedLM",
    "vit": "ViTForImageClassification",
    "falcon": "FalconForCausalLM",
    "gpt_bigcode": "GPTBigCodeForCausalLM",
    "bloom": "BloomForCausalLM",
    "cohere2": "Cohere2ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "glm": "GlmForCausalLM",
    "glm4": "Glm4ForCausalLM",
    "nanochat": "NanoChatForCausalLM",
    "exaone4": "Exaone4ForCausalLM",
    "arcee": "ArceeForCausalLM",
    "helium": "HeliumForCausalLM",
    "ministral": "MinistralForCausalLM",
    "hunyuan_v1_dense": "HunYuanDenseV1ForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "glm4_moe": "Glm4MoeForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "distilbert": "DistilBertForMaskedLM",
    "electra": "ElectraForMaskedLM",
    "deberta-v2": "DebertaV2ForMaskedLM",
    "modernbert": "ModernBertForMaskedLM",
    "deit": "DeiTForImageClassification",
    "dinov2": "Dinov2ForImageClassification",
    "clip_vision_model": "CLIPVisionModel",
    "clip_text_model": "CLIPTextModel",
    "siglip_vision_model": "SiglipVisionModel",
    "siglip_text_model": "SiglipTextModel",
}


NAMES = {
    "gpt2": ("n_embd", "n_layer", "n_head", "n_inner"),
    "gptj": ("n_embd", "n_layer", "n_head", "n_inner"),
    "gpt_bigcode": ("n_embd", "n_layer", "n_head", "n_inner"),
    "bloom": ("hidden_size", "n_layer", "n_head", ""),
    "falcon": ("hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_hidden_size"),
    "distilbert": ("dim", "n_layers", "n_heads", "hidden_dim"),
    "opt": ("hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_dim"),
}
"""What some families call width, layers, heads and hidden units."""
USUAL = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
GROUPED = """
llama mistral qwen2 qwen3 gemma2 gemma3_text phi3 olmo2 olmo3 olmo gemma granite cohere starcoder2 phi stablelm mixtral
qwen2_moe qwen3_moe olmoe granitemoe gptj cohere2 smollm3 glm glm4 nanochat exaone4 arcee helium ernie4_5 seed_oss
ministral hunyuan_v1_dense gpt_oss glm4_moe
""".split()  # noqa: SIM905
IMAGES = "vit deit ijepa dinov2 dinov2_with_registers clip_vision_model siglip_vision_model".split()  # noqa: SIM905
HEAD_DIM = """
qwen3 qwen3_moe gemma gemma2 gemma3_text cohere2 glm glm4 helium ernie4_5 seed_oss ministral arcee hunyuan_v1_dense
gpt_oss glm4_moe
""".split()  # noqa: SIM905


def settings(kind: str, depth: int = 3, width: int = 96, **more: Any) -> dict[str, Any]:
    """Settings of a small config of a family."""
    sizes = (width, depth, 4, 4 * width if kind in ("gpt2", "gptj", "opt", "bloom") else 2 * width)
    own: dict[str, Any] = dict(zip(NAMES.get(kind, USUAL), sizes, strict=True))
    own.pop("", None)
    if kind in ("gpt2", "gptj"):
        own.pop("n_inner")
    if kind in GROUPED and kind != "gptj":
        own |= {"num_key_value_heads": 2, "pad_token_id": 0}
    if kind in HEAD_DIM:
        own |= {"head_dim": width // 4}
    if kind == "gptj":
        own |= {"rotary_dim": 8}
    if kind == "opt":
        own |= {"word_embed_proj_dim": width}
    if kind in ("gemma2", "gemma3_text"):
        own |= {"query_pre_attn_scalar": width // 4}
    if kind in ("mixtral", "granitemoe"):
        own |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    if kind in ("qwen2_moe", "qwen3_moe", "olmoe"):
        own |= {"num_experts": 4, "num_experts_per_tok": 2}
    if kind in ("qwen2_moe", "qwen3_moe"):
        own |= {"moe_intermediate_size": width, "mlp_only_layers": [1]}
    if kind == "qwen2_moe":
        own |= {"shared_expert_intermediate_size": width}
    if kind == "gpt_oss":
        own |= {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8}
    if kind == "glm4_moe":
        own |= {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": width, "n_group": 2}
    if kind in ("deepseek_v3", "deepseek_v2"):
        own |= {
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": width,
            "pad_token_id": 0,
        }
        own |= {"num_key_value_heads": 4, "first_k_dense_replace": 1, "kv_lora_rank": width // 2}
        own |= {"q_lora_rank": width // 2 if kind == "deepseek_v3" else None, "v_head_dim": 16}
        own |= {"qk_nope_head_dim": 16, "qk_rope_head_dim": 8}
    if kind == "deepseek_v3":
        own |= {"n_group": 2, "topk_group": 1}
    if kind == "electra":
        own |= {"embedding_size": width // 2}
    if kind in ("dinov2", "dinov2_with_registers"):
        own.pop("intermediate_size")
    if kind in IMAGES:
        return own | {"image_size": 64, "patch_size": 16} | more
    if kind in ("glm", "glm4", "modernbert", "cohere2", "clip_text_model", "nanochat"):
        own |= {"eos_token_id": 1, "bos_token_id": 1, "pad_token_id": 0}
    return own | {"vocab_size": 200} | more


def build(kind: str, seed: int = 0, **more: Any) -> nn.Module:
    """A model of the family; torch's global generator is left as it was."""
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.AutoConfig.for_model(kind, **settings(kind, **more))
        return getattr(transformers, CLASSES[kind])(config)


def torch_encoder(seed: int = 0, depth: int = 3, width: int = 96, **more: Any) -> nn.TransformerEncoder:
    """torch's encoder whose layers are drawn apart (torch itself copies one)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.TransformerEncoderLayer(width, 4, 4 * width, **more) for _ in range(depth)]
        model = nn.TransformerEncoder(layers[0], depth, enable_nested_tensor=False)
        model.layers = nn.ModuleList(layers)
    return model
