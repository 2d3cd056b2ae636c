from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from auxin.config import ModelConfig, RunConfig
from auxin.errors import CheckpointError, ConfigError, RunError
from auxin.experiment import measure as module
from auxin.experiment.measure import measure
from auxin.measures.structure import measured_sentences, structure
from auxin.models.formats import model_bytes
from auxin.models.transformer import TransformerLM
from auxin.runs import RunDirectory, open_run
from auxin.tasks import load_task

LINES = [
    "the newt does read . quest\tdoes the newt read ?",
    "the newts do admire my yak who does sleep . quest\tdo the newts admire my yak who does sleep ?",
    "her yak near the newts doesn't read . quest\tdoesn't her yak near the newts read ?",
]
STEPS, SEEDS = (0, 10), (3, 7)


def make_run(tmp_path: Path, vocabulary_size: int | None = None, **settings: Any) -> Path:
    """A run of two members with untrained weights at two steps."""
    (tmp_path / "question.train").write_text("\n".join(LINES) + "\n")
    size = vocabulary_size or len(load_task("question", data_dir=tmp_path).vocabulary)
    model = ModelConfig(depth=2, width=16, heads=2, vocabulary_size=size)
    config = RunConfig(data_dir=str(tmp_path), model=model, seeds=SEEDS, steps=10, **settings)
    with RunDirectory(tmp_path / "run", config) as run:
        for step in STEPS:
            weights = {}
            for seed in SEEDS:
                lm = TransformerLM(model, torch.Generator().manual_seed(seed + step))
                weights[seed] = model_bytes(lm.state_dict(), model)
            run.save_checkpoint(step, weights, save({}), {})
    return tmp_path / "run"


def test_measures_of_every_checkpoint_and_member_join_the_metrics(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    table = measure(path).metrics
    assert set(table["split"]) == {"train"}
    task = load_task("question", data_dir=tmp_path)
    sentences = measured_sentences(task, 10)
    for checkpoint in open_run(path).checkpoints:
        for seed, file in checkpoint.members.items():
            expected = structure(TransformerLM.from_pretrained(file), sentences, task.vocabulary)
            rows = table.filter((table["step"] == checkpoint.step) & (table["member"] == seed))
            assert dict(rows.select("name", "value").iter_rows()) == expected
    assert len(table) == len(STEPS) * len(SEEDS) * len(expected)


def test_only_what_is_missing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run(tmp_path)
    calls: list[tuple[str, ...]] = []

    def counted(*arguments: object) -> dict[str, float]:
        calls.append(tuple(arguments[3]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return structure(*arguments)

    monkeypatch.setattr(module, "structure", counted)
    measure(path, [10], measures=["norms"])
    assert calls == [("norms",)] * 2
    with pytest.raises(KeyboardInterrupt):
        measure(path)
    assert calls[2:] == [("norms", "entropy", "projection")] * 2
    del calls[:]
    calls += [()] * 4
    table = measure(path).metrics
    assert calls[4:] == [("norms", "entropy", "projection"), *[("entropy", "projection")] * 2]
    measure(path)
    assert len(calls) == 7
    fewer = measure(path, [0], measures=["norms", "projection"], sentences=2).metrics
    assert calls[7:] == [("projection",)] * 2
    counts = fewer.filter((fewer["name"] == "projection_sentences") & (fewer["step"] == 0))
    assert counts["value"].to_list() == [2, 2]
    assert len(fewer) == len(table)


def test_products_and_threads_are_those_of_the_run_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(tmp_path, precision="bfloat16", threads=3)
    found = lambda: (torch.backends.cuda.matmul.allow_tf32, torch.get_num_threads())
    before, inside = found(), set()
    monkeypatch.setattr(module, "structure", lambda *_: inside.add(found()) or {"x": 1.0})
    measure(path, measures=["entropy"])
    assert inside == {(True, 3)}
    assert found() == before != (True, 3)


def test_a_run_of_a_gpu_that_is_not_here_is_measured_on_another_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for count, devices in ((0, ["cpu"] * 3), (1, ["cpu", "cuda", "cuda"]), (4, ["cpu", "cuda", "cuda:3"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert [module._device(wanted) for wanted in ("cpu", "cuda", "cuda:3")] == devices


def test_progress_is_shown_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    measure(make_run(tmp_path), [10], progress=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "6/6 sentences" in shown.err


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    with pytest.raises(RunError, match="no checkpoint of step 5; there are 0, 10"):
        measure(path, [5])
    with pytest.raises(ConfigError, match=r"measures is .'norm',.; allowed: norms"):
        measure(path, measures=["norm"])
    with pytest.raises(ConfigError, match="sentences is -1"):
        measure(path, sentences=-1)
    with pytest.raises(RunError, match="no such directory"):
        measure(tmp_path / "nothing")
    file = path / "checkpoints" / "step-000000010" / "member-7.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"member-7\.safetensors: damaged"):
        measure(path, measures=["norms"])
    assert len(open_run(path).metrics.filter(open_run(path).metrics["name"] == "weight_norm")) == 3
