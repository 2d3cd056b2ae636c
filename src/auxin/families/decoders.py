"""Families of decoders."""

from dataclasses import replace

from auxin.architecture import MLP, Attention, Experts
from auxin.families.family import (
    ALL_HEADS,
    ATTENTION_PARTS,
    EXPERT_PARTS,
    EXPERTS,
    FALCON_PARTS,
    GATED,
    GATED_GELU,
    GELU,
    GPT2_LAYER,
    GPT2_PARTS,
    JOINT_GATE,
    LATENT,
    LATENT_PARTS,
    LAYER,
    LLAMA_LAYER,
    PER_HEAD,
    PLAIN_PARTS,
    RMS_5,
    ROTARY,
    SANDWICH,
    Family,
    head_paths,
    layer_of,
)
from auxin.families.schemes import attention_scaled, depth_scaled

DEEPSEEK = Experts(score="sigmoid", normalized=False, shared=GATED)
DEEPSEEK_PARTS = EXPERTS | {
    f"shared_{role}": f"mlp.shared_experts.{role}_proj" for role in ("gate", "up", "down")
}
DEEPSEEK_SETTINGS = (
    "n_routed_experts n_shared_experts n_group topk_group routed_scaling_factor first_k_dense_replace norm_topk_prob"
)  # fmt: skip
LATENT_SETTINGS = "q_lora_rank kv_lora_rank qk_nope_head_dim qk_rope_head_dim qk_head_dim v_head_dim"
LATENT_DEFAULTS = {
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
}  # fmt: skip

