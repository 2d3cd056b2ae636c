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
from auxin.disk.folder import TEMPORARY, Busy, Folder, Lock, NotThere, failing_clearly
from auxin.disk.plain import dump_signed, read_signed
from auxin.errors import AuxinError, RunError
from auxin.runs import checkpoints
from auxin.runs.checkpoints import CHECKPOINTS, Mark, SavedState
from auxin.runs.environment import environment
from auxin.runs.rows import METRICS, Metric, RowFile
from auxin.runs.settings import CONFIG, config_bytes, read_config
from auxin.values import flat

SUMMARY, ENVIRONMENT, EVENTS, LOCK = "summary.json", "environment.json", "events.log", "lock"
KEPT_STATES = 2

PLACES = ("data_dir", "grammar")
"""Settings that say where data are; they may differ where the data are the same."""
CHANGEABLE = ("threads", "device", "log_every", "checkpoint_every", *PLACES)
"""Settings that may differ when a run is resumed: they don't change what is learned (a device but for last bits)."""


class RunDirectory:
    """A run being written; one process at a time. Use as a context manager, or ``close`` it.

    ``finished`` says that there is nothing left to do, ``step`` where training starts, and ``warnings`` what a
    user should hear about: damage that was found and stepped around, another version than the one that began.
    """

    def __init__(self, folder: Folder, config: RunConfig, lock: Lock) -> None:
        """Take over a directory that ``open`` has checked and locked."""
        self.path = folder.path
        self.config = config
        self.finished = folder.has(SUMMARY)
        self.step = 0
        self.warnings: list[str] = []
        self._folder, self._lock = folder, lock

    @classmethod
    def open(
        cls, path: str | Path, config: RunConfig, data: str = "", *, extend: bool = False
    ) -> RunDirectory:
        """Create a run's directory, or resume the unfinished run of the same config that it holds.

        Settings in ``CHANGEABLE`` may differ; with ``extend`` the steps may be more, and a finished run goes on. What
        changes is noted in ``events.log``, and config.toml has the new settings.

        Resuming goes back to the newest checkpoint whose hashes verify: later metrics and checkpoints are
        dropped. ``data`` is the hash of its sentences. Raises ``RunError`` when the
        directory holds another run, one on other data or other files, cannot be written, or is in use.
        """
        folder = Folder.make(path)
        lock = None
        try:
            lock = _claim(folder, config)
            with failing_clearly(folder.path):
                run = cls(folder, config, lock)
                changes = _changes(folder, config, data, extend)
                run.finished = run.finished and "steps" not in changes
                run._check_data(data)
                if not run.finished:
                    folder.remove_temporaries()
                    with (
                        failing_clearly(folder.path / CHECKPOINTS),
                        folder.make_sub(CHECKPOINTS) as directory,
                    ):
                        directory.remove_temporaries()
                    run._note_environment(data)
                    run._roll_back()
                    run._change(changes)
        except BaseException:
            if lock:
                lock.release()
            raise
        return run

    @cached_property
    def _metrics(self) -> RowFile:
        """Made when a run is to go on: that of a finished one may be gone, which must not look like damage."""
        return RowFile(self._folder, METRICS)

    def _check_data(self, data: str) -> None:
        """Refuse other sentences than at first."""
        if _data(self._folder) not in (None, data):
            place = self.config.data_dir or self.config.grammar
            where = f"in {place}" if place else "generated"
            raise RunError(f"{self.path}: begun with other sentences than now {where}; train elsewhere")

    def _note_environment(self, data: str) -> None:
        """Record environment and data; or warn of another environment than at first."""
        now = environment(self.config) | ({"data": data} if data else {})
        if not self._folder.has(ENVIRONMENT):
            self._folder.replace(ENVIRONMENT, dump_signed(now))
            self.log("created")
            return
        before: dict[str, Any] = {}
        try:
            before = read_signed(self._folder, ENVIRONMENT)
        except RunError as error:
            self._warn(f"{error}; what the run was begun with is unknown")
        for name in ("torch", "auxin", "processor", "gpu", "cuda"):
            if name in before and before[name] != now.get(name):
                self._warn(f"begun with {name} {before[name]}, now {now.get(name)}: last bits may differ")

    def _change(self, changes: Mapping[str, str]) -> None:
        """Note what is different from here on; a run that is extended is no longer finished."""
        if not changes:
            return
        self._folder.remove(SUMMARY)
        self._folder.sync()
        _write_config(self._folder, self.config)
        for name, change in changes.items():
            self.log(f"{name} {change}, at step {self.step}")

    def _roll_back(self) -> None:
        """Find the newest checkpoint that can be trusted, and drop what came after it."""
        mark = Mark(0, "")
        saved = checkpoints.list_checkpoints(self._folder)
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
        checkpoints.discard_after(self._folder, self.step)
        if mark.size != self._metrics.size:
            self._metrics.cut(mark.size)

    def _verified(self, checkpoint: checkpoints.Checkpoint) -> Mark:
        """How far the metrics had come at an intact checkpoint; raises ``AuxinError`` saying what is damaged."""
        mark = checkpoints.verify_checkpoint(self._folder, checkpoint, self.config.seeds)
        assert mark is not None
        if not self._metrics.starts_with(mark.size, mark.sha256):
            raise RunError(f"{self._metrics.path}: damaged before step {checkpoint.step}")
        return mark

    def latest_state(self) -> SavedState | None:
        """What to resume from, at ``step``; None at the very beginning. Reads the whole checkpoint."""
        saved = {c.step: c for c in checkpoints.list_checkpoints(self._folder)}
        return checkpoints.load(self._folder, saved[self.step]) if self.step in saved else None

    def append_metrics(self, rows: Iterable[Metric]) -> None:
        """Append rows in one write, durable on return; a ``RunError`` leaves none of them behind."""
        self._metrics.append(rows, self._intact)

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
        with failing_clearly(self.path, self._intact):
            checkpoints.write_checkpoint(self._folder, step, members, state, info, mark, keep)
        self.step = step
        with failing_clearly(self.path, self._intact):
            checkpoints.prune(self._folder, KEPT_STATES)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run complete; what only served resuming goes, except the last checkpoint's state."""
        with failing_clearly(self.path, self._intact):
            checkpoints.prune(self._folder, 1)
            summary = {**summary, "metrics_sha256": self._metrics.sha256}
            self._folder.replace(SUMMARY, dump_signed(summary))
        self.finished = True
        self.log("finished")

    def log(self, event: str) -> None:
        """Add a line to ``events.log``, the only place where a run notes the time; a full disk may drop it."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError, RunError):
            descriptor = self._folder.descriptor(EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(f"{now} {' '.join(event.split())}\n")

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.log(f"warning: {text}")

    def _intact(self) -> str:
        """What a failure has left, looked up when it is asked."""
        if not self.step:
            return "no checkpoint was written yet"
        there = False
        with contextlib.suppress(OSError, RunError):
            saved = checkpoints.list_checkpoints(self._folder)
            there = any(c.step == self.step and c.has_state for c in saved)
        return f"the checkpoint of step {self.step} is {'intact' if there else 'gone, too'}"

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self.close()


def is_held(path: str | Path) -> bool:
    """Whether another process is writing the run there."""
    try:
        with Folder.open(path) as folder:
            if folder.has(LOCK):
                folder.lock(LOCK, "held").release()
        return False
    except Busy:
        return True
    except NotThere:
        return False


def _claim(folder: Folder, config: RunConfig) -> Lock:
    """Lock a directory and make sure that it holds this config's run and nothing else."""
    path, begun = folder.path, folder.has(CONFIG)
    foreign = [n for n in folder.names() if n not in (LOCK, CONFIG) and not n.startswith(TEMPORARY)]
    if foreign and not begun:
        if {CHECKPOINTS, METRICS} & {*foreign}:
            raise RunError(f"{path}: holds a run whose config.toml is missing; choose an empty directory")
        raise RunError(f"{path}: holds files of something else ({foreign[0]}); choose an empty directory")
    lock = folder.lock(LOCK, "another process is writing this run")
    try:
        if not folder.has(CONFIG):
            _write_config(folder, config)
    except BaseException:
        lock.release()
        raise
    return lock


def _write_config(folder: Folder, config: RunConfig) -> None:
    with failing_clearly(folder.path):
        folder.replace(CONFIG, config_bytes(config))


def _changes(folder: Folder, config: RunConfig, data: str, extend: bool) -> dict[str, str]:
    """The settings that differ from the directory's run, and how; raises ``RunError`` for one that may not."""
    before = read_config(folder)
    ours, theirs = flat(config), flat(before)
    allowed = {*CHANGEABLE} if data and _data(folder) == data else {*CHANGEABLE} - {*PLACES}
    if extend and config.steps > before.steps:
        allowed.add("steps")
    changes: dict[str, str] = {}
    for name in dict.fromkeys((*ours, *theirs)):
        old, new = theirs.get(name), ours.get(name)
        if old == new:
            continue
        if name not in allowed:
            raise RunError(f"{folder.path}: holds another run ({name} is {old!r} there, {new!r} here)")
        changes[name] = f"{new!r} instead of {old!r}"
    return changes


def _data(folder: Folder) -> object:
    """The digest of the data that a run was begun with, empty for those of its config; None where it is not known."""
    with contextlib.suppress(RunError):
        return read_signed(folder, ENVIRONMENT).get("data", "") if folder.has(ENVIRONMENT) else None
    return None
