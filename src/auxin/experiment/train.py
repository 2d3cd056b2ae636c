"""Train the stack of a config and log it into a run's directory; stop and resume at any step."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load, save

from auxin.config import RunConfig
from auxin.errors import CheckpointError, ConfigError, Interrupted
from auxin.experiment.bars import TrainingProgress
from auxin.experiment.data import anchored
from auxin.experiment.signals import Signals, Stopped
from auxin.experiment.sinks import Sink, send, sending, sinks_of
from auxin.measures.accuracy import Evaluator
from auxin.measures.structure import measured_sentences, structure
from auxin.models.devices import check_device, on_threads
from auxin.models.formats import model_bytes
from auxin.probes.watch import Watch, watch
from auxin.runs import Metric, Run, RunDirectory, open_run
from auxin.runs.run import CHANGEABLE, is_finished
from auxin.tasks import Task
from auxin.tasks.files import problems
from auxin.training.batches import check_length
from auxin.training.loop import Trainer, float32_products
from auxin.training.optimizer import learning_rate, milestones
from auxin.values import changed, check, check_whole

MEASURED_SENTENCES = 1000  # of the structural measures taken during training


def train(
    config: RunConfig,
    out: str | Path,
    *,
    task: Task | None = None,
    progress: bool = False,
    tensorboard: str | Path | None = None,
    wandb: str | None = None,
    watched: int = 0,
) -> Run:
    """Train every member of ``config`` to its last step and return the run in ``out``.

    ``task`` is trained on instead of the config's, which then is named ``custom``; a run is resumed only with a task
    of the same sentences.

    An unfinished run of the same config is resumed bit for bit, a finished one is returned as it is. There is no
    early stopping. Ctrl-C and SIGTERM finish the step, save, and raise ``Interrupted``. Raises ``RunError`` for a
    directory that holds something else, ``ConfigError`` and ``DataError`` for what cannot be trained.

    ``tensorboard``, a directory, and ``wandb``, a project, get the metrics as they are written; docs/sinks.md. With
    ``watched`` each member is looked at every so many steps (``auxin.watch``): metrics of the split ``watch``, and
    alarms in the events.

    >>> tiny = ModelConfig(depth=1, width=8, heads=2)
    >>> config = RunConfig(train_size=40, steps=2, eval_size=2, final_size=2, model=tiny)
    >>> run = train(config, "run")
    >>> run.config.steps, run.checkpoints[-1].step
    (2, 2)
    """
    check_whole("watched", watched, 0, 10**9)
    return _train(config, out, task, progress, sinks_of(tensorboard, wandb), watched=watched)


def resume(
    path: str | Path | Run,
    *,
    steps: int = 0,
    stretch: bool = False,
    task: Task | None = None,
    progress: bool = False,
    tensorboard: str | Path | None = None,
    wandb: str | None = None,
    **changes: str | int,
) -> Run:
    """Go on with the run in ``path`` from its own config: to its last step, or to ``steps``, finished or not.

    A run that is extended gives the bits of one that was longer from the start; where its last step is none at which
    the longer one logs or keeps a checkpoint, those of that step are there in addition. ``changes`` are settings
    that don't change what is learned: threads, device, log_every, checkpoint_every, data_dir, grammar. A learning rate
    that decays to the end of the run depends on its length: extending such a run is refused unless ``stretch`` says
    that from here on the rate is to be the longer run's. ``task``, ``tensorboard``, ``wandb`` and what is raised are
    as in ``train``.

    >>> tiny = ModelConfig(depth=1, width=8, heads=2)
    >>> config = RunConfig(train_size=40, steps=2, eval_size=2, final_size=2, model=tiny)
    >>> run = train(config, "resumed")
    >>> resume("resumed", steps=4).checkpoints[-1].step
    4
    """
    path = Path(path)
    before = open_run(path).config
    for name in changes:
        check(name in CHANGEABLE, "setting to change", name, ", ".join(CHANGEABLE))
    steps = steps or before.steps
    check(steps >= before.steps, "steps", steps, f"{before.steps} (the run's) or more")
    config = changed(before, {"steps": steps, **changes})
    optimizer = config.optimizer
    decays = optimizer.schedule != "constant" and not optimizer.decay_steps
    if steps > before.steps and decays and not stretch:
        raise ConfigError(
            f"schedule is {optimizer.schedule!r} to the end of the run, and was one of {before.steps} steps; allowed: "
            f"stretch (--stretch), to go on at the rates of a run of {steps} steps, or a run of its own"
        )
    return _train(config, path, task, progress, sinks_of(tensorboard, wandb), extend=steps > before.steps)


def _train(
    config: RunConfig,
    out: str | Path,
    task: Task | None,
    progress: bool,
    sinks: Sequence[Sink],
    extend: bool = False,
    watched: int = 0,
) -> Run:
    check_device(config.device)
    with contextlib.ExitStack() as inside:
        inside.enter_context(on_threads(config.threads))
        if task:
            config = changed(config, {"task": "custom"})
        task = task or config.load_task()
        config = anchored(settled(config, task))
        # before the directory takes the config, which it keeps
        session = None if is_finished(out) and not extend else _Session(config, task)
        meanings = session.meanings if session else None
        directory = inside.enter_context(
            RunDirectory(out, config, task.sha256, accuracy=meanings, extend=extend)
        )
        run = open_run(out)
        if not session or directory.finished:
            send(run, sinks)
            return run
        inside.enter_context(float32_products(config.precision))  # of evaluations; a trainer sees to its own
        bar = inside.enter_context(TrainingProgress(config, enabled=progress))
        signals = inside.enter_context(Signals())
        for warning in (*directory.warnings, *([] if task.generated else problems(task.splits))):
            bar.warn(warning)
        if extend and not (config.log_every and config.checkpoint_every):
            bar.warn(
                f"automatic logs and checkpoints follow the schedule of {config.steps} steps from here on"
            )
        session.watched = watched
        session.run(directory, bar, signals, inside.enter_context(sending(run, sinks, bar.warn)))
    return open_run(out)


def settled(config: RunConfig, task: Task) -> RunConfig:
    """The config with the vocabulary size that the task has, refusing one that contradicts it."""
    size = config.model.vocabulary_size or len(task.vocabulary)
    if size != len(task.vocabulary):
        raise ConfigError(
            f"model.vocabulary_size is {size}; allowed for task {task.name}: 0 or {len(task.vocabulary)}"
        )
    return changed(config, {"model.vocabulary_size": size})


class _Session:
    """One process's part in a run: from the step where its directory stands to the last, or to a signal."""

    def __init__(self, config: RunConfig, task: Task) -> None:
        """Built whole, so that what cannot be trained and scored to the end is refused at the beginning."""
        self.config, self.task = config, task
        self.trainer = Trainer(config, task.encoded("train"))
        held_out = sorted(set(task.splits) - {"train"})
        self.evaluators = {split: Evaluator(task, split, limit=config.eval_size) for split in ("val", "gen")}
        self.meanings = {split: evaluator.meaning for split, evaluator in self.evaluators.items()}
        self.finals = {split: Evaluator(task, split, limit=config.final_size or None) for split in held_out}
        for split, evaluator in (*self.evaluators.items(), *self.finals.items()):
            longest = max(s.text.count(" ") + 2 for s in evaluator.sentences)  # with <bos>; <eos> is not read
            check_length(longest, f"sequence of {split} that is scored", config.model)
        self.log_steps = frozenset(milestones(config.steps, config.log_every, 0.01))
        self.kept_steps = frozenset(milestones(config.steps, config.checkpoint_every, 0.05))
        self.models = {seed: self.trainer.ensemble.member(m) for m, seed in enumerate(config.seeds)}
        # sums since the last log, on the device, which need not be waited for
        self.loss_sums = torch.zeros(len(config.seeds), dtype=torch.float64, device=config.device)
        self.loss_count = 0
        self.gradient_norms = torch.zeros(len(config.seeds), device=config.device)
        self.watched = 0
        self.watchers: dict[int, Watch] = {}

    def run(
        self,
        directory: RunDirectory,
        bar: TrainingProgress,
        signals: Signals,
        write: Callable[[Sequence[Metric]], None],
    ) -> None:
        """Train to the end; ``write`` takes the rows that have been appended to the metrics."""
        self.directory, self.bar, self.signals, self.write = directory, bar, signals, write
        recorded = self._resume()
        if self.watched:
            self.watchers = {seed: watch(model, self.watched) for seed, model in self.models.items()}
        if not recorded:
            self._record()
        while self.trainer.count < self.config.steps:
            result = self.trainer.step()
            self.loss_sums += result.losses
            self.loss_count += 1
            self.gradient_norms = result.gradient_norms
            bar.advance(self.trainer.count, result.tokens)
            self._watch()
            self._record()
        self._finish()

    def _resume(self) -> bool:
        """Go on from the newest checkpoint; whether the step there has been recorded."""
        saved, self.directory.saved = self.directory.saved, None  # which need not stay in memory
        if saved is None:
            return False
        try:
            weights = {seed: load(content) for seed, content in saved.members.items()}
            frozen = {int(seed): step for seed, step in saved.info["frozen"].items()}
            state = load(saved.state)
            self.trainer.restore(saved.step, weights, state, frozen)
            self.loss_sums.copy_(state["loss_sums"])
            self.gradient_norms.copy_(state["gradient_norms"])
            self.loss_count = saved.info["loss_count"]
            recorded = saved.info["recorded"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.directory.path}: step {saved.step} cannot be resumed: {error}"
            ) from None
        self.bar.advance(saved.step, 0)
        return recorded

    def _record(self) -> None:
        """Log, measure and save, each where it is this step's turn.

        Where a signal comes before it is written down, the step is saved as one that is still to be recorded:
        evaluating takes longer than a scheduler waits.
        """
        logged, kept = self.trainer.count in self.log_steps, self.trainer.count in self.kept_steps
        try:
            with self.signals.breaking_off():
                rows = self._logged() if logged else []
                rows += self._measured() if kept and self.config.measures else []
        except Stopped:
            self._save(keep=False, recorded=False)
            raise self._interrupted() from None
        if rows:
            self.directory.append_metrics(rows)
            self.write(rows)
        if logged:
            # a last step between two logs keeps its sums: the run may be extended
            if not self.config.log_every or self.trainer.count % self.config.log_every == 0:
                self.loss_sums.zero_()
                self.loss_count = 0
            self.bar.show(rows)
        if kept:
            self._save(keep=True, recorded=True)

    def _watch(self) -> None:
        """Look at members whose turn it is, or whose updates jump."""
        step, rows = self.trainer.count, list[Metric]()
        for seed, watcher in self.watchers.items():
            for alarm in watcher.step(step):
                self.directory.log(f"seed {seed}: {alarm}")
                logging.getLogger("auxin").warning("seed %s: %s", seed, alarm)
            if step % self.watched == 0:
                rows += [Metric(step, seed, "watch", name, value) for name, value in watcher.summary.items()]
        if rows:
            self.directory.append_metrics(rows)
            self.write(rows)

    def _logged(self) -> list[Metric]:
        """This step's training numbers (after step 0) and accuracies of every member."""
        step, config = self.trainer.count, self.config
        rows: list[Metric] = []
        for m, (seed, model) in enumerate(self.models.items()):
            if step:
                values = {
                    "loss": float(self.loss_sums[m]) / self.loss_count,
                    "gradient_norm": float(self.gradient_norms[m]),
                    "learning_rate": learning_rate(config.optimizer, step - 1, config.steps),
                }
                rows += [Metric(step, seed, "train", name, value) for name, value in values.items()]
            for split, evaluate in self.evaluators.items():
                rows += [Metric(step, seed, split, name, value) for name, value in evaluate(model).items()]
        return rows

    def _measured(self) -> list[Metric]:
        """The structural measures of every member."""
        sentences = measured_sentences(self.task, MEASURED_SENTENCES)
        rows: list[Metric] = []
        for seed, model in self.models.items():
            values = structure(model, sentences, self.task.vocabulary, self.config.measures)
            rows += [Metric(self.trainer.count, seed, "train", name, value) for name, value in values.items()]
        return rows

    def _save(self, keep: bool, recorded: bool) -> None:
        trainer, config = self.trainer, self.config
        members = {
            seed: model_bytes({n: v[m] for n, v in trainer.ensemble.parameters.items()}, config.model)
            for m, seed in enumerate(config.seeds)
        }
        info = {"frozen": self._frozen(), "loss_count": self.loss_count, "recorded": recorded}
        state = trainer.optimizer.state() | {
            "loss_sums": self.loss_sums,
            "gradient_norms": self.gradient_norms,
        }
        self.directory.save_checkpoint(trainer.count, members, save(state), info, keep)

    def _frozen(self) -> dict[str, int]:
        return {str(seed): step for seed, step in self.trainer.frozen.items()}

    def _interrupted(self) -> Interrupted:
        number, step = self.signals.caught or 0, self.trainer.count
        self.directory.log(f"stopped by signal {number} at step {step}")
        return Interrupted(f"at step {step} and saved", number, str(self.directory.path))

    def _finish(self) -> None:
        """Score every held-out split once, for the summary."""
        accuracy: dict[str, dict[str, float]] = {}
        try:
            with self.signals.breaking_off():
                for split, evaluate in self.finals.items():
                    scores = {str(seed): evaluate(model)["accuracy"] for seed, model in self.models.items()}
                    accuracy[split] = scores
        except Stopped:
            raise self._interrupted() from None
        self.directory.finish({"steps": self.trainer.count, "accuracy": accuracy, "frozen": self._frozen()})
