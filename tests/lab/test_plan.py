"""What a study costs: counted as it will be, calibrated by real steps, refused where it cannot fit."""

import dataclasses
import gc
from collections import namedtuple
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from auxin.config import ModelConfig, PresetName, RunConfig, preset
from auxin.errors import ConfigError
from auxin.lab import plan as module
from auxin.lab.places import Owner
from auxin.lab.plan import (
    check_fits,
    lengths,
    parameters,
    plan,
    run_disk,
    run_memory,
    step_flops,
    step_time,
)
from auxin.lab.session import Session
from auxin.models.batch import lay_out
from auxin.models.dropout import HashedDropout
from auxin.models.fast.ensemble import FastEnsemble as Ensemble
from auxin.models.transformer import TransformerLM
from auxin.studies.conduct import runs_of
from auxin.studies.design import StudyName
from auxin.tasks import load_task
from auxin.training.loop import Trainer
from auxin.training.optimizer import milestones
from auxin.training.steps import padded_size
from lab.sweeps import tiny

MODEL = ModelConfig(vocabulary_size=100)


def test_a_plan_counts_runs_models_and_steps(tmp_path: Path) -> None:
    runs = [tiny("a"), tiny("b", steps=50)]
    found = plan(runs, tmp_path / "not" / "yet", workers=2)
    assert (found.runs, found.members, found.steps, found.workers, found.device) == (2, 2, 80, 2, "CPU")
    assert found.flops > sum(step_flops(run.config) * run.config.steps for run in runs)
    assert 0 < found.hours < 0.1
    assert not (tmp_path / "not").exists()
    assert plan([], tmp_path, workers=1).hours == 0


PAPER = Owner("depth", "paper")


def test_finished_runs_cost_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auxin.lab.places.has_finished", lambda config, path, data: True)
    assert Session(tmp_path).plan(runs_of("depth", "paper"), PAPER).runs == 0


def test_the_published_sweep_is_planned_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_time_step", lambda config, threads: 1e-12 * step_flops(config))
    monkeypatch.setattr(module, "free_memory", lambda device: 1e12)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(1e12))
    found = Session(tmp_path, workers=1).plan(runs_of("depth", "paper"), PAPER)
    assert (found.runs, found.members, found.steps) == (10, 100, 3_000_000)
    assert found.hours == pytest.approx(found.flops / 1e12 / 3600, rel=0.01)  # at 1 TFLOP/s


@pytest.mark.parametrize("name", ["laptop", "llama", "qwen3"])
def test_flops_are_about_those_that_torch_counts(name: PresetName) -> None:
    config = dataclasses.replace(preset(name), seeds=(0, 1))
    length, model = lengths(config)[0], dataclasses.replace(config.model, vocabulary_size=100)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        TransformerLM(model).eval()(torch.zeros(2 * config.batch_size, length, dtype=torch.int64))
    assert step_flops(config) == pytest.approx(3 * counter.get_total_flops(), rel=0.1)


def test_lengths_are_those_of_the_tasks() -> None:
    for name in ("question", "tense", "dyck"):
        length, longest = module.lengths(RunConfig(task=name))
        lengths = np.array([len(text) - 1 for text in load_task(name, train_size=5000).encoded("train")])
        assert lengths.mean() == pytest.approx(length, rel=0.2)
        assert 0.5 * longest < lengths.max() <= longest


def test_lengths_of_other_tasks_are_found_from_their_data(tmp_path: Path) -> None:
    for split in ("train", "val", "gen"):
        (tmp_path / f"{split}.tsv").write_text("a b c\td\na\td\n")
    config = RunConfig(task="files", data_dir=str(tmp_path))
    assert module.lengths(config) == (4, 5)
    (tmp_path / "train.tsv").unlink()
    assert module.lengths(dataclasses.replace(config, seeds=(1,))) == (4, 5)  # the same data are read once


def test_milestones_are_counted_as_they_are_listed() -> None:
    for steps in (1, 7, 100, 1001):
        for every in (0, 1, 3, 100, 5000):
            assert module._milestones(steps, every, 0.05) == len(milestones(steps, every, 0.05))


def test_parameters_are_those_of_the_model() -> None:
    assert parameters(MODEL) == Ensemble(MODEL, (0,)).flat.shape[1]


def test_checkpoints_take_the_planned_disk(tmp_path: Path) -> None:
    from auxin.experiment.train import train

    run = tiny("a", steps=10)
    run = dataclasses.replace(
        run, config=dataclasses.replace(run.config, model=dataclasses.replace(run.config.model, width=64))
    )
    train(run.config, tmp_path / "run")
    used = sum(file.stat().st_size for file in (tmp_path / "run").rglob("*.safetensors"))
    assert run_disk(run.config) == pytest.approx(used, rel=0.1)


