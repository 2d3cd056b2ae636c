"""The stories of docs/check.md and the examples run, and print what is written there."""

import os
import re
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e-?\d+)?")
BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)
MARK = "=== next ==="


def stories() -> dict[str, list[tuple[str, str]]]:
    """By heading: the blocks of code with what is printed under them."""
    found: dict[str, list[tuple[str, str]]] = {}
    for section in (ROOT / "docs/check.md").read_text(encoding="utf-8").split("\n## "):
        blocks = BLOCK.findall(section)
        code = [
            (content, blocks[i + 1][1] if i + 1 < len(blocks) and blocks[i + 1][0] == "text" else "")
            for i, (kind, content) in enumerate(blocks)
            if kind == "python"
        ]
        if code:
            found[section.split("\n")[0].removeprefix("# ")] = code
    return found


@pytest.mark.parametrize("title", stories())
def test_a_story_prints_what_is_written(
    title: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = stories()[title]
    script = tmp_path / "story.py"
    script.write_text(f"\nprint({MARK!r})\n".join(code for code, _ in blocks), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        runpy.run_path(str(script))
    printed = capsys.readouterr().out.split(f"{MARK}\n")
    for (_, expected), found in zip(blocks, printed, strict=True):
        assert NUMBER.sub("#", found.strip()).split() == NUMBER.sub("#", expected.strip()).split()
        pairs = zip(NUMBER.findall(found), NUMBER.findall(expected), strict=True)
        numbers = [(float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs]
        for a, b in numbers:  # other processors round otherwise
            assert a == pytest.approx(b, rel=0.05, abs=0.01)


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
