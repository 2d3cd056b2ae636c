"""A directory of auxin's own: nothing in it is reached through a link."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from auxin.disk.folder import Busy, Folder, failing_clearly
from auxin.errors import RunError


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    return tmp_path / "outside"


@pytest.fixture
def folder(tmp_path: Path, outside: Path) -> Folder:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "link").symlink_to(outside / "file")
    (tmp_path / "own" / "links").symlink_to(outside)
    return Folder.open(tmp_path / "own")


USES: dict[str, Callable[[Folder], object]] = {
    "read": lambda folder: folder.read("link"),
    "has": lambda folder: folder.has("link"),
    "replace": lambda folder: folder.replace("link", b"new"),
    "write": lambda folder: folder.write_new("link", b"new"),
    "lock": lambda folder: folder.lock("link", "busy"),
    "sub": lambda folder: folder.sub("links"),
    "make_sub": lambda folder: folder.make_sub("links"),
    "take": lambda folder: folder.take(folder, "link"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_nothing_is_reached_through_a_link(
    folder: Folder, outside: Path, use: Callable[[Folder], object]
) -> None:
    with pytest.raises(RunError, match=r"a symbolic link|File exists"), failing_clearly(folder.path):
        use(folder)
    assert (outside / "file").read_text() == "mine"


def test_what_is_removed_is_the_link(folder: Folder, outside: Path) -> None:
    for name in ("link", "links"):
        folder.remove(name)
    assert folder.names() == []
    assert (outside / "file").read_text() == "mine"


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with Folder.open(tmp_path) as folder:
        for use in (
            lambda: folder.read("pipe"),
            lambda: folder.replace("pipe", b""),
            lambda: folder.has("pipe"),
        ):
            with pytest.raises(RunError, match="pipe: not a regular file"):
                use()


def test_a_lock_is_one_processes(tmp_path: Path) -> None:
    with Folder.open(tmp_path) as folder, folder.lock("lock", "taken"), pytest.raises(Busy, match="taken"):
        folder.lock("lock", "taken")


def test_names_too_long_and_directories_that_may_not_be_entered_are_our_errors(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 5000), tmp_path / "missing"):
        with pytest.raises(RunError):
            Folder.open(path)
    with Folder.open(tmp_path) as folder, pytest.raises(RunError, match="File name too long"):
        folder.has("x" * 5000)
