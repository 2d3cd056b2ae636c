"""The page on tasks of one's own does what it says: its files are written, its commands run, at a small size."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from auxin.cli import main
from auxin.lab.sweep_record import open_sweep
from auxin.runs import open_run
from auxin.tasks import load_task

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
FILES = re.findall(r"^`([\w./-]+)`:\n\n```text\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SMALL = {"--steps 2000": "--steps 6", "--steps 2500": "--steps 9"}
SMALL_SWEEP = {
    "steps = 2000": 'steps = 6\nlog_every = 3\neval_size = 5\nfinal_size = 5\n"model.width" = 8\n"model.heads" = 1',
    "seeds = [0, 1, 2]": "seeds = [0, 1]",
    "[1, 2, 4]": "[1, 2]",
}
TINY = "--model.depth 1 --model.width 16 --model.heads 2 --log-every 3 --checkpoint-every 3 --eval-size 20"


@pytest.fixture
def local_ray() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="ray is not installed (pip install '.[ray]')")
    paths = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": paths})
    yield
    ray.shutdown()


def test_every_file_and_every_command(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        for large, small in SMALL_SWEEP.items():
            text = text.replace(large, small)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert [name for name, _ in FILES] == [
        *(f"reflexive/{s}.tsv" for s in ("train", "val", "gen")),
        "pairs.tsv",
        "reflexive.gr",
        "reflexives.toml",
    ]
    assert len(COMMANDS) == 10
    for command in COMMANDS:
        for large, small in SMALL.items():
            command = command.replace(large, small)
        words = shlex.split(command + (f" {TINY}" if " train " in command else ""))
        assert words[0] == "auxin"
        assert main(words[1:]) == 0, capsys.readouterr().err
    for name in ("from-files", "from-grammar", "told"):
        run = open_run(tmp_path / "runs" / name)
        assert {"hierarchical", "linear", "neither"} <= set(run.metrics.filter(split="gen")["name"])
    assert open_run(tmp_path / "runs" / "from-grammar").summary["steps"] == 9
    assert "t_parseval" in set(open_run(tmp_path / "runs" / "from-grammar").metrics["name"])
    sweep = open_sweep(tmp_path / "runs" / "reflexives")
    assert sweep.table.select("model.depth", "seed").rows() == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert sweep.table["hierarchical"].null_count() == 0
    assert (sweep.path / "figures" / "model-depth.png").stat().st_size > 10_000
    for page in ("reflexive.html", "reflexives.html"):
        assert (tmp_path / page).stat().st_size > 10_000
    text = (tmp_path / "reflexives.html").read_text()
    for shown in ("<b>Learning curves</b>", "answers by the linear rule", "Settings of all runs"):
        assert shown in text
    assert "linear" in str(sweep.plot().to_dict())
    assert main(["measure", "runs/reflexives", "--measures", "norms"]) == 0
    assert main(["export", "runs/reflexives", "--out", "all.csv"]) == 0
    header = (tmp_path / "all.csv").read_text().partition("\n")[0]
    assert header == "run,model.depth,step,member,split,name,value"
    assert set(sweep.metrics.filter(name="weight_norm")["model.depth"]) == {1, 2}


def test_both_definitions_say_the_same(tmp_path: Path) -> None:
    """What the text files hold is what the grammar's rule makes of their sources, gold trees included."""
    (tmp_path / "r.gr").write_text(dict(FILES)["reflexive.gr"], encoding="utf-8")
    for name, text in FILES[:3]:
        (tmp_path / Path(name).name).write_text(text, encoding="utf-8")
    written, read = load_task("grammar", grammar=tmp_path / "r.gr"), load_task("files", data_dir=tmp_path)
    made = {s.source: s for split in written.splits.values() for s in split}
    common = [s for split in read.splits.values() for s in split if s.source in made]
    assert common
    for sentence in common:
        assert sentence.target == made[sentence.source].target
    for sentence in read.splits["gen"]:
        contrast = read.scorer.contrast(sentence)
        assert {contrast.hierarchical, contrast.linear} == {"itself", "themselves"}
