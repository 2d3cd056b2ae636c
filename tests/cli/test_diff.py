"""The verb diff: sources, exit status, JSON."""

import json
from pathlib import Path

import pytest

from auxin.cli import main
from probes import models

SOURCE = """
import torch
from torch import nn

def build(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64), 2, enable_nested_tensor=False)
    with torch.no_grad():
        model.layers[1].linear2.weight.mul_(scale)
    return model

def scaled() -> nn.Module:
    return build(3.0)
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "encoder.py"
    path.write_text(SOURCE)
    return str(path)


def test_the_status_says_whether_something_differs(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", f"{source}:build", f"{source}:build", "--n-tokens", "8"]) == 0
    assert capsys.readouterr().out.startswith("Nothing differs beyond chance.\n")
    assert main(["diff", f"{source}:build", f"{source}:scaled", "--n-tokens", "8", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["findings"][0].startswith("layers.1.linear2.weight has other entries: 3 times the size")
    assert not found["ok"]
    (scaled,) = [row for row in found["tensors"] if row["difference"] or not row["same"]]
    assert (scaled["name"], scaled["layer"]) == ("layers.1.linear2.weight", 1)


def test_weights_in_a_directory_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = models.build("llama")
    model.save_pretrained(tmp_path / "a")  # pyright: ignore
    model.model.layers[0].mlp.up_proj.weight.data *= 1.5  # pyright: ignore
    model.save_pretrained(tmp_path / "b")  # pyright: ignore
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b"), "--n-tokens", "16"]) == 3
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(
        "model.layers.0.mlp.up_proj.weight has other entries: 1.5 times the size in the second."
    )


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("nothing.py:build", "nothing.py is no file; allowed: a Python file, or the name of a module"),
        ("absent.json", "absent.json cannot be read: No such file or directory; allowed: a config.json"),
    ],
)
def test_a_source_that_is_not_there_is_a_bad_argument(
    source: str, second: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", f"{source}:build", second]) == 2
    assert capsys.readouterr().err == f"auxin diff: {message}; see auxin diff --help\n"
