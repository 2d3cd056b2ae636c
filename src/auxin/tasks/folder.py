"""The task ``files``: a directory with train.tsv, val.tsv, gen.tsv and perhaps test.tsv, whatever they are about."""

from __future__ import annotations

from collections.abc import Callable

from auxin.errors import DataError
from auxin.tasks.files import read_lines
from auxin.tasks.request import Request
from auxin.tasks.scorers import Answers, Telling, every
from auxin.tasks.sentence import Annotation, Sentence
from auxin.tasks.task import Splits, Task
from auxin.tasks.trees import binarize, leaves, read_penn
from auxin.tasks.vocabulary import BOS, EOS, PAD

COLUMNS = ("source", "target", "bracketing of the source", "hierarchical target", "linear target")
MOST_MARKERS = 10
_NEEDED, _OPTIONAL = ("train", "val", "gen"), ("test",)


def load(name: str, request: Request) -> Task:
    """The task of a directory.

    A line is ``source<TAB>target``, then optionally a Penn-style bracketing of the source (or of its first words), the
    target by the hierarchical rule and the target by the linear one; an optional column may be empty. Where the last
    words of all sources are ten different ones at most, they are markers, and only lines with a marker that gen has
    are scored. A line is right in the first word in which the rules' targets differ; where there is none, in its
    whole target.
    Raises ``DataError`` as ``file:line: what is wrong``.
    """
    assert request.data_dir is not None
    splits = Splits()
    splits.origin = str(request.data_dir)
    for split in (*_NEEDED, *_OPTIONAL):
        path = request.data_dir / f"{split}.tsv"
        if not path.exists() and split in _OPTIONAL:
            continue
        if not path.exists():
            raise DataError(
                f"{request.data_dir} has no {path.name}; allowed: train.tsv, val.tsv, gen.tsv[, test.tsv]"
            )
        splits[split] = read_lines(path, _read)
    if request.train_size:
        splits["train"] = splits["train"][: request.train_size]
    scorer = Answers(eligible=_asked(splits), telling=telling, linear=linear)
    return Task(name, splits, scorer=scorer)


def _asked(splits: Splits) -> Callable[[Sentence], bool]:
    """Which lines are scored: where sources end in one of a few markers, those with a marker of gen."""
    last = {split: {s.source.rsplit(" ", 1)[-1] for s in sentences} for split, sentences in splits.items()}
    if len(set().union(*last.values())) > MOST_MARKERS:
        return every
    return lambda sentence: sentence.source.rsplit(" ", 1)[-1] in last["gen"]


def telling(sentence: Sentence) -> Telling | None:
    """The first word in which the rules' targets differ."""
    told = sentence.structure
    if not isinstance(told, Annotation) or not told.hierarchical or not told.linear:
        return None
    pairs = zip(told.hierarchical.split(), told.linear.split(), strict=False)
    return next((Telling(i, one, other) for i, (one, other) in enumerate(pairs) if one != other), None)


def linear(sentence: Sentence) -> str:
    """The target by the linear rule, or the right one where the line has none."""
    told = sentence.structure
    return (isinstance(told, Annotation) and told.linear) or sentence.target


def _read(line: str) -> Sentence:
    fields = [" ".join(field.split()) for field in line.split("\t")]
    while len(fields) > 2 and not fields[-1]:
        fields.pop()
    if not 2 <= len(fields) <= len(COLUMNS):
        raise DataError(f"{line[:80]!r} has {len(fields)} columns; allowed: 2 to 5: {', '.join(COLUMNS)}")
    for name, field in zip(COLUMNS, fields, strict=False):
        special = {PAD, BOS, EOS}.intersection(field.split())
        if special:
            raise DataError(f"{name} holds {special.pop()!r}; allowed: words")
    source, target, brackets, hierarchical, rival = (*fields, "", "", "")[:5]
    for name, field in (("source", source), ("target", target)):
        if not field:
            raise DataError(f"{name} of {line[:80]!r} is empty; allowed: words")
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
    return Sentence(source, target, Annotation(tree, hierarchical, rival))
