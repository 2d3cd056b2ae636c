"""The writing side of a run: nothing that was reported saved is lost, whatever happens to the process.

Append a step's rows before its checkpoint: a checkpoint records how far the metrics went, and resuming cuts
them back to exactly there.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from auxin import files
from auxin.config import RunConfig
from auxin.errors import AuxinError, RunError
from auxin.runs.checkpoints import CHECKPOINTS, SavedState, discard, list_checkpoints, prune, write_checkpoint
from auxin.runs.rows import METRICS, Metric, RowFile, starts_with
from auxin.runs.run import (
    CHANGEABLE,
    CONFIG,
    ENVIRONMENT,
    EVENTS,
    PLACES,
    SUMMARY,
    Run,
    config_bytes,
    is_finished,
    read_config,
)
from auxin.values import flat

_PACKAGES = ("auxin", "torch", "numpy", "scipy", "safetensors")


def environment(config: RunConfig) -> dict[str, Any]:
    """Everything beside the config that a run's last bits may depend on."""
    import torch  # takes a second, which reading a run does without

    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "commit": _commit(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name(config.device) if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
        "cores": os.cpu_count(),
        "threads": config.threads or torch.get_num_threads(),
        "device": config.device,
        "seeds": list(config.seeds),
        "data_seed": config.data_seed,
    }


def _commit() -> str | None:
    """Commit of auxin's own source, marked -dirty when changed; None when it is not run from a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    tracked = [*git, "ls-files", "--error-unmatch", Path(__file__).name]
    describe = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(tracked, capture_output=True, check=True, timeout=10)
        return subprocess.run(describe, capture_output=True, check=True, timeout=10, text=True).stdout.strip()
    return None


def _processor() -> str | None:
    """The processor's name; the standard library's answer is empty on Linux."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if found := re.search(r"^model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1].strip()
    return platform.processor() or None


LOCK = "lock"
KEPT_STATES = 2


