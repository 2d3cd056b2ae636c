"""Any tokenizer with ``encode`` as what the measures take."""

from __future__ import annotations

from typing import Any

from auxin.errors import ConfigError, DataError
from auxin.measures.passes import Tokenizer


def tokenizer_of(vocabulary: Any) -> Tokenizer:
    """The vocabulary itself where it has ``bos``; a tokenizer of transformers or tokenizers in its clothes.

    Raises ``ConfigError`` for anything without ``encode``, or a tokenizer without any token to start with.
    """
    if not callable(getattr(vocabulary, "encode", None)):
        raise ConfigError(
            f"vocabulary is {type(vocabulary).__name__}; allowed: an auxin.Vocabulary, or a tokenizer with encode"
        )
    return vocabulary if hasattr(vocabulary, "bos") else _Foreign(vocabulary)


class _Foreign:
    """Tokens of a word inside a sentence: with a space before it, where the tokenizer joins the two."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.bos = self._start()
        self._space = self._joins_spaces()

    def encode(self, text: str) -> list[int]:
        """Ids of a word; raises ``DataError`` for a word without any."""
        ids = self._ids(f" {text}" if self._space else text)
        if not ids:
            raise DataError(f"word {text!r} has no tokens; allowed: one or more a word")
        return ids

    def _ids(self, text: str) -> list[int]:
        try:
            found = self._tokenizer.encode(text, add_special_tokens=False)
        except TypeError:  # encode(text) alone
            found = self._tokenizer.encode(text)
        except (
            Exception
        ) as error:  # what tokenizers raises for an unknown word where no token stands for those
            raise DataError(f"{text.strip()!r} cannot be encoded: {error}") from None
        return list(getattr(found, "ids", found))

    def _joins_spaces(self) -> bool:
        try:
            return len(self._ids(" a")) <= len(self._ids("a"))
        except DataError:
            return False

    def _start(self) -> int:
        for name in ("bos_token_id", "cls_token_id", "eos_token_id", "eot_token"):
            token = getattr(self._tokenizer, name, None)
            if isinstance(token, int):
                return token
        find = getattr(self._tokenizer, "token_to_id", None)
        for word in ("<s>", "<bos>", "<|endoftext|>", "[CLS]", "<|begin_of_text|>"):
            token = find(word) if callable(find) else None
            if isinstance(token, int):
                return token
        raise ConfigError(
            "the tokenizer has no token that starts a sequence; allowed: one with bos_token_id, cls_token_id or "
            "eos_token_id"
        )
