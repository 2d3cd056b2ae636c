"""Settings of configs that do not change a network at initialization: names, tokens, dropout, files, generation.

A reader refuses every other that it does not read.
"""

from __future__ import annotations

from typing import Any

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

residual_dropout embedding_dropout

attention_bias mlp_bias qkv_bias enable_bias use_bias use_qkv_bias
logit_scale logits_scaling final_logit_softcapping
summary_type summary_use_proj summary_activation summary_proj_to_labels
pooler_output_size pooler_act encoder_stride
vocab_size tie_word_embeddings max_position_embeddings n_positions n_ctx type_vocab_size
image_size patch_size num_channels max_window_layers
output_router_logits router_aux_loss_coef router_jitter_noise
"""
WITHOUT_EFFECT = frozenset(_ANY.split())
"""Of any value: biases start at 0, gains at 1, dropout is off, heads and poolers stand after the stream."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "qk_layernorm": (False,),
    "use_qk_norm": (False,),
    "position_embedding_type": ("absolute",),
    "use_bidirectional_attention": (False,),
    "use_sliding_window": (False,),
    "_remove_final_layer_norm": (False,),
    "layer_norm_elementwise_affine": (True,),
}
"""These values alone."""
UNSET = (None, "", [], {}, ())


def without_effect(name: str, value: Any) -> bool:
    """Whether a setting of this value changes nothing at initialization."""
    if value in UNSET or name.endswith(("_token_id", "_token_ids", "_token_index")):
        return True
    return name in WITHOUT_EFFECT or value in NEUTRAL.get(name, ())