class RunDirectory:
    """A run being written; one process at a time. Use as a context manager, or ``close`` it.

    ``finished`` says that there is nothing left to do, ``step`` where training starts, ``saved`` what it starts from
    (None at the very beginning), and ``warnings`` what a user should hear about: damage that was found and stepped
    around, another version than the one that began.
    """

    def __init__(
        self,
        path: str | Path,
        config: RunConfig,
        data: str = "",
        *,
        accuracy: Mapping[str, tuple[str, float]] | None = None,
        extend: bool = False,
    ) -> None:
        """Create a run's directory, or resume the unfinished run of the same config that it holds.

        Settings in ``CHANGEABLE`` may differ; with ``extend`` the steps may be more, and a finished run goes on. What
        changes is noted in ``events.log``, and config.toml has the new settings.

        Resuming goes back to the newest checkpoint whose hashes verify: later metrics and checkpoints are
        dropped. ``data`` is the hash of its sentences, ``accuracy`` what that is on each split (words, chance level);
        both are noted in its environment. Raises ``RunError`` when the
        directory holds another run, one on other data or other files, cannot be written, or is in use.
        """
        self.path, self.config = files.directory(path, make=True), config
        self.step, self.warnings = 0, list[str]()
        self.saved: SavedState | None = None
        if not files.is_file(self.path / CONFIG):
            files.check_foreign(self.path, {LOCK, CONFIG})
        with contextlib.ExitStack() as held:
            held.enter_context(files.lock(self.path / LOCK, "another process is writing this run"))
            if not files.is_file(self.path / CONFIG):
                files.replace(self.path / CONFIG, config_bytes(config))
            changes = self._changes(data, extend)
            self.finished = is_finished(self.path) and "steps" not in changes
            if not self.finished:
                files.remove_temporaries(self.path)
                files.remove_temporaries(files.subdirectory(self.path / CHECKPOINTS, make=True))
                self._note_environment({"data": data, "accuracy": accuracy})
                self._metrics = RowFile(self.path / METRICS)
                self._roll_back()
                self._note_changes(changes)
            self._held = held.pop_all()

    def _changes(self, data: str, extend: bool) -> dict[str, str]:
        """The settings that differ from the run that is there, and how; ``RunError`` for one that may not."""
        before = read_config(self.path)
        begun = Run(self.path, before).data
        ours, theirs = flat(self.config), flat(before)
        allowed = {*CHANGEABLE} if data and begun == data else {*CHANGEABLE} - {*PLACES}
        if extend and self.config.steps > before.steps:
            allowed.add("steps")
        changes: dict[str, str] = {}
        for name in dict.fromkeys((*ours, *theirs)):
            old, new = theirs.get(name), ours.get(name)
            if old != new and name not in allowed:
                raise RunError(f"{self.path}: holds another run ({name} is {old!r} there, {new!r} here)")
            if old != new:
                changes[name] = f"{new!r} instead of {old!r}"
        if begun and begun != data:
            place = self.config.data_dir or self.config.grammar
            where = f"in {place}" if place else "generated"
            raise RunError(f"{self.path}: begun with other sentences than now {where}; train elsewhere")
        return changes

    def _note_environment(self, facts: Mapping[str, Any]) -> None:
        """Record environment and data; or warn of another environment than at first."""
        now = environment(self.config) | {name: fact for name, fact in facts.items() if fact}
        if not files.is_file(self.path / ENVIRONMENT):
            files.replace(self.path / ENVIRONMENT, files.dump_signed(now))
            self.log("created")
            return
        before: dict[str, Any] = {}
        try:
            before = files.read_signed(self.path / ENVIRONMENT)
        except RunError as error:
            self._warn(f"{error}; what the run was begun with is unknown")
        for name in ("torch", "auxin", "processor", "gpu", "cuda"):
            if name in before and before[name] != now.get(name):
                self._warn(f"begun with {name} {before[name]}, now {now.get(name)}: last bits may differ")

    def _roll_back(self) -> None:
        """Find the newest checkpoint that can be trusted, and drop what came after it."""
        there = list_checkpoints(self.path)
        resumable = [checkpoint for checkpoint in there if checkpoint.has_state]
        for checkpoint in reversed(resumable):
            try:
                saved = checkpoint.load(self.config.seeds)
                if not starts_with(self._metrics.path, saved.metrics_size, saved.metrics_sha256):
                    raise RunError(f"{self._metrics.path}: damaged before step {saved.step}")
            except AuxinError as error:
                self._warn(f"{error}; going back to the checkpoint before it")
            else:
                self.step, self.saved = saved.step, saved
                self.log(f"resumed from step {self.step}")
                break
        else:
            if len(there) > len(resumable):  # starting over would delete weights that nothing is wrong with
                cause = self.warnings[-1].partition(";")[0] if resumable else "none holds its state"
                raise RunError(f"{self.path}: no checkpoint to resume from ({cause}); train elsewhere")
        for checkpoint in there:
            if checkpoint.step > self.step or not self.saved:
                discard(checkpoint.path)
        self._metrics.cut(self.saved.metrics_size if self.saved else 0)

    def _note_changes(self, changes: Mapping[str, str]) -> None:
        """Note what is different from here on; a run that is extended is no longer finished."""
        if not changes:
            return
        files.remove(self.path / SUMMARY)
        files.sync(self.path)
        files.replace(self.path / CONFIG, config_bytes(self.config))
        for name, change in changes.items():
            self.log(f"{name} {change}, at step {self.step}")

    def append_metrics(self, rows: Iterable[Metric]) -> None:
        """Append rows in one write, durable on return; a ``RunError`` leaves none of them behind."""
        with self._naming_what_is_intact():
            self._metrics.append(rows)

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
        Unless ``keep``, the checkpoint goes when two newer ones exist.
        """
        mark = (self._metrics.size, self._metrics.sha256)
        with self._naming_what_is_intact():
            write_checkpoint(self.path, SavedState(step, dict(members), state, dict(info), *mark), keep)
            self.step = step
            prune(self.path, KEPT_STATES)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run complete; what only served resuming goes, except the last checkpoint's state."""
        with self._naming_what_is_intact():
            prune(self.path, 1)
            signed = files.dump_signed({**summary, "metrics_sha256": self._metrics.sha256})
            files.replace(self.path / SUMMARY, signed)
        self.finished = True
        self.log("finished")

    @contextlib.contextmanager
    def _naming_what_is_intact(self) -> Iterator[None]:
        """A failure (full disk, lost directory) also says where the run will go on."""
        try:
            yield
        except RunError as error:
            last = (
                f"the last checkpoint is of step {self.step}" if self.step else "no checkpoint is there yet"
            )
            raise RunError(f"{error}; {last}") from None

    def log(self, event: str) -> None:
        """Add a line to ``events.log``, the only place where a run notes the time; a full disk may drop it."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError, RunError), files.appending(self.path / EVENTS) as file:
            file.write(f"{now} {' '.join(event.split())}\n")

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.log(f"warning: {text}")

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        self._held.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_held(path: str | Path) -> bool:
    """Whether another process is writing the run there."""
    try:
        file = files.directory(path) / LOCK
        if files.is_file(file):
            with files.lock(file):
                pass
    except files.Busy:
        return True
    except files.MissingDirectory:
        pass
    return False
