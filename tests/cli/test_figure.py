"""The verb that draws a page's figure for a paper."""

import re
from pathlib import Path

import polars as pl
import pytest

from auxin.cli import main
from auxin.config import ModelConfig, RunConfig
from auxin.runs import Metric, RunDirectory
from report.answered import answered


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered(tmp_path_factory.mktemp("study") / "depth", "depth")


def a_run(path: Path) -> Path:
    with RunDirectory(path, RunConfig(model=ModelConfig(depth=2), seeds=(0, 1))) as directory:
        for step in (10, 20):
            directory.append_metrics(
                [
                    Metric(step, seed, split, "accuracy", step / 50)
                    for seed in (0, 1)
                    for split in ("val", "gen")
                ]
            )
    return path


@pytest.mark.parametrize(
    ("suffix", "pattern", "size"),
    [("pdf", rb"/MediaBox \[0 0 ([\d.]+)", 234), ("svg", rb'<svg [^>]*width="([\d.]+)pt"', 234), ("png", b"", 975)],
)  # fmt: skip
def test_a_figure_is_as_wide_as_it_was_asked_for(
    suffix: str, pattern: bytes, size: float, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"a.{suffix}"
    command = ["figure", "by-depth", str(study), "--out", str(out), "--width", "3.25in", "--font", "serif"]
    assert main(command) == main(command) == 0  # its own files are replaced
    caption, *paths = capsys.readouterr().out.splitlines()[:3]
    assert caption == "Generalization and training loss by depth: 95% intervals over seeds"
    assert paths == [str(out), str(tmp_path / "a.csv")]
    content = out.read_bytes()
    found = re.search(pattern, content)
    assert found is not None
    width = float(found[1]) if pattern else int.from_bytes(content[16:20])
    assert width == pytest.approx(size, abs=1)
    table = pl.read_csv(tmp_path / "a.csv")
    depths = pl.read_csv(study / "tables" / "depths.csv")
    assert table.filter(part=1)["value"].to_list() == depths["ever"].to_list()


def test_several_runs_have_their_figure_and_a_page_of_it(tmp_path: Path) -> None:
    runs = [str(a_run(tmp_path / name)) for name in "ab"]
    assert main(["figure", "runs", *runs, "--out", str(tmp_path / "runs.html"), "--font", "No Font"]) == 0
    assert '"font":"No Font, serif"' in (tmp_path / "runs.html").read_text()
    assert pl.read_csv(tmp_path / "runs.csv")["run"].unique().sort().to_list() == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("by-deph STUDY --out a.pdf", 1, "name is 'by-deph'; allowed: by-depth, curves-by-depth"),
        ("learning-curves RUN RUN --out a.pdf", 1, "allowed: one figure, here of 2 directories; name one"),
        ("by-depth STUDY --out a.doc", 1, "allowed: a file that ends in .pdf, .svg, .png, .html"),
        (
            "by-depth STUDY --out a.pdf --width 3",
            2,
            "width is '3'; allowed: a number with in, cm, mm or pt",
        ),
        ("by-depth --out a.pdf", 2, "no value; allowed: [PATH ...]"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    words: str,
    status: int,
    message: str,
    study: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"STUDY": str(study), "RUN": str(a_run(tmp_path / "x"))}
    assert main(["figure", *(places.get(word, word) for word in words.split())]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


def test_a_font_that_is_not_here_is_said(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "a.png")
    assert main(["figure", "by-depth", str(study), "--out", out, "--font", "No Such Sans"]) == 0
    assert "warning: no font 'No Such Sans' on this machine" in capsys.readouterr().err
