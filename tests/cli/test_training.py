"""Runs from the command line: train, stop, go on, measure, demo."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
import torch

from auxin.cli import main
from auxin.cli.options import Result
from auxin.cli.train import TrainOptions
from auxin.config import preset
from auxin.models.transformer import TransformerLM
from auxin.runs import open_run

NOUNS, VERBS = ("newt", "raven", "yak", "walrus"), ("read", "smile", "sleep", "swim")


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Options of a run that takes a moment: 16 sentences of published form."""
    pairs = [(noun, verb) for noun in NOUNS for verb in VERBS]
    plain = [f"the {n} does {v} . quest\tdoes the {n} {v} ?" for n, v in pairs]
    nested = [
        f"the {n} who doesn't {v} does {v} . quest\tdoes the {n} who doesn't {v} {v} ?" for n, v in pairs
    ]
    directory = tmp_path / "data"
    directory.mkdir()
    for split in ("train", "dev", "test", "gen"):
        lines = nested if split == "gen" else plain
        (directory / f"question.{split}").write_text("\n".join(lines) + "\n")
    sizes = {"depth": 1, "width": 16, "heads": 2, "feedforward": 16}
    model = [word for name, size in sizes.items() for word in (f"--model.{name}", str(size))]
    return ["--data-dir", str(directory), "--batch-size", "4", "--log-every", "2", "--threads", "1", *model]


