from collections import Counter

import pytest

from auxin.errors import DataError
from auxin.tasks import dyck
from auxin.tasks.trees import brackets, leaves


@pytest.fixture(scope="module")
def splits():
    return dyck.generate(0, 10_000)


def structure(sentence):
    return tuple(token.startswith("(") for token in sentence.source.split())


def test_strings_are_balanced_and_bounded(splits):
    for sentence in splits["train"] + splits["gen"]:
        stack = []
        for token in sentence.source.split():
            if token.startswith("("):
                stack.append(token)
                assert len(stack) <= dyck.MAX_DEPTH
            else:
                assert stack.pop() == "(" + token[:-1]
        assert stack == []


def test_sizes_and_structures(splits):
    assert {k: len(v) for k, v in splits.items()} == {"train": 10_000, "val": 1000, "gen": 1000}
    strings = [s.source for split in splits.values() for s in split]
    assert len(set(strings)) == len(strings)
    assert min(s.count(" ") + 1 for s in strings) == dyck.MIN_LENGTH
    train = {structure(s) for s in splits["train"]}
    assert all(structure(s) in train for s in splits["val"])
    assert not any(structure(s) in train for s in splits["gen"])


def test_walk_probabilities():
    uniforms = dyck.UniformStream(3)
    tokens, lengths = dyck._walks(uniforms, 5000)
    deep, shallow, ends, types = Counter(), Counter(), Counter(), Counter()
    for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True):
        depth = 0
        for i, token in enumerate(row[:length]):
            opening = token < 20
            if depth == dyck.MAX_DEPTH:
                assert not opening
            elif depth:
                (deep if depth > 4 else shallow)[opening] += 1
            elif i >= dyck.MIN_LENGTH:
                ends["on"] += 1
            if opening:
                types[token] += 1
            depth += 1 if opening else -1
        ends["end"] += 1
    for counts in (deep, shallow, ends):
        total = sum(counts.values())
        for count in counts.values():
            assert abs(count / total - 0.5) < 4 * 0.5 / total**0.5
    total = sum(types.values())
    assert all(abs(types[t] / total - 0.05) < 5 * (0.05 / total) ** 0.5 for t in range(20))


def test_seed_determines_every_string(splits):
    assert dyck.generate(1, 200) == dyck.generate(1, 200)
    assert dyck.generate(1, 200) != dyck.generate(2, 200)
    first = min((s.source for s in dyck.generate(1, 200)["train"]), key=len)
    assert first == "(i i) (n n)"


def test_gold_is_binary(splits):
    for sentence in splits["gen"][:200]:
        gold = sentence.gold
        assert leaves(gold) == sentence.words
        assert len(brackets(gold)) == len(sentence.words) - 1
    assert sentence.target == "" == sentence.marker
    assert sentence.text == sentence.source


def test_too_few_training_strings_for_val(monkeypatch):
    monkeypatch.setattr(dyck, "_BARREN", 5)
    monkeypatch.setattr(dyck, "TYPES", "a")
    monkeypatch.setattr(dyck, "TOKENS", ["(a", "a)"])
    with pytest.raises(DataError, match="train_size is 100: too few structures"):
        dyck.generate(0, 100)
