"""A model as a folder that transformers loads: config.json, weights, and the vocabulary as a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from auxin.errors import RunError
from auxin.families.export import huggingface
from auxin.files import directory, dump_json, kind, remove
from auxin.models.transformer import TransformerLM
from auxin.outputs import MARK, check_output, write_output
from auxin.tasks import Vocabulary
from auxin.tasks.vocabulary import BOS, EOS, PAD
from auxin.values import check

CONFIG, WEIGHTS = "config.json", "model.safetensors"
NO_WORD = "<not in the vocabulary>"
"""Stands for unknown words and is unknown itself: one in a text is an error, as it is in ours. tokenizer.json takes no
other mark."""
MARKS = {"tokenizer.json": json.dumps(NO_WORD).encode()}
BESIDE = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja", "generation_config.json", "adapter_config.json",
)  # fmt: skip
"""What transformers reads beside config and weights; of another model it must not stay."""


def write_folder(model: TransformerLM, path: Path, vocabulary: Vocabulary | None, force: bool) -> Path:
    """See ``TransformerLM.to_transformers``."""
    settings, tensors = huggingface(model)
    files: dict[str, bytes] = {WEIGHTS: save(tensors, metadata={"format": "pt", "auxin": MARK.decode()})}
    if vocabulary is not None:
        size = model.config.vocabulary_size
        check(len(vocabulary) == size, "size of the vocabulary", len(vocabulary), f"the model's {size}")
        files |= _tokenizer(vocabulary, model.config.max_length, model.config.causal)
        ids = {"pad": vocabulary.pad, "bos": vocabulary.bos, "eos": vocabulary.eos}
        settings |= {f"{name}_token_id": index for name, index in ids.items()}
    files[CONFIG] = dump_json(settings | {"auxin": MARK.decode()})
    _write(path, files, force)
    return path


def _write(path: Path, files: Mapping[str, bytes], force: bool) -> None:
    """All files; config.json goes first and comes last, so that what is not whole is not taken for a model."""
    directory(path, make=True)
    stale = [name for name in BESIDE if name not in files and kind(path / name)]
    for name in (*files, *stale):
        if kind(path / name) in ("directory", "special"):
            raise RunError(f"{path / name}: a {kind(path / name)}; allowed: a file")
        check_output(path / name, files.get(name, b""), force=force, mark=MARKS.get(name, MARK))
    for name in (CONFIG, *stale):
        remove(path / name)
    for name, content in files.items():
        write_output(path / name, content, force=force, mark=MARKS.get(name, MARK))


def _tokenizer(vocabulary: Vocabulary, longest: int, causal: bool) -> dict[str, bytes]:
    """Words between spaces by their ids, with <bos> before them."""
    special = [
        {"id": vocabulary.ids[word], "content": word, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for word in (PAD, EOS, BOS)
    ]
    start = {"SpecialToken": {"id": BOS, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, first],
            "pair": [start, first, second],
            "special_tokens": {BOS: {"id": BOS, "ids": [vocabulary.bos], "tokens": [BOS]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary.ids, "unk_token": NO_WORD},
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": EOS,
        "bos_token": BOS,
        "padding_side": "left" if causal else "right",
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "auxin": MARK.decode(),
    }
    words = json.dumps(tokenizer, ensure_ascii=False, indent=2).encode()
    return {"tokenizer.json": words, "tokenizer_config.json": dump_json(settings)}
