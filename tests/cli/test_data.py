"""A table of one's own becomes the folder of a files task."""

from pathlib import Path

import pytest

from auxin.cli import main
from auxin.tasks import load_task

ROWS = "".join(f"De kat{i % 5} ziet hen{i % 8}.\tZiet de kat{i % 5} hen{i % 8}?\tmain\n" for i in range(40))
GEN = "".join(f"De kat{i % 5}, de hond{i}, rent.\tRent de kat{i % 5}, de hond{i}?\tapp\n" for i in range(6))


def test_a_table_is_split_written_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "p.tsv", tmp_path / "made"
    file.write_text(f"zin\tvraag\ttype\n{ROWS}{GEN}")
    given = ["data", str(file), "--columns", "zin", "vraag", "--gen-where", "type=app", "--out", str(out)]
    assert main([*given, "--split", "0.8", "0.1", "0.1"]) == 0
    printed = capsys.readouterr().out
    for expected in ("header: zin, vraag, type", "case: lower; punctuation: words of their own"):
        assert expected in printed
    assert "warning: different lines of train: 32, too few" in printed
    assert "words of gen that train lacks: 8 (',', 'hond0', 'hond1'" in printed
    assert f"auxin train --task files --data-dir {out} --out runs/made" in printed
    task = load_task("files", data_dir=out)
    assert {split: len(lines) for split, lines in task.splits.items()} == {
        "train": 32,
        "val": 4,
        "gen": 6,
        "test": 4,
    }
    assert task.splits["gen"][0].text == "de kat0 , de hond0 , rent . rent de kat0 , de hond0 ?"
    assert main(given) == 1
    assert "there already, and not written by auxin; --force replaces it" in capsys.readouterr().err
    assert main([*given, "--force"]) == 0
    assert not (out / "test.tsv").exists()  # whose lines train may now have
    assert main(given) == 0  # which writes the same


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--split 0.5", "split is (0.5,); allowed: two or three shares"),
        ("--columns zin", "columns is 'zin'; allowed: two to five names"),
        ("--seed -1", "seed is -1; allowed: 0 or more"),
    ],
)
def test_options_that_are_refused(option: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "p.tsv", "--out", "x", *option.split()]) == 2
    assert message in capsys.readouterr().err
