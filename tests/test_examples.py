"""The examples run, and find what they should."""

import os
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["check_huggingface.py"])
    with torch.random.fork_rng(devices=[]), pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "examples/check_huggingface.py"), run_name="__main__")
    assert stopped.value.code == 3
    assert "transformer.h.0.mlp.c_proj" in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["check.html"]
    example = runpy.run_path(str(ROOT / "examples/test_my_model.py"))
    with torch.random.fork_rng(devices=[]):
        example["test_the_start_is_healthy"](2)
        example["test_tokens_stay_apart_over_depth"]()
