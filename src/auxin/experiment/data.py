"""The sentences of a run: where they are, and whether they are those that it was trained on."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from auxin.config import RunConfig
from auxin.errors import DataError
from auxin.runs import Run
from auxin.runs.run import PLACES
from auxin.tasks import Task
from auxin.tasks.files import problems


def anchored(config: RunConfig) -> RunConfig:
    """The config with absolute paths of its data: a run is looked into from other directories, too."""
    paths = {name: path for name in PLACES if (path := getattr(config, name))}
    return replace(config, **{name: os.path.abspath(path) for name, path in paths.items()})


class Sentences:
    """SHA-256 of the sentences of configs; each set is read, or generated, once.

    ``problems`` is what was found in those that were read, a line each.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], str] = {}
        self.problems: list[str] = []

    def __call__(self, config: RunConfig) -> str:
        """That of a config; ``DataError`` where the sentences cannot be read."""
        config = anchored(config)
        size, place = (config.data_seed, config.train_size), (config.data_dir, config.grammar)
        key = (config.task, *size, *place, config.dials, config.scoring)
        if key not in self._known:
            task = config.load_task()
            self._known[key] = task.sha256
            if not task.generated:
                where = config.data_dir or config.grammar or config.task
                self.problems += [f"{where}: {line}" for line in problems(task.splits)]
        return self._known[key]


def task_of(run: Run, data_dir: str = "", task: Task | None = None) -> Task:
    """A run's task with its data, from ``data_dir`` if they have moved; ``DataError`` where they are others."""
    config = replace(run.config, data_dir=data_dir) if data_dir else run.config
    where = f"in {config.data_dir}" if config.data_dir else "handed over" if task else "generated"
    task = task or config.load_task()
    if run.data not in ("", task.sha256):
        raise DataError(f"{run.path}: trained on other sentences than now {where}")
    return task