DECODERS = (
    Family(
        "GPT-2", ("gpt2",), "pre-norm, gelu; N(0, .02²), output maps of branches divided by √(2·layers)", GPT2_LAYER,
        parts=GPT2_PARTS, scheme=depth_scaled, positions=1,
        special="scale_attn_weights scale_attn_by_inverse_layer_idx",
    ),
    Family(
        "GPT-NeoX", ("gpt_neox",), "pre-norm, attention and MLP side by side, rotary on a quarter, gelu; N(0, .02²)",
        layer_of(ROTARY, GELU, LAYER, parallel=True),
        parts=FALCON_PARTS | {"qkv": "attention.query_key_value", "out": "attention.dense"},
        fused="heads", defaults={"partial_rotary_factor": 0.25}, special="use_parallel_residual",
    ),
    Family(
        "GPT-J", ("gptj",), "pre-norm, attention and MLP side by side after one norm, rotary, gelu; N(0, .02²)",
        layer_of(ROTARY, GELU, LAYER, parallel=True),
        parts=head_paths("attn.{}_proj", "q k v out") | {"up": "mlp.fc_in", "down": "mlp.fc_out"},
        special="rotary_dim",
    ),
    Family("Llama", ("llama",), "pre-norm (RMS), rotary, gated silu; N(0, .02²)", LLAMA_LAYER),
    Family(
        "Mistral", ("mistral",), "as Llama, with a sliding window where the config says so",
        LLAMA_LAYER, period=0,
    ),
    Family(
        "Qwen 2", ("qwen2",), "as Llama, with biases of queries, keys and values that are 0 at initialization",
        LLAMA_LAYER, period=0, defaults={"use_sliding_window": False},
    ),
    Family(
        "Qwen 3", ("qwen3",), "as Llama, queries and keys normalized per head",
        layer_of(PER_HEAD, GATED), period=0, defaults={"use_sliding_window": False},
    ),
    Family(
        "Gemma 2", ("gemma2",), "norms (RMS) before and after a branch, rotary, gated gelu, capped logits, every "
        "other layer a sliding window; tied; embeddings times √width; N(0, .02²)",
        layer_of(ROTARY, GATED_GELU, places=SANDWICH),
        embedding="scaled", period=2, defaults={"sliding_window": 4096},
        special="query_pre_attn_scalar attn_logit_softcapping",
    ),
    Family(
        "Gemma 3", ("gemma3_text", "gemma3"), "as Gemma 2 with normalized queries and keys instead of caps, five "
        "layers in six a sliding window",
        layer_of(PER_HEAD, GATED_GELU, places=SANDWICH), embedding="scaled", period=6,
        defaults={"sliding_window": 4096, "rope_theta": 1e6, "rope_local_base_freq": 1e4},
        special="query_pre_attn_scalar attn_logit_softcapping rope_local_base_freq", local_unscaled=True,
    ),
    Family(
        "Phi-3", ("phi3",), "as Llama, with joint matrices", layer_of(ROTARY, GATED, RMS_5),
        parts={"qkv": "self_attn.qkv_proj", "out": "self_attn.o_proj"} | JOINT_GATE,
        period=0, special="original_max_position_embeddings",
    ),
    Family(
        "OLMo 2", ("olmo2",), "a norm (RMS) after each branch and none before, queries and keys normalized over all "
        "heads, rotary, gated silu; N(0, .02²)",
        layer_of(ALL_HEADS, GATED, RMS_5, ("after",)),
    ),
    Family(
        "OLMo 3", ("olmo3",), "as OLMo 2, three layers in four a sliding window",
        layer_of(ALL_HEADS, GATED, RMS_5, ("after",)), period=4,
        defaults={"sliding_window": 4096}, local_unscaled=True,
    ),
    Family("OLMo", ("olmo",), "as Llama, with layer norms", layer_of(ROTARY, GATED, LAYER)),
    Family(
        "Gemma", ("gemma",), "as Llama, gated gelu; tied; embeddings times √width",
        layer_of(ROTARY, GATED_GELU), embedding="scaled",
    ),
    Family(
        "Granite", ("granite",), "as Llama, with factors on embeddings, logits and branches as the config says",
        LLAMA_LAYER, defaults={"attention_multiplier": 1.0},
        special="attention_multiplier residual_multiplier embedding_multiplier",
    ),
    Family(
        "Cohere", ("cohere",), "pre-norm, gated MLP (silu) beside attention, after one norm, rotary; N(0, .02²)",
        layer_of(ROTARY, GATED, LAYER, parallel=True),
    ),
    Family(
        "StarCoder 2", ("starcoder2",), "pre-norm, rotary, gelu; N(0, .018²)", layer_of(ROTARY, GELU, LAYER),
        parts=PLAIN_PARTS | {"up": "mlp.c_fc", "down": "mlp.c_proj"},
        defaults={"initializer_range": 0.018042}, period=0,
    ),
    Family(
        "Phi", ("phi",), "pre-norm, attention and MLP side by side after one norm, rotary on a half, gelu; N(0, .02²)",
        layer_of(ROTARY, GELU, LAYER, parallel=True),
        parts=PLAIN_PARTS | {"out": "self_attn.dense", "up": "mlp.fc1", "down": "mlp.fc2"},
        defaults={"partial_rotary_factor": 0.5},
    ),
    Family(
        "StableLM", ("stablelm",), "as Llama, with layer norms, rotary on a quarter",
        layer_of(ROTARY, GATED, LAYER, parallel=True), special="use_parallel_residual",
        defaults={"partial_rotary_factor": 0.25, "use_parallel_residual": False},
    ),
    Family(
        "Mixtral", ("mixtral",), "as Mistral, with experts: the softmax of the chosen ones' logits",
        layer_of(ROTARY, Experts(), RMS_5), parts=EXPERT_PARTS, period=0,
    ),
    Family(
        "Qwen 2 MoE", ("qwen2_moe",), "as Qwen 2, with experts beside an MLP that a sigmoid weighs, or an MLP alone",
        layer_of(ROTARY, Experts(normalized=False, shared=GATED, sigma_s=1.0)),
        parts=EXPERT_PARTS | {
            "shared_gate": "mlp.shared_expert.gate_proj", "shared_up": "mlp.shared_expert.up_proj",
            "shared_down": "mlp.shared_expert.down_proj", "shared_router": "mlp.shared_expert_gate",
        },
        period=0, defaults={"use_sliding_window": False}, special="norm_topk_prob",
    ),
    Family(
        "Qwen 3 MoE", ("qwen3_moe",), "as Qwen 3, with experts, or an MLP alone",
        layer_of(PER_HEAD, Experts(normalized=False)), parts=EXPERT_PARTS, period=0,
        defaults={"use_sliding_window": False}, special="norm_topk_prob",
    ),
    Family(
        "OLMoE", ("olmoe",), "as Llama, queries and keys normalized over all heads, with experts",
        layer_of(ALL_HEADS, Experts(normalized=False), RMS_5), parts=EXPERT_PARTS, special="norm_topk_prob",
    ),
    Family(
        "Granite MoE", ("granitemoe",), "as Granite, with experts: the softmax of the chosen ones' logits",
        layer_of(ROTARY, Experts()), defaults={"attention_multiplier": 1.0},
        parts=ATTENTION_PARTS | {
            "router": ("block_sparse_moe.router", "block_sparse_moe.router.layer"),
            "gate_up": ("block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.input_linear"),
            "down": ("block_sparse_moe.experts.down_proj", "block_sparse_moe.output_linear"),
        },
        special="attention_multiplier residual_multiplier embedding_multiplier",
    ),
    Family(
        "Falcon", ("falcon",), "pre-norm, attention and MLP side by side, rotary, gelu, one head of keys; N(0, .02²)",
        layer_of(ROTARY, GELU, LAYER, parallel=True), fused="heads",
        parts=FALCON_PARTS,
        defaults={"multi_query": True},
        special="activation ffn_hidden_size multi_query new_decoder_architecture num_kv_heads parallel_attn",
    ),
    Family(
        "StarCoder", ("gpt_bigcode",), "as GPT-2, one head of keys", GPT2_LAYER, parts=GPT2_PARTS, fused="heads",
        scheme=depth_scaled, positions=1, defaults={"multi_query": True}, special="multi_query scale_attn_weights",
    ),
    Family(
        "BLOOM", ("bloom",), "pre-norm, ALiBi, gelu; N(0, .02²); embeddings normalized",
        layer_of(Attention(alibi=1), GELU, LAYER), embedding="normalized", fused="heads",
        parts=FALCON_PARTS,
    ),
    Family(
        "Cohere 2", ("cohere2",), "as Cohere, three layers in four a sliding window, the others without rotation",
        layer_of(ROTARY, GATED, LAYER, parallel=True), period=4, unrotated=True,
        defaults={"sliding_window": 4096},
    ),
    Family(
        "SmolLM 3", ("smollm3",), "as Llama, every fourth layer without rotation", LLAMA_LAYER, period=0,
        defaults={"use_sliding_window": False, "no_rope_layer_interval": 4},
        special="no_rope_layers no_rope_layer_interval",
    ),
    Family(
        "GLM", ("glm",), "as Llama, rotary on a half", LLAMA_LAYER,
        parts=ATTENTION_PARTS | JOINT_GATE,
        defaults={"partial_rotary_factor": 0.5},
    ),
    Family(
        "GLM 4", ("glm4",), "as GLM, with norms (RMS) before and after a branch",
        layer_of(ROTARY, GATED, places=SANDWICH), parts=ATTENTION_PARTS | JOINT_GATE,
        defaults={"partial_rotary_factor": 0.5},
    ),
    Family(
        "NanoChat", ("nanochat",), "pre-norm (RMS), rotary, queries and keys normalized per head, relu²; N(0, .02²), "
        "attention's output map divided by √(2·layers); embeddings normalized",
        layer_of(PER_HEAD, MLP("relu2")),
        parts=ATTENTION_PARTS | {"up": "mlp.fc1", "down": "mlp.fc2"},
        scheme=attention_scaled, embedding="normalized",
    ),
    Family(
        "EXAONE 4", ("exaone4",), "as OLMo 2, queries and keys normalized per head, three layers in four a sliding "
        "window, the others without rotation",
        layer_of(PER_HEAD, GATED, RMS_5, ("after",)), period=4, unrotated=True,
        defaults={"sliding_window": 4096},
    ),
    Family(
        "Arcee", ("arcee",), "as Llama, relu² without a gate",
        layer_of(ROTARY, MLP("relu2"), RMS_5), parts=PLAIN_PARTS,
    ),
    Family("Helium, Ernie 4.5, Seed-OSS", ("helium", "ernie4_5", "seed_oss"), "as Llama", LLAMA_LAYER),
    Family("Ministral", ("ministral",), "as Mistral", LLAMA_LAYER, period=0, defaults={"sliding_window": 4096}),
    Family("Hunyuan", ("hunyuan_v1_dense",), "as Qwen 3", layer_of(PER_HEAD, GATED)),
    Family(
        "gpt-oss", ("gpt_oss",), "as Mixtral, gates x·sigmoid(1.702·x) times one more than what is gated, a sink in "
        "every head, every other layer a sliding window",
        layer_of(
            replace(ROTARY, sink=0.0), Experts(MLP("quick_gelu", gated=True, shift=1.0)), RMS_5
        ),
        parts=ATTENTION_PARTS | {
            "router": "mlp.router", "gate_up": "mlp.experts.gate_up_proj", "down": "mlp.experts.down_proj",
        },
        fused="turns", period=2, defaults={"sliding_window": 128},
    ),
    Family(
        "GLM 4 MoE", ("glm4_moe",), "as GLM, with experts by sigmoid beside an MLP, the first layers an MLP alone",
        layer_of(ROTARY, DEEPSEEK, RMS_5), parts=ATTENTION_PARTS | DEEPSEEK_PARTS,
        defaults={"partial_rotary_factor": 0.5, "first_k_dense_replace": 1, "norm_topk_prob": True},
        special=DEEPSEEK_SETTINGS,
    ),
    Family(
        "DeepSeek-V3", ("deepseek_v3",), "as GLM 4 MoE, all rotated, keys and values by way of a latent, queries too "
        "where the config says so",
        layer_of(LATENT, DEEPSEEK), parts=LATENT_PARTS | DEEPSEEK_PARTS,
        defaults=LATENT_DEFAULTS | {
            "n_routed_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "n_shared_experts": 1,
            "n_group": 8, "topk_group": 4, "norm_topk_prob": True, "routed_scaling_factor": 2.5,
            "first_k_dense_replace": 3,
        },
        special=f"{DEEPSEEK_SETTINGS} {LATENT_SETTINGS}",
    ),
    Family(
        "DeepSeek-V2", ("deepseek_v2",), "as DeepSeek-V3, experts by softmax, not in groups",
        layer_of(LATENT, replace(DEEPSEEK, score="softmax")), parts=LATENT_PARTS | DEEPSEEK_PARTS,
        defaults=LATENT_DEFAULTS | {"n_routed_experts": 64, "moe_intermediate_size": 1407, "n_shared_experts": 2},
        special=f"{LATENT_SETTINGS} n_routed_experts n_shared_experts routed_scaling_factor first_k_dense_replace",
    ),
    Family(
        "OPT", ("opt",), "pre-norm, relu, learned positions; N(0, .02²)", layer_of(Attention(), MLP("relu"), LAYER),
        parts=head_paths("self_attn.{}_proj", "q k v out") | {"up": "fc1", "down": "fc2"},
        positions=1, special="do_layer_norm_before word_embed_proj_dim",
    ),
)  # fmt: skip
