import logging
import os
from pathlib import Path

import numpy as np
import pytest

from auxin.errors import ConfigError, DataError
from auxin.tasks import dyck, english, generation, load_task
from auxin.tasks import sampling as cache


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty cache, and small held-out splits."""
    monkeypatch.setenv("AUXIN_CACHE", str(tmp_path))
    monkeypatch.setattr(english, "SIZES", {"train": 60, "val": 20, "test": 20, "gen": 20})
    return tmp_path


@pytest.fixture
def forbid_generation(monkeypatch):
    """Call it to make any further generation fail."""

    def forbid():
        def fail(*_):
            raise AssertionError("generated again")

        monkeypatch.setattr(generation, "generate", fail)
        monkeypatch.setattr(dyck, "generate", fail)

    return forbid


@pytest.mark.parametrize("name", ["question", "tense", "dyck"])
def test_cached_task_equals_the_generated(name, store, forbid_generation):
    fresh = load_task(name, seed=3, train_size=300)
    forbid_generation()
    again = load_task(name, seed=3, train_size=300)
    assert fresh.splits == again.splits
    assert fresh.vocabulary == again.vocabulary
    assert [s.gold for s in fresh.splits["gen"][:20]] == [s.gold for s in again.splits["gen"][:20]]
    assert len(list(store.iterdir())) == 1
    with pytest.raises(AssertionError, match="generated again"):
        load_task(name, seed=4, train_size=300)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: content.replace(b"newt", b"yaks", 1),
        lambda content: b"",
        lambda content: b"[1, 2]\n" + content.partition(b"\n")[2],
        lambda content: b"{}\n" + content.partition(b"\n")[2],
        lambda content: b"\xff" * 1000,
        lambda content: b"[" * 100_000,
    ],
)
def test_damaged_entry_is_generated_again(damage, store, caplog):
    fresh = load_task("question", train_size=50)
    (entry,) = store.iterdir()
    content = entry.read_bytes()
    entry.write_bytes(damage(content))
    with caplog.at_level(logging.WARNING):
        assert load_task("question", train_size=50).splits == fresh.splits
    assert "is damaged" in caplog.text
    assert entry.read_bytes() == content


def test_another_key_under_the_same_name_is_not_used(store, monkeypatch):
    assert cache.cached("x", {"a": 1}, lambda: {"train": ["one"]}) == {"train": ["one"]}
    (entry,) = store.iterdir()
    name, original = entry.stem.removeprefix("x-"), cache.sha256
    monkeypatch.setattr(cache, "sha256", lambda c: name if c.startswith(b'{"a"') else original(c))
    assert cache.cached("x", {"a": 2}, lambda: {"train": ["two"]}) == {"train": ["two"]}


def test_cache_that_cannot_be_written(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("AUXIN_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert len(load_task("tense", train_size=10).splits["train"]) == 10
    assert "cannot be written" in caplog.text


def test_cache_directory(monkeypatch):
    monkeypatch.delenv("AUXIN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache.directory()) == "/somewhere/auxin"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.directory() == cache.Path(os.path.expanduser("~/.cache/auxin"))
    monkeypatch.setenv("XDG_CACHE_HOME", "~/mine")
    assert cache.directory() == Path.home() / "mine" / "auxin"
    monkeypatch.setenv("AUXIN_CACHE", "~/chosen")
    assert cache.directory() == Path.home() / "chosen"
    monkeypatch.setenv("AUXIN_CACHE", "~nobody-of-this-name/chosen")
    with pytest.raises(
        ConfigError, match="AUXIN_CACHE is '~nobody-of-this-name/chosen'; allowed: a directory"
    ):
        cache.directory()
    monkeypatch.setenv("AUXIN_CACHE", "/chosen")
    assert str(cache.directory()) == "/chosen"


def test_default_size_and_its_number_share_an_entry(store):
    assert load_task("question").splits == load_task("question", train_size=60).splits
    assert len(list(store.iterdir())) == 1


def test_token_ids(store):
    task = load_task("question", train_size=100)
    assert len(task.vocabulary) == 71
    tokens, offsets = task.encoded("train")
    assert task.encoded("train").tokens is tokens
    assert tokens.dtype == np.int64
    for i, sentence in enumerate(task.splits["train"]):
        ids = tokens[offsets[i] : offsets[i + 1]]
        assert (ids[0], ids[-1]) == (task.vocabulary.bos, task.vocabulary.eos)
        assert task.vocabulary.decode(ids) == sentence.text
    assert task.max_length >= int(np.diff(offsets).max())
    with pytest.raises(DataError, match="split is 'dev'"):
        task.encoded("dev")


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "questions"},
        {"name": "question", "seed": -1},
        {"name": "question", "seed": 1.5},
        {"name": "question", "train_size": 10**8},
    ],
)
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ConfigError, match="allowed"):
        load_task(**arguments)
