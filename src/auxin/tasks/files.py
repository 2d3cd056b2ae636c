"""Published data files: one line ``source . MARKER<TAB>target``, or one Dyck string, a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from auxin.errors import DataError
from auxin.tasks.language import Language
from auxin.tasks.sentence import Sentence
from auxin.tasks.trees import bracket_tree
from auxin.tasks.vocabulary import BOS, EOS, PAD

SPLITS = {
    "train": ("{task}.train", "k-20_d-10_train.txt"),
    "val": ("{task}.val", "{task}.dev", "k-20_d-10_val.txt"),
    "test": ("{task}.test",),
    "gen": ("{task}.gen", "k-20_d-10_test.txt"),
}
"""File names of each split; the k-20_d-10 ones are those of the published Dyck data, for dyck only."""

PUBLISHED = ("question", "tense", "dyck")
"""The tasks that there are published files of."""


def split_files(task: str, directory: Path) -> dict[str, Path]:
    """The file of each split that the directory has; ``DataError`` when it is no directory or has none."""
    if not directory.is_dir():
        raise DataError(f"data_dir is {str(directory)!r}; allowed: a directory")
    found: dict[str, Path] = {}
    for split, patterns in SPLITS.items():
        names = [p.format(task=task) for p in patterns if task == "dyck" or "{task}" in p]
        existing = [directory / name for name in names if (directory / name).exists()]
        if existing:
            found[split] = existing[0]
    if not found:
        raise DataError(
            f"{directory} has no {task}.train, .dev, .test or .gen; allowed: at least one of them"
        )
    return found


def read_splits(
    task: str, directory: Path, train_size: int, language: Language | None = None
) -> dict[str, list[Sentence]]:
    """The published files of a directory; ``train_size`` keeps only the first training lines."""
    paths = split_files(task, directory)
    splits = {split: read_split(path, task, language) for split, path in paths.items()}
    if train_size and "train" in splits:
        splits["train"] = splits["train"][:train_size]
    return splits


def read_split(path: Path, task: str, language: Language | None = None) -> list[Sentence]:
    """The sentences of a file, with gold trees from the parse of the language's grammar (Dyck: the brackets).

    Raises ``DataError`` as ``file:line: what is wrong`` for a missing or empty file, bytes that are not
    UTF-8, and a malformed line. About 15 µs a line.
    """
    return read_lines(path, _dyck if language is None else lambda line: _english(task, language, line))


def read_lines(path: Path, read: Callable[[str], Sentence]) -> list[Sentence]:
    """What ``read`` makes of every line of a text file, errors with the file's name and the line's number."""
    sentences: list[Sentence] = []
    for number, line in _lines(path):
        try:
            sentences.append(read(line))
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
    if not sentences:
        raise DataError(f"{path} is empty; allowed: one line or more")
    return sentences


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise DataError(f"{path} cannot be read: not a regular file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{number}: byte {error.start} is not UTF-8") from None
    lines = text.split("\n" if "\n" in text else "\r")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r")
        if "\r" in line:
            raise DataError(
                f"{path}:{number}: a carriage return inside the line; allowed: one kind of line end"
            )
        yield number, line


def _english(task: str, language: Language, line: str) -> Sentence:
    fields = line.split("\t")
    if len(fields) != 2:
        raise DataError(f"{line[:80]!r} has {len(fields) - 1} tabs; allowed: source, one tab, target")
    source, target = fields[0].split(), fields[1].split()
    markers = language.markers or ()
    if len(source) < 3 or source[-1] not in markers or source[-2] != ".":
        raise DataError(f"source {fields[0][:80]!r} does not end in '.' and one of {', '.join(markers)}")
    if len(target) < 2 or target[-1] not in (".", "?"):
        raise DataError(f"target {fields[1][:80]!r} does not end in '.' or '?'")
    special = {PAD, BOS, EOS}.intersection(target)
    if special:
        raise DataError(f"target holds {special.pop()!r}; allowed: words")
    if task == "tense" and len(target) != len(source) - 1:
        raise DataError(
            f"target {fields[1][:80]!r} has {len(target)} words; allowed: its source's, {len(source) - 1}"
        )
    categories, shape = language.grammar.parse(source[:-2])
    return Sentence(" ".join(source), " ".join(target), language.rule.structure(categories, shape))


def _dyck(line: str) -> Sentence:
    tokens = line.split()
    if tokens and tokens[-1] == "END":
        tokens.pop()
    bracket_tree(tokens)
    return Sentence(" ".join(tokens), "")
