"""The writing side of a run: nothing that was reported saved is lost, whatever happens to the process.

Append a step's rows before its checkpoint: a checkpoint records how far the metrics went, and resuming cuts
them back to exactly there.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from auxin.config import RunConfig
from auxin.errors import AuxinError, RunError
from auxin.runs import checkpoints
from auxin.runs.checkpoints import Mark, SavedState
from auxin.runs.environment import environment
from auxin.runs.files import (
    TEMPORARY,
    Lock,
    dump_json,
    dump_signed,
    failing_clearly,
    make_directory,
    open_own,
    read_config,
    read_object,
    remove_temporaries,
    write_atomic,
)
from auxin.runs.rows import Metric, RowFile
from auxin.values import to_dict, to_toml

METRICS = "metrics.jsonl"
KEPT_STATES = 2


class RunDirectory:
    """A run being written; one process at a time. Use as a context manager, or ``close`` it.

    ``finished`` says that there is nothing left to do, ``step`` where training starts, and ``warnings`` what a
    user should hear about: damage that was found and stepped around, another version than the one that began.
    """

    def __init__(self, path: Path, config: RunConfig, lock: Lock) -> None:
        """Take over a directory that ``open`` has checked and locked."""
        self.path = path
        self.config = config
        self.finished = (path / "summary.json").exists()
        self.step = 0
        self.warnings: list[str] = []
        self._lock = lock

    @classmethod
    def open(cls, path: str | Path, config: RunConfig, data: str = "") -> RunDirectory:
        """Create a run's directory, or resume the unfinished run of the same config that it holds.

        Resuming goes back to the newest checkpoint whose hashes verify: later metrics and checkpoints are
        dropped. ``data`` is the hash of data that the config does not determine. Raises ``RunError`` when the
        directory holds another run, one on other data or other files, cannot be written, or is in use.
        """
        path = Path(path)
        lock = _claim(path, config)
        try:
            with failing_clearly(path):
                run = cls(path, config, lock)
                if not run.finished:
                    make_directory(path / "checkpoints")
                    remove_temporaries(path)
                    remove_temporaries(path / "checkpoints")
                    run._check_environment(data)
                    run._roll_back()
        except BaseException:
            lock.release()
            raise
        return run

    @cached_property
    def _metrics(self) -> RowFile:
        """Made when a run is to go on: that of a finished one may be gone, which must not look like damage."""
        return RowFile(self.path / METRICS)

    def _check_environment(self, data: str) -> None:
        """Record environment and data; or refuse other data, and warn of another environment, than at first."""
        file, now = (
            self.path / "environment.json",
            environment(self.config) | ({"data": data} if data else {}),
        )
        if not file.exists():
            write_atomic(file, dump_json(now))
            self.log("created")
            return
        before: dict[str, Any] = {}
        with contextlib.suppress(RunError):
            before = read_object(file)
        for name in ("torch", "auxin", "processor", "gpu", "cuda"):
            if name in before and before[name] != now.get(name):
                self._warn(f"begun with {name} {before[name]}, now {now.get(name)}: last bits may differ")
        if before.get("data", data) != data:
            raise RunError(
                f"{self.path}: begun with other sentences than now in {self.config.data_dir}; train elsewhere"
            )

    def _roll_back(self) -> None:
        """Find the newest checkpoint that can be trusted, and drop what came after it."""
        mark = Mark(0, "")
        saved = checkpoints.list_checkpoints(self.path)
        resumable = [checkpoint for checkpoint in saved if checkpoint.has_state]
        for checkpoint in reversed(resumable):
            try:
                mark = self._verified(checkpoint)
            except AuxinError as error:
                self._warn(f"{error}; going back to the checkpoint before it")
            else:
                self.step = checkpoint.step
                self.log(f"resumed from step {self.step}")
                break
        else:
            if len(saved) > len(resumable):  # starting over would delete weights that nothing is wrong with
                cause = self.warnings[-1].partition(";")[0] if resumable else "none holds its state"
                raise RunError(f"{self.path}: no checkpoint to resume from ({cause}); train elsewhere")
        checkpoints.discard_after(self.path, self.step)
        if mark.size != self._metrics.size:
            self._metrics.cut(mark.size)

    def _verified(self, checkpoint: checkpoints.Checkpoint) -> Mark:
        """How far the metrics had come at an intact checkpoint; raises ``AuxinError`` saying what is damaged."""
        mark = checkpoints.verify(checkpoint, self.config.seeds)
        if not self._metrics.starts_with(mark.size, mark.sha256):
            raise RunError(f"{self._metrics.path}: damaged before step {checkpoint.step}")
        return mark

    def latest_state(self) -> SavedState | None:
        """What to resume from, at ``step``; None at the very beginning. Reads the whole checkpoint."""
        saved = {c.step: c for c in checkpoints.list_checkpoints(self.path)}
        return checkpoints.load(saved[self.step]) if self.step in saved else None

    def append_metrics(self, rows: Iterable[Metric]) -> None:
        """Append rows in one write, durable on return; a ``RunError`` leaves none of them behind."""
        self._metrics.append(rows, self._intact())

    def save_checkpoint(
        self,
        step: int,
        members: Mapping[int, bytes],
        state: bytes,
        info: Mapping[str, Any],
        keep: bool = True,
    ) -> None:
        """Save the members' weights and what resuming needs, durable on return, all or nothing.

        ``members`` maps each seed to a safetensors file; ``state`` is one, too, and ``info`` is plain data.
        Unless ``keep``, the checkpoint goes when two newer ones exist. A failure (full disk, lost directory)
        is a ``RunError`` that names the newest checkpoint that is intact.
        """
        mark = Mark(self._metrics.size, self._metrics.sha256)
        with failing_clearly(self.path, self._intact()):
            checkpoints.write_checkpoint(self.path, step, members, state, info, mark, keep)
        self.step = step
        with failing_clearly(self.path, self._intact()):
            checkpoints.prune(self.path, KEPT_STATES)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run complete; what only served resuming goes, except the last checkpoint's state."""
        with failing_clearly(self.path, self._intact()):
            checkpoints.prune(self.path, 1)
            summary = {**summary, "metrics_sha256": self._metrics.sha256}
            write_atomic(self.path / "summary.json", dump_signed(summary))
        self.finished = True
        self.log("finished")

    def log(self, event: str) -> None:
        """Add a line to ``events.log``, the only place where a run notes the time; a full disk may drop it."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError):
            descriptor = open_own(self.path / "events.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(f"{now} {' '.join(event.split())}\n")

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.log(f"warning: {text}")

    def _intact(self) -> str:
        return (
            f"the checkpoint of step {self.step} is intact" if self.step else "no checkpoint was written yet"
        )

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self.close()


def _claim(path: Path, config: RunConfig) -> Lock:
    """Lock a directory and make sure that it holds this config's run and nothing else."""
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: a file, not a directory for a run")
    with failing_clearly(path):
        path.mkdir(parents=True, exist_ok=True)
        ours = ("lock", "config.toml")
        foreign = sorted(
            p.name for p in path.iterdir() if p.name not in ours and not p.name.startswith(TEMPORARY)
        )
    file = path / "config.toml"
    if foreign and not file.exists():
        if {"checkpoints", METRICS} & {*foreign}:
            raise RunError(f"{path}: holds a run whose config.toml is missing; choose an empty directory")
        raise RunError(f"{path}: holds files of something else ({foreign[0]}); choose an empty directory")
    lock = Lock(path / "lock")
    try:
        if file.exists():
            _refuse_other(path, config)
        else:
            with failing_clearly(path):
                write_atomic(file, to_toml(config).encode())
    except BaseException:
        lock.release()
        raise
    return lock


def _refuse_other(path: Path, config: RunConfig) -> None:
    """Raise ``RunError`` naming the first setting in which the directory's run differs."""
    ours, theirs = _flat(to_dict(config)), _flat(to_dict(read_config(path / "config.toml")))
    for name, value in ours.items():
        if theirs[name] != value:
            raise RunError(f"{path}: holds another run ({name} is {theirs[name]!r} there, {value!r} here)")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
