"""The one rule for outputs: what auxin did not write stays, a missing directory is named, a pipe is written to."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import altair
import polars
import pytest

from auxin.config import RunConfig
from auxin.errors import RunError
from auxin.outputs import MARK, write_output
from auxin.report.theme import save
from auxin.runs import Metric, RunDirectory, export, open_run

PAGE = b"<html>\n<!-- " + MARK + b" -->\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "x"
    with RunDirectory(path, RunConfig()) as directory:
        directory.append_metrics([Metric(10, 0, split, "accuracy", 0.5) for split in ("val", "gen")])
    return path


def test_a_file_that_auxin_did_not_write_stays_unless_forced(run: Path, tmp_path: Path) -> None:
    for name in ("precious.md", "precious.csv", "precious.parquet"):
        path = tmp_path / name
        path.write_text("years,of\nwork,\n")
        write = (lambda p, **o: write_output(p, PAGE, **o)) if name.endswith("md") else None
        write = write or (lambda p, **o: export(open_run(run).metrics, p, **o))
        with pytest.raises(RunError, match="not written by auxin; --force replaces it"):
            write(path)
        assert path.read_text() == "years,of\nwork,\n"
        write(path, force=True)
        written = path.read_bytes()
        write(path)  # now it is auxin's own
        assert path.read_bytes() == written
    assert len(list(tmp_path.iterdir())) == 3


def test_figures_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    chart = altair.Chart(polars.DataFrame({"x": [1.0]})).mark_point().encode(x="x:Q")
    paths = save(chart, tmp_path / "figure")
    assert all(MARK in path.read_bytes() for path in paths)
    save(chart, tmp_path / "figure")
    (tmp_path / "figure.svg").write_text("<svg/>")
    (tmp_path / "figure.png").unlink()
    with pytest.raises(RunError, match=r"figure\.svg: there already"):
        save(chart, tmp_path / "figure")
    assert not (tmp_path / "figure.png").exists()


def test_a_missing_directory_is_named_and_not_made(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "missing" / "metrics.csv"
    with pytest.raises(RunError, match="missing: no such directory"):
        export(open_run(run).metrics, out)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: a file, not a directory"):
        write_output(tmp_path / "file" / "page.html", PAGE)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe, read = tmp_path / "f", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_output(pipe, PAGE * 5000)
    reader.join()
    assert read == [PAGE * 5000]
    assert pipe.is_fifo()


def test_a_device_is_written_to_and_stays_one() -> None:
    write_output("/dev/null", PAGE)
    assert Path("/dev/null").is_char_device()


def test_what_is_behind_a_link_is_never_written(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link.html"
    target.write_bytes(PAGE)
    link.symlink_to(target)
    with pytest.raises(RunError, match="a symbolic link"):
        write_output(link, b"new")
    write_output(link, b"new", force=True)
    assert target.read_bytes() == PAGE
    assert (link.is_symlink(), link.read_bytes()) == (False, b"new")
    with pytest.raises(RunError, match=": a directory; allowed: a file"):
        write_output(tmp_path, PAGE)


def test_a_temporary_name_cannot_be_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new, **o: (names.append(old), replace(old, new, **o)))
    for _ in range(2):
        write_output(tmp_path / "o.html", PAGE)
    assert len({*names}) == 2
    assert not any("o.html" in str(name) for name in names)


@pytest.mark.parametrize("verb", ["export", "report"])
def test_the_verbs_keep_the_rule(run: Path, tmp_path: Path, verb: str) -> None:
    out = tmp_path / "precious.csv"
    out.write_text("mine")
    command = [sys.executable, "-m", "auxin", verb, str(run), "--out", str(out)]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert (
        refused.stderr
        == f"auxin {verb}: {out}: there already, and not written by auxin; --force replaces it\n"
    )
    assert out.read_text() == "mine"
