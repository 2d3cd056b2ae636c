"""Published data files: one line ``source . MARKER<TAB>target``, or one Dyck string, a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from auxin.errors import DataError
from auxin.tasks import english
from auxin.tasks.sentence import Sentence, structure_of
from auxin.tasks.trees import bracket_tree
from auxin.tasks.vocabulary import BOS, EOS, PAD

SPLITS = {
    "train": ("{task}.train", "k-20_d-10_train.txt"),
    "val": ("{task}.val", "{task}.dev", "k-20_d-10_val.txt"),
    "test": ("{task}.test",),
    "gen": ("{task}.gen", "k-20_d-10_test.txt"),
}
"""File names of each split; the k-20_d-10 ones are those of the published Dyck data, for dyck only."""


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


def read_split(task: str, path: Path) -> list[Sentence]:
    """The sentences of a file, with gold trees from the parse of the grammar.

    Raises ``DataError`` as ``file:line: what is wrong`` for a missing or empty file, bytes that are not
    UTF-8, and a malformed line. About 15 µs a line.
    """
    read = _dyck if task == "dyck" else _english
    sentences: list[Sentence] = []
    for number, line in _lines(path):
        try:
            sentences.append(read(task, line))
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
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return ((number, line.rstrip("\r")) for number, line in enumerate(lines, 1))


def _english(task: str, line: str) -> Sentence:
    fields = line.split("\t")
    if len(fields) != 2:
        raise DataError(f"{line[:80]!r} has {len(fields) - 1} tabs; allowed: source, one tab, target")
    source, target = fields[0].split(), fields[1].split()
    markers = english.MARKERS[task]
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
    categories, shape = english.grammar(task).parse(source[:-2])
    return Sentence(" ".join(source), " ".join(target), structure_of(categories, shape))


def _dyck(task: str, line: str) -> Sentence:
    tokens = line.split()
    if tokens and tokens[-1] == "END":
        tokens.pop()
    bracket_tree(tokens)
    return Sentence(" ".join(tokens), "")
