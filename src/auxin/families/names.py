"""What configs call their settings, and which of them change nothing at initialization."""

from __future__ import annotations

from typing import Any

NAMES = {
    "width": ("hidden_size", "n_embd", "d_model", "dim"),
    "depth": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "hidden": ("intermediate_size", "ffn_dim", "n_inner", "hidden_dim", "ffn_hidden_size", "d_ff"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "expert_hidden": ("moe_intermediate_size", "intermediate_size"),
    "activation": ("hidden_activation", "hidden_act", "activation_function", "activation"),
    "epsilon": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "std": ("initializer_range", "init_std"),
    "base": ("rope_theta", "rotary_emb_base", "global_rope_theta"),
    "local_base": ("rope_local_base_freq", "local_rope_theta"),
    "fraction": ("partial_rotary_factor", "rotary_pct"),
    "pattern": ("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers"),
    "key_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim", "d_kv"),
    "longest": ("max_position_embeddings", "n_positions"),
    "window": ("sliding_window", "local_attention"),
    "parallel": ("use_parallel_residual", "parallel_attn"),
    "branch": ("residual_multiplier", "layerscale_value"),
    "embedded": ("word_embed_proj_dim", "embedding_size"),
}
"""What each setting is called, by the first that is there."""
STACKED = {
    ("encoder", "depth"): ("encoder_layers",),
    ("encoder", "heads"): ("encoder_attention_heads",),
    ("encoder", "hidden"): ("encoder_ffn_dim",),
    ("decoder", "depth"): ("decoder_layers", "num_decoder_layers"),
    ("decoder", "heads"): ("decoder_attention_heads",),
    ("decoder", "hidden"): ("decoder_ffn_dim",),
}
"""And before these where there are two stacks."""
ACTIVATIONS = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu_python": "gelu",
    "swish": "silu",
}
"""Other names of activations that differ by less than a percent."""
LARGEST = 2**30
FULL, SLIDING = "full_attention", "sliding_attention"
KINDS = {FULL, SLIDING}
"""What ``layer_types`` may be."""

_ANY = """
model_type architectures auto_map transformers_version torch_dtype dtype auxin unsloth_version unsloth_fixed
_name_or_path name_or_path _commit_hash _attn_implementation _attn_implementation_internal
_attn_implementation_autoset _experts_implementation attn_implementation experts_implementation
tokenizer_class prefix problem_type finetuning_task task_specific_params id2label label2id num_labels
return_dict output_hidden_states output_attentions use_cache use_return_dict torchscript use_bfloat16
tf_legacy_loss tie_encoder_decoder gradient_checkpointing chunk_size_feed_forward pretraining_tp
cache_implementation reorder_and_upcast_attn base_model_tp_plan base_model_pp_plan
max_length min_length do_sample early_stopping num_beams num_beam_groups temperature top_k top_p typical_p
repetition_penalty length_penalty diversity_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
num_return_sequences output_scores return_dict_in_generate remove_invalid_values bad_words_ids
exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
dropout attention_dropout activation_dropout hidden_dropout resid_pdrop embd_pdrop attn_pdrop layerdrop
hidden_dropout_prob attention_probs_dropout_prob classifier_dropout summary_first_dropout
residual_dropout embedding_dropout resid_dropout embed_dropout mlp_dropout drop_path_rate
qa_dropout seq_classif_dropout summary_last_dropout pooler_dropout dropout_rate encoder_layerdrop decoder_layerdrop
attention_bias mlp_bias qkv_bias enable_bias use_bias use_qkv_bias
bias norm_bias attention_out_bias rope_interleave
logit_scale logits_scaling final_logit_softcapping
projection_dim projection_size vision_use_head num_nextn_predict_layers
scale_decoder_outputs dense_act_fn is_gated_act
max_source_positions max_target_positions num_mel_bins use_weighted_layer_sum classifier_proj_size apply_spec_augment
mask_time_prob mask_time_length mask_time_min_masks mask_feature_prob mask_feature_length mask_feature_min_masks
median_filter_width
aux_loss_alpha seq_aux ep_size num_mtp_layers
summary_type summary_use_proj summary_activation summary_proj_to_labels
pooler_output_size pooler_act pooler_hidden_act pooler_hidden_size encoder_stride
decoder_bias classifier_pooling classifier_bias classifier_activation
deterministic_flash_attn sparse_prediction sparse_pred_ignore_index
attention_softmax_in_fp32 scale_attention_softmax_in_fp32 slow_but_exact legacy max_relative_positions
apply_layernorm reshape_hidden_states use_mask_token stage_names out_features out_indices num_register_tokens
vocab_size tie_word_embeddings max_position_embeddings n_positions n_ctx type_vocab_size
image_size patch_size num_channels max_window_layers
output_router_logits router_aux_loss_coef router_jitter_noise
"""
WITHOUT_EFFECT = frozenset(_ANY.split())
"""Settings that change no network at initialization, of any value: names, tokens, dropout, files, generation; biases
start at 0, gains at 1, heads and poolers stand after the stream."""
_OFF = """
add_cross_attention is_decoder is_encoder_decoder scale_embedding qk_layernorm use_qk_norm use_bidirectional_attention
use_sliding_window _remove_final_layer_norm alibi norm_topk_prob relative_attention sinusoidal_pos_embds use_swiglu_ffn
apply_residual_connection_post_layernorm
"""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(_OFF.split(), (False,)),
    **dict.fromkeys(("layer_norm_elementwise_affine", "position_biased_input"), (True,)),
    **dict.fromkeys(("n_group", "topk_group", "moe_layer_freq"), (1,)),
    "position_embedding_type": ("absolute",),
    "initializer_factor": (1.0,),
    "initializer_cutoff_factor": (2.0,),
    "swiglu_alpha": (1.702,),
    "swiglu_limit": (7.0,),
    "topk_method": ("greedy", "noaux_tc"),
    "num_ln_in_parallel_attn": (1, 2),
}
"""These values alone."""
UNSET = (None, "", [], {}, ())


def without_effect(name: str, value: Any) -> bool:
    """Whether a setting of this value changes nothing at initialization."""
    if value in UNSET or name.endswith(("_token_id", "_token_ids", "_token_index")):
        return True
    return name in WITHOUT_EFFECT or value in NEUTRAL.get(name, ())
