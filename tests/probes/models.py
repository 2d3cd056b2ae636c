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
}


def settings(kind: str, depth: int = 3, width: int = 96, **more: Any) -> dict[str, Any]:
    """Settings of a small config of a family."""
    vocabulary: dict[str, Any] = {"vocab_size": 200}
    if kind in ("gpt2", "gptj"):
        own: dict[str, Any] = {"n_embd": width, "n_layer": depth, "n_head": 4}
        own |= {"rotary_dim": 8} if kind == "gptj" else {}
    elif kind == "opt":
        own = {"ffn_dim": 4 * width, "word_embed_proj_dim": width}
    else:
        own = {"intermediate_size": 2 * width}
    if kind not in ("gpt2", "gptj"):
        own |= {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": 4}
    if kind not in ("gpt2", "gptj", "gpt_neox", "opt", "bert", "roberta", "vit"):
        own |= {"num_key_value_heads": 2, "pad_token_id": 0}
    if kind in ("qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text"):
        own |= {"head_dim": width // 4}
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
    if kind == "vit":
        own, vocabulary = own | {"image_size": 64}, {}
    return own | vocabulary | more


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
