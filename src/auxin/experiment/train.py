"""Train the stack of a config and log it into a run's directory; stop and resume at any step."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from safetensors.torch import load, save

from auxin.config import RunConfig
from auxin.errors import CheckpointError, ConfigError, Interrupted
from auxin.experiment.progress import TrainingProgress
from auxin.measures.accuracy import Evaluator
from auxin.measures.structure import measured_sentences, structure
from auxin.models.formats import model_bytes
from auxin.runs import Metric, Run, RunDirectory, open_run
from auxin.tasks import Task, load_task
from auxin.training.loop import StepResult, Trainer
from auxin.training.precision import float32_products
from auxin.training.schedule import learning_rate, milestones

MEASURED_SENTENCES = 1000  # of the structural measures taken during training


def train(config: RunConfig, out: str | Path, *, progress: bool = False) -> Run:
    """Train every member of ``config`` to its last step and return the run in ``out``.

    An unfinished run of the same config is resumed bit for bit, a finished one is returned as it is. There is no
    early stopping. Ctrl-C and SIGTERM finish the step, save, and raise ``Interrupted``. Raises ``RunError`` for a
    directory that holds something else, ``ConfigError`` and ``DataError`` for what cannot be trained.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is {config.device!r}; allowed here: cpu (this machine has no CUDA device)")
    task = load_task(
        config.task, seed=config.data_seed, train_size=config.train_size, data_dir=config.data_dir
    )
    config = settled(config, task)
    with RunDirectory.open(out, config) as directory:
        if not directory.finished:
            precision = float32_products(config.precision)  # of evaluations; a trainer sees to its own
            with precision, TrainingProgress(config, enabled=progress) as bar, _signals() as caught:
                for warning in directory.warnings:
                    bar.warn(warning)
                _Session(directory, config, task, bar).run(caught)
    return open_run(out)


def settled(config: RunConfig, task: Task) -> RunConfig:
    """The config with the vocabulary size that the task has, refusing one that contradicts it."""
    size = config.model.vocabulary_size or len(task.vocabulary)
    if size != len(task.vocabulary):
        raise ConfigError(
            f"model.vocabulary_size is {size}; allowed for task {task.name}: 0 or {len(task.vocabulary)}"
        )
    return dataclasses.replace(config, model=dataclasses.replace(config.model, vocabulary_size=size))


class _Session:
    """One process's part in a run: from the step where the directory stands to the last, or to a signal."""

    def __init__(self, run: RunDirectory, config: RunConfig, task: Task, bar: TrainingProgress) -> None:
        self.run_directory, self.config, self.bar = run, config, bar
        encoded = task.encoded("train")
        sequences = np.split(encoded.tokens, encoded.offsets[1:-1])
        self.trainer = Trainer(config, sequences)
        self.evaluators = {split: Evaluator(task, split, limit=config.eval_size) for split in ("val", "gen")}
        self.task = task
        self.log_steps = frozenset(milestones(config.steps, config.log_every, 0.01))
        self.kept_steps = frozenset(milestones(config.steps, config.checkpoint_every, 0.05))
        self.loss_sums, self.loss_count = np.zeros(len(config.seeds)), 0

    def run(self, caught: list[int]) -> None:
        self._resume()
        trainer, config = self.trainer, self.config
        if trainer.count == 0:
            self._log(None)
            self._save(keep=True)
        while trainer.count < config.steps:
            result = trainer.step()
            self.loss_sums += result.losses.double().cpu().numpy()
            self.loss_count += 1
            self.bar.advance(trainer.count, result.tokens)
            if trainer.count in self.log_steps:
                self._log(result)
            kept = trainer.count in self.kept_steps
            if kept or caught:
                self._save(keep=kept)
            if caught and trainer.count < config.steps:
                self.run_directory.log(f"stopped by signal {caught[0]} at step {trainer.count}")
                raise Interrupted(trainer.count, caught[0], str(self.run_directory.path))
        self._finish()

    def _resume(self) -> None:
        saved = self.run_directory.latest_state()
        if saved is None:
            return
        try:
            weights = {seed: load(content) for seed, content in saved.members.items()}
            frozen = {int(seed): step for seed, step in saved.info["frozen"].items()}
            state = load(saved.state)
            self.trainer.restore(saved.step, weights, state, frozen)
            self.loss_sums = state["loss_sums"].numpy().copy()
            self.loss_count = saved.info["loss_count"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.run_directory.path}: step {saved.step} cannot be resumed: {error}"
            ) from None
        self.bar.advance(saved.step, 0)

    def _log(self, result: StepResult | None) -> None:
        """Append this step's training numbers (after step 0) and accuracies of every member."""
        step, config = self.trainer.count, self.config
        rows: list[Metric] = []
        for m, seed in enumerate(config.seeds):
            if result is not None:
                values = {
                    "loss": self.loss_sums[m] / self.loss_count,
                    "gradient_norm": float(result.gradient_norms[m]),
                    "learning_rate": learning_rate(config.optimizer, step - 1, config.steps),
                }
                rows += [Metric(step, seed, "train", name, value) for name, value in values.items()]
            model = self.trainer.ensemble.member(m)
            for split, evaluate in self.evaluators.items():
                rows += [Metric(step, seed, split, name, value) for name, value in evaluate(model).items()]
        self.loss_sums[:], self.loss_count = 0.0, 0
        self.run_directory.append_metrics(rows)
        self.bar.show(rows)

    def _save(self, keep: bool) -> None:
        """Write a checkpoint; of those that stay, the structural measures first."""
        trainer, config = self.trainer, self.config
        if keep and config.measures:
            self._measure()
        members = {
            seed: model_bytes({n: v[m] for n, v in trainer.ensemble.parameters.items()}, config.model)
            for m, seed in enumerate(config.seeds)
        }
        info = {
            "frozen": {str(seed): step for seed, step in trainer.frozen.items()},
            "loss_count": self.loss_count,
        }
        state = trainer.state() | {"loss_sums": torch.from_numpy(self.loss_sums)}
        self.run_directory.save_checkpoint(trainer.count, members, save(state), info, keep)

    def _measure(self) -> None:
        sentences = measured_sentences(self.task.splits["train"], MEASURED_SENTENCES)
        rows: list[Metric] = []
        for m, seed in enumerate(self.config.seeds):
            model = self.trainer.ensemble.member(m)
            values = structure(model, sentences, self.task.vocabulary, self.config.measures)
            rows += [Metric(self.trainer.count, seed, "train", name, value) for name, value in values.items()]
        self.run_directory.append_metrics(rows)

    def _finish(self) -> None:
        """Score every held-out split once, for the summary."""
        accuracy: dict[str, dict[str, float]] = {}
        for split in sorted(set(self.task.splits) - {"train"}):
            evaluate = Evaluator(self.task, split, limit=self.config.final_size or None)
            accuracy[split] = {
                str(seed): evaluate(self.trainer.ensemble.member(m))["accuracy"]
                for m, seed in enumerate(self.config.seeds)
            }
        finite = {s: {k: v if math.isfinite(v) else None for k, v in a.items()} for s, a in accuracy.items()}
        frozen = {str(seed): step for seed, step in self.trainer.frozen.items()}
        self.run_directory.finish({"steps": self.trainer.count, "accuracy": finite, "frozen": frozen})


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one is delivered as usual."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for n, handler in before.items():
            signal.signal(n, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
