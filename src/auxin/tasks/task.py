"""Loading a task: its splits, its vocabulary and its token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from auxin.arguments import explained
from auxin.config import TaskName
from auxin.errors import DataError
from auxin.tasks import dyck, english, files
from auxin.tasks.cache import Lines, cached
from auxin.tasks.grammar import load_grammar_text
from auxin.tasks.sentence import Sentence
from auxin.tasks.vocabulary import Vocabulary
from auxin.values import check

_FORMAT = 1  # counts changes of what a seed generates or of the cached lines


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
    """A task's sentences and vocabulary; token ids are computed once a split."""

    def __init__(self, name: str, splits: Splits, vocabulary: Vocabulary) -> None:
        self.name = name
        self.splits = splits
        """train, val, test (not dyck) and gen; from published files, those that there are."""
        self.vocabulary = vocabulary
        self._encoded: dict[str, Encoded] = {}

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


@explained
def load_task(name: str, seed: int = 0, train_size: int = 0, data_dir: str | Path = "") -> Task:
    """A task by name: question, tense or dyck.

    Generated from the seed (deterministic, cached on disk) with ``train_size`` training sentences, 0 for the
    task's own size; or read from the published files in ``data_dir``, as they are. The vocabulary is that of
    the grammar, for files that of their lines. Raises ``ConfigError`` for an unknown task or impossible size
    and ``DataError`` for a malformed file.
    """
    check(name in get_args(TaskName), "task", name, ", ".join(get_args(TaskName)))
    check(type(seed) is int and 0 <= seed < 2**63, "seed", seed, "0 to 2^63 − 1")
    check(type(train_size) is int and 0 <= train_size <= 10**7, "train_size", train_size, "0 to 10^7")
    if str(data_dir):
        return _read(name, Path(data_dir), train_size)
    size = train_size or (dyck.TRAIN_SIZE if name == "dyck" else english.SIZES["train"])
    key: dict[str, object] = {"format": _FORMAT, "task": name, "seed": seed, "train_size": size}
    if name == "dyck":
        lines = cached(name, key, lambda: _to_lines(dyck.generate(seed, size)))
        splits = Splits({s: [Sentence(line, "") for line in content] for s, content in lines.items()})
        return Task(name, splits, Vocabulary(dyck.TOKENS))
    key["grammar"] = hashlib.sha256(load_grammar_text(name).encode()).hexdigest()
    lines = cached(name, key, lambda: _to_lines(english.generate(name, seed, size)))
    return Task(name, _from_lines(name, lines), Vocabulary(english.vocabulary_words(name)))


def _read(name: str, directory: Path, train_size: int) -> Task:
    """The published files of a directory; ``train_size`` keeps only the first training lines."""
    paths = files.split_files(name, directory)
    splits = Splits({split: files.read_split(name, path) for split, path in paths.items()})
    splits.origin = str(directory)
    if train_size and "train" in splits:
        splits["train"] = splits["train"][:train_size]
    return Task(name, splits, Vocabulary(_all_words(splits)))


def _all_words(splits: Splits) -> Iterable[str]:
    return {word for split in splits.values() for sentence in split for word in sentence.text.split()}


def _to_lines(splits: dict[str, list[Sentence]]) -> Lines:
    """Lines to cache: a Dyck string, or template number, source and target of an English sentence."""
    numbers: dict[object, int] = {}
    for name in english.MARKERS:
        numbers |= {structure: i for i, structure in enumerate(english.structures(name))}
    return {
        split: [
            s.source if s.structure is None else f"{numbers[s.structure]}\t{s.source}\t{s.target}"
            for s in sentences
        ]
        for split, sentences in splits.items()
    }


def _from_lines(name: str, lines: Lines) -> Splits:
    """The sentences of cached English lines."""
    structures = {str(i): structure for i, structure in enumerate(english.structures(name))}
    splits = Splits()
    for split, content in lines.items():
        fields = (line.split("\t") for line in content)
        splits[split] = [Sentence(source, target, structures[number]) for number, source, target in fields]
    return splits
