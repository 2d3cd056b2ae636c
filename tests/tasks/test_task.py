import numpy as np
import pytest

from auxin.errors import ConfigError, DataError
from auxin.tasks import english, load_task


def test_an_unknown_size_is_the_own_one(monkeypatch):
    monkeypatch.setattr(english, "SIZES", {"train": 60, "val": 20, "test": 20, "gen": 20})
    assert load_task("question").splits == load_task("question", train_size=60).splits
    assert load_task("question").splits != load_task("question", seed=1).splits


def test_token_ids():
    task = load_task("question", train_size=100)
    assert len(task.vocabulary) == 71
    assert task.encoded("train") is task.encoded("train")
    for ids, sentence in zip(task.encoded("train"), task.splits["train"], strict=True):
        assert ids.dtype == np.int64
        assert (ids[0], ids[-1]) == (task.vocabulary.bos, task.vocabulary.eos)
        assert task.vocabulary.decode(ids) == sentence.text
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
