"""Words and their ids: ``<pad>``, the sorted words, ``<eos>``, ``<bos>``, in that order (the released code's)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from auxin.errors import DataError

PAD, EOS, BOS = "<pad>", "<eos>", "<bos>"
_SPECIAL = (PAD, EOS, BOS)


class Vocabulary:
    """Word ids 0 … n−1: ``<pad>`` is 0, then the sorted words, ``<eos>`` is n−2, ``<bos>`` is n−1.

    The three special tokens need not be among ``words``. Raises ``DataError`` when a word is no text, is
    empty or holds white space, and when there is none.

    >>> words = Vocabulary(["newts", "read"])
    >>> words.encode(["newts", "read"])
    [1, 2]
    >>> len(words)
    5
    """

    pad = 0
    """Id of ``<pad>``."""

    def __init__(self, words: Iterable[str]) -> None:
        words = [words] if isinstance(words, str) else list(words)
        for word in words:
            if not isinstance(word, str) or word.split() != [word]:
                raise DataError(f"word {word!r} is not allowed; allowed: text without white space")
        ordinary = sorted(set(words) - set(_SPECIAL))
        if not ordinary:
            raise DataError("the vocabulary is empty; allowed: one word or more")
        self.words = (PAD, *ordinary, EOS, BOS)
        """Every token in the order of its id."""
        self.ids = {word: index for index, word in enumerate(self.words)}
        """The id of every token."""
        self.eos, self.bos = self.ids[EOS], self.ids[BOS]
        """Ids of ``<eos>`` and ``<bos>``."""

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens: {', '.join(self.words[1:4])}, …)"

    def encode(self, text: str | Sequence[str]) -> list[int]:
        """The ids of the words of a text, without ``<bos>`` and ``<eos>``; ``DataError`` names an unknown word."""
        words = text.split() if isinstance(text, str) else text
        try:
            return [self.ids[word] for word in words]
        except KeyError as error:
            self._unknown(error.args[0])

    def decode(self, ids: Iterable[int]) -> str:
        """The words of the ids but ``<pad>``, ``<bos>`` and ``<eos>``; ``DataError`` for an id out of range."""
        words: list[str] = []
        for index in map(int, ids):
            if not 0 <= index < len(self.words):
                raise DataError(f"token id is {index}; allowed: 0 to {len(self.words) - 1}")
            words.append(self.words[index])
        return " ".join(word for word in words if word not in _SPECIAL)

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """The ids of all texts, each between ``<bos>`` and ``<eos>``.

        Words are parted by single spaces. About 0.2 µs a token. Raises ``DataError`` for an unknown word.
        """
        ends = np.cumsum([text.count(" ") + 3 for text in texts])
        words = chain.from_iterable(f"{BOS} {text} {EOS}".split(" ") for text in texts)
        try:
            tokens = np.fromiter(map(self.ids.__getitem__, words), np.int64)
        except KeyError as error:
            self._unknown(error.args[0])
        return np.split(tokens, ends[:-1])[: len(texts)]

    def _unknown(self, word: str) -> NoReturn:
        close = difflib.get_close_matches(str(word), self.words[1:-2], n=3)
        known = ", ".join(close or self.words[1:4]) + ("" if close else ", …")
        raise DataError(f"word {word!r} is not in the vocabulary; {'closest' if close else 'known'}: {known}")
