"""Each dial of the training data does what it says, and nothing else."""

import pytest

from auxin.errors import ConfigError, DataError
from auxin.tasks import Dials, Task, english, load_task
from auxin.tasks.english import language

GRAMMATICAL = ("question", "tense", "passivization", "agreement")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Held-out splits."""
    monkeypatch.setattr(english, "SIZES", {"train": 60, "val": 20, "test": 20, "gen": 20})


def turned(name: str, **dials) -> Task:
    return load_task(name, train_size=400, dials=Dials(**dials))


def copied(task: Task) -> list:
    """The lines that the share of centre embedding is of."""
    spoken = language(task.name)
    return [s for s in task.splits["train"] if spoken.markers is None or not spoken.transforms(s)]


def changed(one: Task, other: Task) -> int:
    return sum(a != b for a, b in zip(one.splits["train"], other.splits["train"], strict=True))


def no_sentence_twice(task: Task) -> bool:
    """In no two splits, whatever its marker; and no line twice in one."""
    words = [{" ".join(s.words) for s in split} for split in task.splits.values()]
    lines = [{s.text for s in split} for split in task.splits.values()]
    apart = len(set.union(*words)) == sum(map(len, words))
    return apart and list(map(len, lines)) == list(map(len, task.splits.values()))


@pytest.mark.parametrize("name", GRAMMATICAL)
def test_disambiguating_lines_are_as_many_as_asked_for(name):
    plain, spoken = turned(name), language(name)
    previous: set = set()
    for count in (0, 7, 60):
        task = turned(name, disambiguating=count)
        telling = [
            s for s in task.splits["train"] if spoken.transforms(s) and spoken.rule.disagrees(s.structure)
        ]
        assert len(telling) == changed(plain, task) == count
        assert all(s == spoken.line(s.words, s.structure, True) for s in telling if name != "agreement")
        assert previous <= set(telling)  # more lines, not others
        previous = set(telling)
        assert {k: v for k, v in task.splits.items() if k != "train"} == {
            k: v for k, v in plain.splits.items() if k != "train"
        }
        assert no_sentence_twice(task)


@pytest.mark.parametrize("name", GRAMMATICAL)
def test_share_of_centre_embedded_lines(name):
    plain = turned(name)
    for share in (0.0, 0.25, 0.9, 1.0):
        task = turned(name, centre_embedded=share)
        lines = copied(task)
        embedded = sum(s.structure.centre_embedded for s in lines)
        assert len(lines) == len(copied(plain))
        assert embedded == round(share * len(lines))
        assert changed(plain, task) == abs(embedded - sum(s.structure.centre_embedded for s in copied(plain)))
        assert no_sentence_twice(task)


@pytest.mark.parametrize("name", GRAMMATICAL)
def test_number_of_structures(name):
    spoken = language(name)
    for count in (1, 3, 12):
        task = turned(name, structures=count)
        lines = task.splits["train"]
        assert len({s.structure for s in lines}) == count
        assert not any(spoken.transforms(s) and spoken.rule.disagrees(s.structure) for s in lines)
        assert sum(map(spoken.transforms, lines)) == sum(map(spoken.transforms, turned(name).splits["train"]))
        assert no_sentence_twice(task)


def test_dials_together():
    task = turned("question", structures=30, centre_embedded=0.5, disambiguating=9)
    lines = copied(task)
    assert sum(s.structure.centre_embedded for s in lines) == round(0.5 * len(lines))
    spoken = language("question")
    odd = [s for s in task.splits["train"] if spoken.transforms(s) and spoken.rule.disagrees(s.structure)]
    assert len(odd) == 9
    assert (
        25 <= len({s.structure for s in task.splits["train"] if s not in odd}) <= 30
    )  # a rare one may be missing
    assert turned("question", structures=30, centre_embedded=0.5, disambiguating=9).splits == task.splits


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"disambiguating": 401}, r"disambiguating is 401; allowed: up to the \d+ transformed lines"),
        ({"structures": 1000}, "structures is 1000; allowed: up to the 272 in domain"),
    ],
)
def test_what_the_grammar_does_not_have_is_refused(dials, message):
    with pytest.raises(DataError, match=message):
        turned("question", **dials)


def test_impossible_settings_and_tasks_without_dials_are_refused(tmp_path):
    for setting in ({"disambiguating": -1}, {"centre_embedded": 1.5}, {"structures": -2}):
        with pytest.raises(ConfigError, match="allowed"):
            Dials(**setting)
    for name, options in (("dyck", {}), ("question", {"data_dir": tmp_path})):
        with pytest.raises(ConfigError, match=r"dials is .*; allowed: those of a generated task"):
            load_task(name, dials=Dials(structures=3), **options)
