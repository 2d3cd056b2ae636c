import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auxin.errors import DataError
from auxin.tasks import english, files, load_task
from published import write_published

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "mccoy"
GOOD = "the newt does read . quest\tdoes the newt read ?"


def write(directory, name, content):
    path = directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_published_directory(tmp_path):
    write(tmp_path, "question.train", GOOD + "\n" + "my yaks do eat . decl\tmy yaks do eat .\r\n")
    write(tmp_path, "question.dev", GOOD)
    task = load_task("question", data_dir=tmp_path)
    assert {split: len(lines) for split, lines in task.splits.items()} == {"train": 2, "val": 1}
    sentence = task.splits["train"][0]
    assert sentence.source == "the newt does read . quest"
    assert sentence.target == "does the newt read ?"
    assert sentence.gold == (("the", "newt"), ("does", "read"))
    assert "yaks" in task.vocabulary
    assert "walrus" not in task.vocabulary
    assert len(load_task("question", data_dir=tmp_path, train_size=1).splits["train"]) == 1
    with pytest.raises(DataError, match=f"split is 'gen', and {tmp_path} has only: train, val"):
        task.splits["gen"]


@pytest.mark.parametrize("task", ["question", "tense"])
def test_a_test_file_that_is_the_generalization_set_is_known_by_its_content(tmp_path, task):
    """The released code's directory holds train, val and test, and its test is what generalization is."""
    write_published(tmp_path, task, {"train": 20, "val": 5, "test": 5})
    assert list(load_task(task, data_dir=tmp_path).splits) == ["train", "val", "test"]
    write_published(tmp_path, task, {"gen": 5})
    both = load_task(task, data_dir=tmp_path).splits
    assert list(both) == ["train", "val", "test", "gen"]
    (tmp_path / f"{task}.gen").replace(tmp_path / f"{task}.test")
    found = load_task(task, data_dir=tmp_path).splits
    assert list(found) == ["train", "val", "gen"]
    assert found["gen"] == both["gen"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "has 0 tabs"),
        ("the newt does read . quest does the newt read ?", "has 0 tabs"),
        (GOOD + "\t", "has 2 tabs"),
        ("the newt does read . ask\tdoes the newt read ?", "does not end in '.' and one of decl, quest"),
        ("the newt does read quest\tdoes the newt read ?", "does not end in '.' and one of decl, quest"),
        ("the newt does read . quest\tdoes the newt read", "does not end in '.' or '\\?'"),
        ("the newt does read . quest\t", "target '' does not end"),
        ("the newt does read . quest\t<eos> ?", "target holds '<eos>'"),
        ("the nwet does read . quest\tdoes the newt read ?", "word 'nwet' is not in the grammar"),
        ("the newt do read . quest\tdo the newt read ?", "word 3, 'do', does not fit"),
    ],
)
def test_malformed_line_is_named(tmp_path, line, message):
    path = write(tmp_path, "question.gen", f"{GOOD}\n{line}\n{GOOD}\n")
    with pytest.raises(DataError, match=f"{path}:2: .*{message}"):
        load_task("question", data_dir=tmp_path)


def test_bytes_that_are_no_text(tmp_path):
    path = write(tmp_path, "tense.dev", b"the newt read . PAST\tthe newt read .\n\xff\n")
    with pytest.raises(DataError, match=f"{path}:2: byte 37 is not UTF-8"):
        load_task("tense", data_dir=tmp_path)


def test_a_tense_target_has_its_sources_words(tmp_path):
    path = write(
        tmp_path, "tense.dev", "the newt read . PRESENT\tthe newt reads .\nthe newt read . PRESENT\tthe .\n"
    )
    with pytest.raises(DataError, match=rf"{path}:2: target 'the \.' has 2 words; allowed: its source's, 4"):
        load_task("tense", data_dir=tmp_path)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(DataError, match=r"has no question\.train, \.dev, \.test or \.gen"):
        load_task("question", data_dir=tmp_path)
    with pytest.raises(DataError, match="nowhere'; allowed: a directory"):
        load_task("question", data_dir=tmp_path / "nowhere")
    path = write(tmp_path, "question.train", "")
    with pytest.raises(DataError, match=f"{path} is empty"):
        load_task("question", data_dir=tmp_path)
    for make in (path.mkdir, lambda: os.mkfifo(path)):  # a pipe would be waited for
        path.rmdir() if path.is_dir() else path.unlink()
        make()
        with pytest.raises(DataError, match=f"{path} cannot be read: not a regular file"):
            load_task("question", data_dir=tmp_path)


def test_dyck_files(tmp_path):
    write(tmp_path, "k-20_d-10_train.txt", "(a (b b) a) END\n(c c) (d d) END\n")
    write(tmp_path, "dyck.gen", "(a a) (a a)\n")
    task = load_task("dyck", data_dir=tmp_path)
    assert [s.source for s in task.splits["train"]] == ["(a (b b) a)", "(c c) (d d)"]
    assert set(task.splits) == {"train", "gen"}
    path = write(tmp_path, "dyck.val", "(a b)\n")
    with pytest.raises(DataError, match=f"{path}:1: token 2 is 'b\\)'"):
        load_task("dyck", data_dir=tmp_path)


@given(st.binary(max_size=200) | st.text(alphabet="the newt does read . quest\t\n?", max_size=200))
@settings(deadline=None)
def test_any_bytes_give_sentences_or_a_data_error(tmp_path_factory, content):
    path = write(tmp_path_factory.mktemp("fuzz"), "question.dev", content)
    message = ""
    try:
        assert files.read_split(path, "question", english.language("question"))
    except DataError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published samples are not at hand")
@pytest.mark.parametrize("name", ["question", "tense"])
def test_published_samples(name):
    task = load_task(name, data_dir=REFERENCE)
    assert len(task.splits["val"]) == 1000
    assert [s.text for s in task.splits["val"]] == [
        line.replace("\t", " ") for line in (REFERENCE / f"{name}.dev").read_text().splitlines()
    ]