def test_a_run_is_trained_drawn_measured_and_not_repeated(
    tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x"
    command = ["train", "--out", str(out), "--steps", "4", "--seeds", "0", "1", *tiny]
    assert main([*command, "--json"]) == 0
    printed, progress = capsys.readouterr()
    found = json.loads(printed)
    assert [member["member"] for member in found["members"]] == [0, 1]
    assert set(found["accuracy"]) == {"val", "test", "gen"}
    assert all(Path(path).stat().st_size > 0 for path in found["figures"])
    assert "step 4/4" in progress
    before = (out / "metrics.jsonl").read_bytes()
    assert main(command) == 0
    printed, progress = capsys.readouterr()
    assert "early stop" in printed
    assert str(out / "learning-curves.png") in printed
    assert progress == ""
    assert (out / "metrics.jsonl").read_bytes() == before

    assert main(["train", "--out", str(out)]) == 0  # the directory says the rest
    assert "early stop" in capsys.readouterr().out
    assert main(["train", "--out", str(out), "--preset", "laptop"]) == 1
    assert "holds another run" in capsys.readouterr().err

    assert main(["train", "--out", str(out), "--steps", "5", *tiny]) == 1
    assert capsys.readouterr().err == f"auxin train: {out}: holds another run (steps is 4 there, 5 here)\n"

    assert main(["measure", str(out), "--checkpoint", "4", "--measures", "norms", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["measures"]
    assert [row["step"] for row in measured] == [4]
    assert measured[0]["weight_norm"] > 0
    assert main(["measure", str(out), "--measures", "norms", "projection", "--sentences", "5"]) == 0
    printed = capsys.readouterr().out
    assert "t_parseval without a model: balanced" in printed
    assert str(out / "dynamics.png") in printed

    assert main(["trees", str(out), "--index", "1", "--member", "1", "--json"]) == 0
    trees = json.loads(capsys.readouterr().out)["trees"]
    assert list(trees) == ["step 0", "step 1", "step 2", "step 4", "gold"]
    assert trees["gold"] == "(((the newt) (who (doesn't smile))) (does smile))"
    page = tmp_path / "report.html"
    assert main(["report", str(out), "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert re.search(r'aria-label="step 4: \(.*newt', page.read_text())
    assert main(["trees", str(out), "--index", "16"]) == 1
    assert capsys.readouterr().err == "auxin trees: index is 16; allowed: 0 to 15\n"


def after_warnings(lines: IO[str]) -> str:
    """The first line that is none of the warnings about these few sentences."""
    return next(line for line in lines if not line.startswith("warning: "))


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path, tiny: list[str]) -> None:
    out = tmp_path / "x"
    command = [sys.executable, "-m", "auxin", "train", "--out", str(out), "--steps", "3000", *tiny]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert after_warnings(process.stderr).startswith("step 0/3000")
    process.stderr.readline()
    os.kill(process.pid, signal.SIGINT)
    lines = process.stderr.read().splitlines()
    assert process.wait() == 130
    step = open_run(out).checkpoints[-1].step
    wanted = f"auxin train: stopped at step {step} and saved; the same command with --out {out} goes on"
    assert lines[-1].startswith(wanted)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first = after_warnings(process.stderr)
    process.terminate()
    process.stderr.read()
    assert process.wait(timeout=10) == 143
    assert int(first.split()[1].partition("/")[0]) > step


def test_the_demo_is_the_laptop_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import auxin.cli.train
    import auxin.experiment.train

    calls = []
    monkeypatch.setattr(
        auxin.experiment.train, "train", lambda *call, **options: calls.append((call, options))
    )
    monkeypatch.setattr(auxin.cli.train, "summarized", lambda run: Result({}, ""))
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    assert calls == [((preset("laptop"), tmp_path / "demo"), {"progress": True})]


@pytest.mark.parametrize("name", ["qwen3", "pythia"])
def test_a_published_architecture_is_trained_measured_and_reported(
    tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "x"
    command = ["train", "--preset", name, "--out", str(out), "--steps", "4", *tiny]
    measures = ["norms", "entropy", "projection"]
    assert main([*command, "--measures", *measures, "--model.depth", "2"]) == 0, capsys.readouterr().err
    run = open_run(out)
    assert run.config.model.layers == preset(name).model.layers
    found = set(run.metrics["name"])
    assert {"loss", "accuracy", "weight_norm/norms", "attention_sparsity/1/1", "t_score"} <= found
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0, capsys.readouterr().err


def test_an_encoder_is_not_trained_to_predict_the_next_token(
    tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x"
    assert main(["train", "--preset", "bert-encoder", "--out", str(out), "--steps", "4", *tiny]) == 1
    said = capsys.readouterr().err
    assert (
        said.strip()
        == "auxin train: model.causal is False; allowed: true, where the next token is what is learned"
    )
    assert not (out / "config.toml").exists()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("[}", r"--model\.layers: .*JSON"),
        ('[{"sublayers": [{"body": {"part": "conv"}}]}]', "part of body is 'conv'; allowed: attention, mlp"),
    ],
)
def test_layers_are_typed_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layers: str, message: str
) -> None:
    assert main(["train", "--out", str(tmp_path / "x"), "--model.layers", layers]) == 2
    said = capsys.readouterr().err
    assert re.search(message, " ".join(re.sub("[^ -~]", " ", said).split()))  # without tyro's box


def test_a_described_layer_is_typed_with_its_commas() -> None:
    layers = '[{"sublayers": [{"body": {"part": "attention", "window": 3}, "skip": 0.5}]}]'
    config = TrainOptions.parse("auxin train", ["--out", "nowhere", "--model.layers", layers]).config
    assert config.model.layers[0].sublayers[0].skip == 0.5


def test_a_run_is_exported_for_transformers(
    tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    out, folder = tmp_path / "x", tmp_path / "hf"
    sizes = ["--steps", "4", "--checkpoint-every", "2", "--seeds", "3", "1"]
    assert main(["train", "--out", str(out), *sizes, *tiny]) == 0
    capsys.readouterr()
    assert main(["export", str(out), "--hf", str(folder), "--checkpoint", "2", "--member", "1"]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    run = open_run(out)
    ours = TransformerLM.from_pretrained({c.step: c for c in run.checkpoints}[2].members[1])
    tokens = tokenizer("the newt does read . quest", return_tensors="pt")["input_ids"]
    torch.testing.assert_close(model(tokens).logits, ours(tokens).logits, atol=1e-5, rtol=1e-5)
    assert main(["check", str(folder), "--n-tokens", "8"]) in (0, 3)
    assert "layer" in capsys.readouterr().out
    assert main(["trees", "--model", str(folder), "--sentence", "the newt does read"]) == 0
    assert "newt" in capsys.readouterr().out
    assert main(["trees", "--model", str(folder), "--sentence", "the zebra"]) == 1
    assert "'zebra' cannot be encoded" in capsys.readouterr().err
    assert main(["export", str(out), "--hf", str(folder), "--checkpoint", "5"]) == 1
    assert "checkpoint is 5; allowed: 0, 2, 4" in capsys.readouterr().err
