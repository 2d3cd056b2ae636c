"""What makes the numbers of a task's sentences doubtful: words and lines that are not what they seem."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from auxin.tasks.sentence import Sentence

BYTE_ORDER_MARK = "\ufeff"
FEW_TO_LEARN, FEW_TO_SCORE = 500, 50
"""Lines of train, and of another split, of which there should be more."""


def problems(splits: Mapping[str, Sequence[Sentence]]) -> list[str]:
    """A line for each problem: what a person should read before training."""
    return [*shortages(splits), *doubts(splits)]


def doubts(splits: Mapping[str, Sequence[Sentence]]) -> list[str]:
    """What is not what it seems, with a count and the first example.

    Words that differ only in what cannot be seen (Unicode forms, invisible characters), byte order marks inside a
    file, words of another split that train lacks, and lines of gen or test that train has.
    """
    words = {split: {word for s in lines for word in s.text.split()} for split, lines in splits.items()}
    found: list[str] = []
    same: dict[str, list[str]] = defaultdict(list)
    for word in sorted(set().union(*words.values())):
        same[_visible(word)].append(word)
    if alike := [group for group in same.values() if len(group) > 1]:
        look = "looks" if len(alike) == 1 else "look"
        found.append(f"{_count(alike, 'word')} {look} like another one: {' and '.join(map(ascii, alike[0]))}")
    for split, lines in splits.items():
        if marked := [s.text for s in lines if BYTE_ORDER_MARK in s.text]:
            hold = "holds" if len(marked) == 1 else "hold"
            example = ascii(marked[0])[:80]
            found.append(f"{_count(marked, 'line')} of {split} {hold} a byte order mark: {example}")
    train = {s.text for s in splits.get("train", ())}
    for split in [split for split in splits if split != "train"]:
        if unseen := sorted(words[split] - words.get("train", set())):
            first = ", ".join(map(ascii, unseen[:3])) + (", …" if len(unseen) > 3 else "")
            found.append(f"{_count(unseen, 'word')} of {split} that train lacks: {first}")
        repeated = sum(s.text in train for s in splits[split])
        if repeated and split in ("gen", "test"):
            lines, are = _count(splits[split], "line"), "are" if repeated > 1 else "is"
            found.append(f"{repeated:,} of {lines} of {split} {are} in train, too")
    return found


def shortages(splits: Mapping[str, Sequence[Sentence]]) -> list[str]:
    """What makes training vain: too few lines to learn from or to score, and answers whose words train lacks."""
    known = {word for s in splits.get("train", ()) for word in s.text.split()}
    found: list[str] = []
    if "train" in splits and (different := len({s.text for s in splits["train"]})) < FEW_TO_LEARN:
        few = _count(range(different), "different line")
        found.append(f"train has {few}: too few to learn a rule from")
    for split in [split for split in splits if split != "train"]:
        lines = splits[split]
        if hopeless := sum(not known.issuperset(s.target.split()) for s in lines):
            count = _count(lines, "line")
            found.append(f"{hopeless:,} of {count} of {split} have a word in the answer that train lacks")
        if 0 < len(lines) < FEW_TO_SCORE:
            found.append(
                f"{split} has {_count(lines, 'line')}: each is {100 / len(lines):.0f} points of its accuracy"
            )
    return found


def _visible(word: str) -> str:
    """What a reader sees of a word: one form of Unicode, nothing invisible."""
    text = unicodedata.normalize("NFKC", word)
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things):,} {name}{'s' if len(things) != 1 else ''}"
