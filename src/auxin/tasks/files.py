"""Sentences in text files: the published ones, and the task ``files`` of a directory; what is doubtful in them.

Published are lines ``source . MARKER<TAB>target``, or one Dyck string a line. A directory of the task ``files`` has
train.tsv, val.tsv, gen.tsv and perhaps test.tsv, whatever it is about.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from auxin.errors import DataError
from auxin.tasks.language import Language
from auxin.tasks.sentence import Annotation, Answers, Contrast, Sentence, every
from auxin.tasks.task import DataSource, Splits, Task
from auxin.tasks.trees import binarize, bracket_tree, leaves, read_penn, to_brackets
from auxin.tasks.vocabulary import BOS, EOS, PAD
from auxin.values import check

Line = TypeVar("Line")
PUBLISHED = {
    "train": ("{task}.train", "k-20_d-10_train.txt"),
    "val": ("{task}.val", "{task}.dev", "k-20_d-10_val.txt"),
    "test": ("{task}.test",),
    "gen": ("{task}.gen", "k-20_d-10_test.txt"),
}
"""File names of each split; the k-20_d-10 ones are those of the published Dyck data, for dyck only."""
COLUMNS = ("source", "target", "bracketing of the source", "hierarchical target", "linear target")
SPLITS = ("train", "val", "gen", "test")
MOST_MARKERS = 10


def read_published(task: str, options: DataSource, language: Language | None = None) -> Splits:
    """The published files of a directory; ``train_size`` keeps only the first training lines.

    A test file all of whose lines tell the rules apart, without a gen file, is gen: the released code calls the
    generalization set so, and has no other test. Raises ``DataError`` when there is no directory, or no file in it.
    """
    directory = options.data_dir
    assert directory is not None
    if task not in ("question", "tense", "dyck"):
        raise DataError(
            f"task {task} is not published as files; allowed with data_dir: question, tense, dyck"
        )
    if not directory.is_dir():
        raise DataError(f"data_dir is {str(directory)!r}; allowed: a directory")
    splits = Splits({}, str(directory))
    for split, patterns in PUBLISHED.items():
        names = [p.format(task=task) for p in patterns if task == "dyck" or "{task}" in p]
        if existing := [directory / name for name in names if (directory / name).exists()]:
            splits[split] = read_split(existing[0], task, language)
    if not splits:
        raise DataError(
            f"{directory} has no {task}.train, .dev, .test or .gen; allowed: at least one of them"
        )
    if options.train_size and "train" in splits:
        splits["train"] = splits["train"][: options.train_size]
    if language and "test" in splits and "gen" not in splits and all(map(language.is_gen, splits["test"])):
        splits["gen"] = splits.pop("test")
    return splits


def read_split(path: Path, task: str, language: Language | None = None) -> list[Sentence]:
    """The sentences of a file, with gold trees from the parse of the language's grammar (Dyck: the brackets).

    Raises ``DataError`` as ``file:line: what is wrong`` for a missing or empty file, bytes that are not
    UTF-8, and a malformed line. About 15 µs a line.
    """
    return read_lines(path, _dyck if language is None else lambda line: _english(task, language, line))


def read_lines(path: Path, read: Callable[[str], Line]) -> list[Line]:
    """What ``read`` makes of every line of a file; its ``DataError`` gets the file and the number of the line."""
    found: list[Line] = []
    text = read_text(path)
    lines = text.split("\n" if "\n" in text else "\r")  # with any system's ends
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        line = line.rstrip("\r")
        try:
            if "\r" in line:
                raise DataError("a carriage return inside the line; allowed: one kind of line end")
            found.append(read(line))
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
    if not found:
        raise DataError(f"{path} is empty; allowed: one line or more")
    return found


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark; ``DataError`` names a file that cannot be read."""
    if not path.is_file():
        raise DataError(f"{path} cannot be read: not a regular file")
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{number}: byte {error.start} is not UTF-8") from None


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
    _refuse_special("target", target)
    if task == "tense" and len(target) != len(source) - 1:
        raise DataError(
            f"target {fields[1][:80]!r} has {len(target)} words; allowed: its source's, {len(source) - 1}"
        )
    categories, shape = language.grammar.parse(source[:-2])
    return Sentence(" ".join(source), " ".join(target), language.rule.structure(categories, shape))


def _refuse_special(name: str, words: list[str]) -> None:
    if special := {PAD, BOS, EOS}.intersection(words):
        raise DataError(f"{name} holds {special.pop()!r}; allowed: words")


def _dyck(line: str) -> Sentence:
    tokens = line.split()
    if tokens and tokens[-1] == "END":
        tokens.pop()
    bracket_tree(tokens)
    return Sentence(" ".join(tokens), "")


def load(name: str, options: DataSource) -> Task:
    """The task of a directory.

    A line is ``source<TAB>target``, then optionally a Penn-style bracketing of the source (or of its first words), the
    target by the hierarchical rule and the target by the linear one; an optional column may be empty. Where the last
    words of all sources are ten different ones at most, they are markers, and only lines with a marker that gen has
    are scored. A line is right in the first word in which the rules' targets differ; where there is none, in its
    whole target.
    Raises ``DataError`` as ``file:line: what is wrong``.
    """
    directory = options.data_dir
    check(directory is not None, "data_dir", "", "a directory with train.tsv, val.tsv and gen.tsv")
    assert directory is not None
    splits = Splits({}, str(directory))
    for split in SPLITS:
        path = directory / f"{split}.tsv"
        if path.exists():
            splits[split] = read_lines(path, _annotated)
        elif split != "test":
            raise DataError(
                f"{directory} has no {path.name}; allowed: train.tsv, val.tsv, gen.tsv[, test.tsv]"
            )
    if options.train_size:
        splits["train"] = splits["train"][: options.train_size]
    last = {split: {_last_word(s) for s in sentences} for split, sentences in splits.items()}
    marked = len(set().union(*last.values())) <= MOST_MARKERS
    eligible = (lambda sentence: _last_word(sentence) in last["gen"]) if marked else every
    return Task(name, splits, scorer=Answers(eligible=eligible, contrast=_contrast, linear=_linear))


