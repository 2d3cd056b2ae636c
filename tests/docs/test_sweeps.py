"""The page on sweeps does what it says: its files are read, its commands run, at a small size."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from auxin.cli import main
from auxin.lab.sweep_file import read_sweep

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
FILES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SMALL = {
    "steps = 2000": "steps = 4\ntrain_size = 100\neval_size = 4\nfinal_size = 4\nlog_every = 2",
    '"model.width" = 32': '"model.width" = 8\n"model.heads" = 1',
    "[0, 1, 2]": "[0]",
    "[2, 4, 8]": "[1, 2]",
    "points = 3": "points = 2",
}


def test_files_are_read_and_commands_give_one_sweep_however_it_is_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = FILES[0]
    for large, small in SMALL.items():
        assert large in text
        text = text.replace(large, small)
    (tmp_path / "sweep.toml").write_text(text)
    assert len(COMMANDS) == 8
    for command in COMMANDS:
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    for task in (1, 2):
        environment = os.environ | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "SWEEP": "sweep.toml", "OUT": "runs/array", "SLURM_CPUS_PER_TASK": "1",
            "SLURM_ARRAY_TASK_ID": str(task), "PARTS": "2",
        }  # fmt: skip
        subprocess.run(
            ["sh", str(ROOT / "examples" / "slurm.sh")], env=environment, check=True, capture_output=True
        )
    whole = (tmp_path / "runs" / "sweep" / "table.csv").read_bytes()
    assert (tmp_path / "runs" / "array" / "table.csv").read_bytes() == whole
    assert whole.count(b"\n") == 5


def test_the_sweeps_of_architectures_are_read(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(FILES[1])
    (tmp_path / "architectures").symlink_to(ROOT / "examples" / "architectures")
    assert len(read_sweep(tmp_path / "sweep.toml").runs) == 6
    every = sorted((ROOT / "examples" / "architectures").glob("*.toml"))
    assert len(every) == 5
    (tmp_path / "all.toml").write_text(
        f'preset = "laptop"\n[axes]\nmodel = {[str(path) for path in every]}\n'
    )
    models = [run.config.model for run in read_sweep(tmp_path / "all.toml").runs]
    assert {(model.depth, model.width, model.heads) for model in models} == {(24, 64, 4)}
    assert len({model.network() for model in models}) == 5
