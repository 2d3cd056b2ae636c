"""A task: its splits, its vocabulary, its token ids, and the scorer that knows its rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from auxin.errors import ConfigError, DataError
from auxin.tasks.scorers import Answers, Choices, Scorer, every
from auxin.tasks.sentence import Sentence
from auxin.tasks.vocabulary import Vocabulary


class Splits(dict[str, list[Sentence]]):
    """Sentences by split; a missing split is a ``DataError`` that names it."""

    origin: str = "generated data"

    def __missing__(self, split: str) -> list[Sentence]:
        raise DataError(f"split is {split!r}, and {self.origin} has only: {', '.join(self)}")


class Encoded(NamedTuple):
    """The token ids of a split; text i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: NDArray[np.int64]
    """All texts one after the other, each between ``<bos>`` and ``<eos>``."""
    offsets: NDArray[np.int64]
    """Where each text begins, and where the last one ends."""
    source_lengths: NDArray[np.int64]
    """Words of each source: where its last word stands, counted from ``<bos>``."""


class Task:
    """A task's sentences, vocabulary and scorer; token ids are computed once a split.

    Training takes ``train`` and reports on ``val`` (in domain) and ``gen`` (only the hierarchical rule is right).

    Args:
        name: for messages.
        splits: sentences by split.
        vocabulary: by default that of all sentences.
        scorer: what counts as right: ``Answers`` (by default, to whole targets), ``Choices`` or ``Brackets``.
        measured: which training sentences the structural measures are taken of, and ``measured_count``, of how many.
        generated: whether a run's config determines every sentence; others are recognized by their digest.

    >>> from auxin.tasks import Sentence
    >>> sentence = Sentence("the newt reads . quest", "does the newt read ?")
    >>> sentences = {split: [sentence] for split in ("train", "val", "gen")}
    >>> len(Task("mine", sentences).vocabulary)
    11
    """

    def __init__(
        self,
        name: str,
        splits: Mapping[str, list[Sentence]],
        vocabulary: Vocabulary | None = None,
        scorer: Scorer | None = None,
        *,
        measured: Callable[[Sentence], bool] = every,
        measured_count: int = 10_000,
        generated: bool = False,
    ) -> None:
        self.name = name
        self.splits = splits if isinstance(splits, Splits) else Splits(splits)
        """train, val and gen, perhaps test; those that there are."""
        self.vocabulary = vocabulary or Vocabulary(all_words(splits))
        self.scorer = scorer or Answers()
        self.measured, self.measured_count, self.generated = measured, measured_count, generated
        self._encoded: dict[str, Encoded] = {}

    def choosing(self) -> Task:
        """The task in the language-modelling view: is the right target likelier than the linear rule's?

        Raises ``ConfigError`` for a task that has no targets by a linear rule.
        """
        if isinstance(self.scorer, Choices):
            return self
        linear = self.scorer.linear if isinstance(self.scorer, Answers) else None
        if linear is None or not isinstance(self.scorer, Answers):
            raise ConfigError(f"scoring is 'choices'; allowed for task {self.name}: answers")
        alternative = lambda s: "" if (other := linear(s)) == s.target else other
        scorer = Choices(alternative=alternative, eligible=self.scorer.eligible)
        same = {"measured": self.measured, "measured_count": self.measured_count, "generated": self.generated}
        return Task(self.name, self.splits, self.vocabulary, scorer, **same)  # pyright: ignore[reportArgumentType]

    def encoded(self, split: str) -> Encoded:
        """Token ids of a split, kept after the first call; ``DataError`` for an unknown split or word."""
        if split not in self._encoded:
            sentences = self.splits[split]
            tokens, offsets = self.vocabulary.encode_all([s.text for s in sentences])
            lengths = np.fromiter((s.source.count(" ") + 1 for s in sentences), np.int64, len(sentences))
            self._encoded[split] = Encoded(tokens, offsets, lengths)
        return self._encoded[split]

    @property
    def max_length(self) -> int:
        """Tokens of the longest text of all splits, with ``<bos>`` and ``<eos>``."""
        return max(s.text.count(" ") + 3 for split in self.splits.values() for s in split)

    @property
    def sha256(self) -> str:
        """SHA-256 of all texts in their order, split by split."""
        texts = {split: [s.text for s in sentences] for split, sentences in sorted(self.splits.items())}
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {len(sentences)}" for split, sentences in self.splits.items())
        return f"Task({self.name}: {sizes}; {len(self.vocabulary)} tokens)"


def all_words(splits: Mapping[str, list[Sentence]]) -> set[str]:
    """Every word of every text."""
    return {word for split in splits.values() for sentence in split for word in sentence.text.split()}
