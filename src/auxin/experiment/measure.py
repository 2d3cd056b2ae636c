"""Measure the checkpoints of a run after the fact; stop and go on at any checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auxin.errors import RunError
from auxin.experiment.bars import Bar
from auxin.experiment.data import task_of
from auxin.measures.structure import KNOWN, MEASURES, WITHOUT_SENTENCES, measured_sentences, structure
from auxin.models.devices import has_device, on_threads
from auxin.runs import Metric, Run, measuring, open_run
from auxin.runs.checkpoints import Checkpoint
from auxin.tasks import Task
from auxin.training.loop import float32_products
from auxin.values import check


def measure(
    path: str | Path | Run,
    checkpoints: Sequence[int] | None = None,
    *,
    measures: Sequence[str] = MEASURES,
    sentences: int = 0,
    task: Task | None = None,
    progress: bool = False,
) -> Run:
    """Take structural measures of a run's checkpoints and return the run with them among its metrics.

    Args:
        path: the run's directory; it may still be training.
        checkpoints: steps whose checkpoints are measured; by default all.
        measures: norms, entropy, projection, signals; see ``auxin.measures.structure.structure`` for their names.
        sentences: training sentences measured; 0 stands for the task's own number, 10,000 (dyck 500).
        task: that of a run whose task was handed over, or whose sentences have moved since.
        progress: show a bar on stderr.

    What was measured before on as many sentences is not measured again; every member of a checkpoint is
    written durably when it is done, with split "train". Raises ``RunError`` for a step without a checkpoint or a
    directory that another process measures, ``CheckpointError`` for a damaged checkpoint, ``ConfigError`` for an
    unknown measure.

    >>> tiny = ModelConfig(depth=1, width=8, heads=2)
    >>> config = RunConfig(train_size=40, steps=2, eval_size=2, final_size=2, model=tiny)
    >>> run = measure(train(config, "measured").path, [2], measures=["norms"])
    >>> "weight_norm" in run.metrics["name"]
    True
    """
    check(set(measures) <= set(KNOWN), "measures", tuple(measures), ", ".join(KNOWN))
    check(sentences >= 0, "sentences", sentences, "0 (the published number) or more")
    run = open_run(path)
    chosen, config = _chosen(run, checkpoints), run.config
    task = task_of(run, task=task)
    with on_threads(config.threads), float32_products(config.precision), measuring(run.path) as append:
        measured = measured_sentences(task, sentences or task.measured_count)
        missing = _missing(run, chosen, measures, len(measured))
        total = len(measured) * sum("projection" in names for _, _, names in missing)
        with Bar("{task.completed:.0f}/{task.total:.0f} sentences", total, progress, lines=False) as bar:
            for checkpoint, member, names in missing:
                bar.update(description=f"step {checkpoint.step}, member {member}")
                model = run.model(checkpoint.step, member).to(_device(config.device))
                values = structure(model, measured, task.vocabulary, names, lambda n: bar.update(advance=n))
                append(Metric(checkpoint.step, member, "train", n, value) for n, value in values.items())
    return open_run(run)


def _chosen(run: Run, steps: Sequence[int] | None) -> list[Checkpoint]:
    saved = {checkpoint.step: checkpoint for checkpoint in run.checkpoints}
    if not saved:
        raise RunError(f"{run.path}: no checkpoints to measure")
    for step in steps or ():
        if step not in saved:
            raise RunError(
                f"{run.path}: no checkpoint of step {step}; there are {', '.join(map(str, saved))}"
            )
    return list(saved.values()) if steps is None else [saved[step] for step in sorted(set(steps))]


def _missing(
    run: Run, checkpoints: Sequence[Checkpoint], measures: Sequence[str], count: int
) -> list[tuple[Checkpoint, int, list[str]]]:
    """Checkpoint, member and the measures of it that the metrics lack or have on another number of sentences."""
    rows = run.metrics.iter_rows()
    known = {(step, member, name): value for step, member, split, name, value in rows if split == "train"}
    found: list[tuple[Checkpoint, int, list[str]]] = []
    for checkpoint in checkpoints:
        for member in checkpoint.members:
            at = (checkpoint.step, member)
            done = {name for name in measures if known.get((*at, f"{name}_sentences")) == count}
            done |= {name for name, value in WITHOUT_SENTENCES.items() if (*at, value) in known}
            if names := [name for name in measures if name not in done]:
                found.append((checkpoint, member, names))
    return found


def _device(wanted: str) -> str:
    """The run's device, else any GPU, else the CPU."""
    return next(filter(has_device, (wanted, "cuda", "cpu")))
