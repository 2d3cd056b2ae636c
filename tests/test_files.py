"""Files of auxin's own: nothing is reached through a link; JSON is read back as it was, or an error names the file."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxin import files
from auxin.errors import RunError


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    return tmp_path / "outside"


@pytest.fixture
def place(tmp_path: Path, outside: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "link").symlink_to(outside / "file")
    (tmp_path / "own" / "links").symlink_to(outside)
    return tmp_path / "own"


USES: dict[str, Callable[[Path], object]] = {
    "read": lambda place: files.read(place / "link"),
    "is_file": lambda place: files.is_file(place / "link"),
    "replace": lambda place: files.replace(place / "link", b"new"),
    "append": lambda place: files.appending(place / "link"),
    "lock": lambda place: files.lock(place / "link").__enter__(),
    "subdirectory": lambda place: files.subdirectory(place / "links"),
    "make": lambda place: files.subdirectory(place / "links", make=True),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_nothing_is_reached_through_a_link(place: Path, outside: Path, use: Callable[[Path], object]) -> None:
    with pytest.raises(RunError, match="a symbolic link"):
        use(place)
    assert (outside / "file").read_text() == "mine"


def test_what_is_removed_is_the_link(place: Path, outside: Path) -> None:
    for name in ("link", "links"):
        files.remove(place / name)
    assert files.names(place) == []
    assert (outside / "file").read_text() == "mine"


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for use in (files.read, files.is_file, lambda path: files.replace(path, b"")):
        with pytest.raises(RunError, match="pipe: not a regular file"):
            use(tmp_path / "pipe")


def test_a_lock_is_one_processes(tmp_path: Path) -> None:
    with (
        files.lock(tmp_path / "lock"),
        pytest.raises(files.Busy, match="taken"),
        files.lock(tmp_path / "lock", "taken"),
    ):
        pass
    with files.lock(tmp_path / "lock"):
        pass


def test_names_too_long_and_directories_that_are_not_there_are_our_errors(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 5000), tmp_path / "missing"):
        with pytest.raises(RunError):
            files.directory(path)
    with pytest.raises(RunError, match="File name too long"):
        files.is_file(tmp_path / ("x" * 5000))


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), anything, max_size=4))
def test_whatever_is_written_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("json") / "x.json"
    files.replace(path, files.dump_json(values))
    assert files.dump_json(files.read_json(path)) == files.dump_json(values)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid JSON"), ("[" * 100_000, "not valid JSON"), ("[1]", "not a JSON object"),
        ('{"size": "1"}', "damaged .size is no int"), ("{}", "damaged .size is no int"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(RunError, match=rf"x\.json: {why}"):
        files.read_json(tmp_path / "x.json", size=int)


def test_a_signed_object_is_what_was_written_or_an_error(tmp_path: Path) -> None:
    content, path = files.dump_signed({"steps": 30, "words": "so it is"}), tmp_path / "x.json"
    path.write_bytes(content)
    assert files.read_signed(path) == {"steps": 30, "words": "so it is"}
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        with contextlib.suppress(RunError):
            assert files.read_signed(path)["steps"] == 30
