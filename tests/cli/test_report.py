"""The verb that makes a page: one line when it works, one line when it does not."""

from pathlib import Path

import pytest

from auxin.cli import main
from report.answered import answered


def test_a_page_is_made_or_one_line_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, out = answered(tmp_path / "depth", "depth"), tmp_path / "pages" / "report.html"
    assert main(["report", str(study), "--out", str(out)]) == 1
    assert f"{out.parent}" in capsys.readouterr().err
    out.parent.mkdir()
    assert main(["report", str(study), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert "Is generalization an inverted U in depth?" in out.read_text()
    before = out.read_bytes()
    assert main(["report", str(study), str(tmp_path / "none"), "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"auxin report: {tmp_path / 'none'}: no such directory\n"
    assert out.read_bytes() == before
    assert main(["report", "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