def test_memory_grows_with_members_batch_and_depth() -> None:
    base = RunConfig(model=MODEL)
    for bigger in ({"seeds": (0, 1)}, {"batch_size": 64}, {"model": dataclasses.replace(MODEL, depth=8)}):
        assert run_memory(dataclasses.replace(base, **bigger)) > run_memory(base)
    weights = 4 * parameters(MODEL)
    assert run_memory(dataclasses.replace(base, batch_size=1)) > module.PROCESS + 9 * weights


def tensor_memory() -> dict[int, int]:
    """Bytes of every block of memory that some tensor of the process is a view of."""
    tensors = [x for x in gc.get_objects() if type(x) is torch.Tensor and x.device.type == "cpu"]
    return {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}


def test_a_gpu_run_has_room_for_the_longest_batch_of_all_members() -> None:
    """What a backward pass needs takes between half and all of the planned activations."""
    config = RunConfig(model=dataclasses.replace(MODEL, vocabulary_size=100), batch_size=8, seeds=(0, 1))
    mean, longest = module.lengths(config)
    longest = padded_size(longest)
    shape = (padded_size(mean * 8 + 7 * longest // 4), longest)
    starts, sizes = torch.arange(16).view(2, 8) * (mean + 1), torch.full((2, 8), mean)
    batch = lay_out(torch.zeros(400, dtype=torch.int64), starts, sizes, shape)
    ensemble, step = Ensemble(config.model, config.seeds), torch.tensor(0)
    before = tensor_memory()
    with torch.inference_mode():
        kept = ensemble.forward(batch, HashedDropout(config.model, config.seeds).masks(batch, step))
        held = sum(tensor_memory().values()) - sum(before.values())
    del kept
    weights = 4 * 9 * 2 * parameters(config.model)
    planned = run_memory(dataclasses.replace(config, device="cuda")) - module.PROCESS - weights
    assert planned / 2 < held < planned


def test_what_cannot_fit_is_refused_in_a_line(tmp_path: Path) -> None:
    huge = tiny("huge")
    model = dataclasses.replace(huge.config.model, width=16_384, depth=30)
    huge = dataclasses.replace(huge, config=dataclasses.replace(huge.config, model=model))
    with pytest.raises(ConfigError, match=r"memory needed is [\d.]+ GB; allowed: the [\d.]+ GB free here"):
        check_fits([huge], tmp_path, 1)
    many = [
        dataclasses.replace(
            tiny("x"), config=dataclasses.replace(tiny("x").config, checkpoint_every=1, steps=10**8)
        )
    ]
    with pytest.raises(ConfigError, match=r"disk needed is .* \(another --out\?\)"):
        check_fits(many, tmp_path, 1)


def test_what_fits_on_each_gpu_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two GPUs, where the fuller one has room for a run and a half."""
    run = tiny("a", device="cuda")
    size = run_memory(run.config)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: ((3 - gpu) * 0.75 * size, 10 * size))
    assert check_fits([run] * 4, tmp_path, 2)[0] == 2 * size
    with pytest.raises(ConfigError, match="memory needed is"):
        check_fits([run] * 4, tmp_path, 3)


def test_steps_are_timed_on_a_line_through_two_measurements() -> None:
    seconds = step_time((1.0, 10.0), (3.0, 30.0))
    assert [seconds(x) for x in (1.0, 2.0, 3.0)] == [10, 20, 30]
    assert step_time((1.0, 10.0), (1.0, 12.0))(1.0) == 10
    assert step_time((1.0, 10.0), (2.0, 5.0))(2.0) == 10  # noise cannot make more work take less time


def test_a_step_is_timed_with_the_real_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    step = Trainer.step

    def counted(self: Trainer):
        steps.append(self.count)
        return step(self)

    monkeypatch.setattr(Trainer, "step", counted)
    before = torch.get_num_threads()
    assert 0 < module._time_step(tiny("a").config, 1, seconds=0.01) < 1
    assert steps[:2] == [0, 1]
    module._timed_steps([tiny("a").config], 1)
    assert torch.get_num_threads() == before


def test_every_study_has_valid_runs_at_every_scale() -> None:
    for name in get_args(StudyName):
        for scale in ("minutes", "laptop", "paper"):
            runs = runs_of(name, scale)
            assert len({run.name for run in runs}) == len(runs)
            assert len({tuple(run.settings) for run in runs}) == 1, "the same columns for every run"
            if scale != "paper":
                assert {run.config.threads for run in runs} == {1}, "numbers must not depend on the workers"


def test_unknown_studies_and_scales_are_named() -> None:
    with pytest.raises(ConfigError, match="study is 'width'; allowed: grokking, depth"):
        runs_of("width", "minutes")
    with pytest.raises(ConfigError, match="scale is 'huge'; allowed: minutes, laptop, paper"):
        runs_of("depth", "huge")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["laptop", "llama"])
def test_what_a_deep_model_costs_follows_from_shallow_ones(name: PresetName) -> None:
    model = dataclasses.replace(preset(name).model, depth=7, width=64, vocabulary_size=50, branch_scale=1.0)
    assert parameters(model) == sum(p.numel() for p in TransformerLM(model).parameters())