def _last_word(sentence: Sentence) -> str:
    return sentence.source.rsplit(" ", 1)[-1]


def _contrast(sentence: Sentence) -> Contrast | None:
    """The first word in which the rules' targets differ."""
    assert isinstance(sentence.structure, Annotation)
    targets = sentence.structure.hierarchical.split(), sentence.structure.linear.split()
    pairs = enumerate(zip(*targets, strict=False))
    return next((Contrast(i, one, other) for i, (one, other) in pairs if one != other), None)


def _linear(sentence: Sentence) -> str:
    """The target by the linear rule, or the right one where the line has none."""
    assert isinstance(sentence.structure, Annotation)
    return sentence.structure.linear or sentence.target


def _annotated(line: str) -> Sentence:
    fields = [" ".join(field.split()) for field in line.split("\t")]
    while len(fields) > 2 and not fields[-1]:
        fields.pop()
    if not 2 <= len(fields) <= len(COLUMNS):
        raise DataError(f"{line[:80]!r} has {len(fields)} columns; allowed: 2 to 5: {', '.join(COLUMNS)}")
    return annotated(fields)


def annotated(fields: Sequence[str]) -> Sentence:
    """The sentence of a line's ``COLUMNS``, two or more of them; ``DataError`` for what is wrong with them."""
    for name, field in zip(COLUMNS, fields, strict=False):
        _refuse_special(name, field.split())
    source, target, brackets, hierarchical, linear = (*fields, "", "", "")[:5]
    if not (source and target):
        raise DataError(
            f"{'target' if source else 'source'} of {' '.join(fields)[:80]!r} is empty; allowed: words"
        )
    tree = None
    if brackets:
        trees = read_penn(brackets)
        if len(trees) != 1:
            raise DataError(f"bracketing {brackets[:80]!r} holds {len(trees)} trees; allowed: one")
        tree = binarize(trees[0])
        words = leaves(tree)
        if words != source.split()[: len(words)]:
            raise DataError(
                f"bracketing {brackets[:80]!r} is not of the source's words; allowed: its first words"
            )
    return Sentence(source, target, Annotation(tree, hierarchical, linear))


def line_of(sentence: Sentence) -> str:
    """The line that is read as this sentence."""
    known = sentence.structure
    assert isinstance(known, Annotation)
    brackets = (
        "" if known.tree is None else to_brackets((known.tree,)).replace("(", "(X ")
    )  # Penn's have labels
    return "\t".join((sentence.source, sentence.target, brackets, known.hierarchical, known.linear)).rstrip(
        "\t"
    )


BYTE_ORDER_MARK = "\ufeff"
FEW_TO_LEARN, FEW_TO_SCORE = 500, 50
"""Lines of train, and of another split, of which there should be more."""


def problems(splits: Mapping[str, Sequence[Sentence]]) -> list[str]:
    """A line for each problem that a person should know of before training: a count, and perhaps the first examples.

    Too few lines to learn from or to score; answers whose words train lacks; words that differ only in what cannot be
    seen (Unicode forms, invisible characters); byte order marks inside a file; words of another split that train
    lacks; lines of gen or test that train has.
    """
    words = {split: {word for s in lines for word in s.text.split()} for split, lines in splits.items()}
    train, known = {s.text for s in splits.get("train", ())}, words.get("train", set())
    found: list[str] = []

    def note(what: str, count: int, more: str = "", among: int = 0) -> None:
        if count:
            found.append(f"{what}: {count:,}{f' of {among:,}' if among else ''}{more}")

    if "train" in splits and len(train) < FEW_TO_LEARN:
        note("different lines of train", len(train), ", too few to learn a rule from")
    same: dict[str, list[str]] = defaultdict(list)
    for word in sorted(set().union(*words.values())):
        same[_visible(word)].append(word)
    alike = [" and ".join(map(ascii, group)) for group in same.values() if len(group) > 1]
    note("words that look the same", len(alike), _first(alike, 1))
    for split, lines in splits.items():
        marked = [ascii(s.text)[:80] for s in lines if BYTE_ORDER_MARK in s.text]
        note(f"lines of {split} with a byte order mark", len(marked), _first(marked, 1))
    for split in [split for split in splits if split != "train"]:
        lines, unseen = splits[split], sorted(words[split] - known)
        hopeless = sum(not known.issuperset(s.target.split()) for s in lines)
        note(f"lines of {split} with a word in the answer that train lacks", hopeless, among=len(lines))
        if len(lines) < FEW_TO_SCORE:
            share = 100 / max(1, len(lines))
            note(f"lines of {split}", len(lines), f", of which each is {share:.0f} points of its accuracy")
        note(f"words of {split} that train lacks", len(unseen), _first([*map(ascii, unseen)]))
        if split in ("gen", "test"):
            repeated = sum(s.text in train for s in lines)
            note(f"lines of {split} that are in train, too", repeated, among=len(lines))
    return found


def _first(examples: Sequence[str], most: int = 12) -> str:
    return f" ({', '.join(examples[:most])}{', …' * (len(examples) > most)})"


def _visible(word: str) -> str:
    """What a reader sees of a word: one form of Unicode, nothing invisible."""
    text = unicodedata.normalize("NFKC", word)
    return "".join(c for c in text if unicodedata.category(c) != "Cf")
