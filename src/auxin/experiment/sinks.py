"""TensorBoard and Weights & Biases as readers of a run's metrics file: training knows nothing of them.

What a sink gets depends on the file alone, whose rows after a checkpoint are cut back when a run is resumed. Neither
sink takes anything back, so each process sends the points that the logs of earlier ones do not hold: a point that is
computed again has the same value. A viewer that is open while a run is resumed shows what is new.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import math
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from auxin.config import RunConfig
from auxin.disk.folder import Folder
from auxin.errors import AuxinError, ConfigError
from auxin.runs import Metric, Run
from auxin.runs.rows import CHUNK, METRICS, decode
from auxin.runs.store import EVENTS
from auxin.values import to_dict

SECONDS = 1.0
"""Between two looks at the file."""
BLOCK = 1 << 15
"""Bytes of a block in W&B's logs."""
EVENT_FILES = "events.out.tfevents."
SUFFIX = ".auxin"
"""Of TensorBoard files that auxin wrote, and may delete."""


class Sink(Protocol):
    """Where points go."""

    name: str

    def begin(self, path: Path, config: RunConfig) -> None:
        """Get ready for all rows of the run in ``path``, from the first on."""

    def write(self, rows: Sequence[Metric]) -> None:
        """All rows of one step."""

    def close(self) -> None:
        """Write what is left."""


def sinks_of(tensorboard: str | Path | None, wandb: str | None) -> list[Sink]:
    """The sinks that are asked for; ``ConfigError`` where a package is missing."""
    found: list[Sink] = []
    if tensorboard is not None:
        found.append(TensorBoard(Path(tensorboard)))
    if wandb is not None:
        found.append(WandB(wandb))
    return found


def _check_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{package} is not installed; install it with pip install 'auxin[{package}]'")


def _package(name: str) -> Any:
    """A module, imported where it is needed, and not looked into for types, which takes minutes."""
    return importlib.import_module(name)


class TensorBoard:
    """Event files in ``folder/RUN/seed-N``, RUN the name of the run's directory.

    A process adds a file to those of earlier ones. What auxin left there of another run is deleted.
    """

    def __init__(self, folder: Path) -> None:
        _check_installed("tensorboard")
        self.name, self._folder = f"TensorBoard in {folder}", folder
        self._writers: dict[int, Any] = {}
        self._there: dict[int, set[tuple[int, str]]] = {}

    def begin(self, path: Path, config: RunConfig) -> None:
        """Delete the files of another run of this name, and note the points that those of this run hold."""
        self._folder, self._ending = self._folder / path.resolve().name, f".{_identity(path)}{SUFFIX}"
        for seed in config.seeds:
            files = sorted((self._folder / f"seed-{seed}").glob(f"{EVENT_FILES}*{SUFFIX}"))
            for other in (file for file in files if not file.name.endswith(self._ending)):
                other.unlink()
            own = [file for file in files if file.name.endswith(self._ending)]
            self._there[seed] = {point for file in own for point in _points(file)}
            # TensorBoard goes on to the next file by name, and the second stands first in it
            while own and own[-1].name.removeprefix(EVENT_FILES)[:10] == f"{int(time.time()):010d}":
                time.sleep(0.1)

    def write(self, rows: Sequence[Metric]) -> None:
        for row in rows:
            tag = f"{row.split}/{row.name}"
            if (row.step, tag) not in self._there[row.member]:
                self._writer(row.member).add_scalar(tag, row.value, row.step)

    def _writer(self, seed: int) -> Any:
        if seed not in self._writers:
            make = _package("torch.utils.tensorboard").SummaryWriter
            folder = str(self._folder / f"seed-{seed}")
            self._writers[seed] = make(folder, filename_suffix=self._ending, flush_secs=10)
        return self._writers[seed]

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


def _points(file: Path) -> Iterator[tuple[int, str]]:
    """Step and tag of every point in an event file."""
    loader = _package("tensorboard.backend.event_processing.event_file_loader")
    for event in loader.LegacyEventFileLoader(str(file)).Load():
        for value in event.summary.value:
            yield event.step, value.tag


def _identity(path: Path, *more: str) -> str:
    """Of a run in its place: another run that is in this place later on is another one."""
    path = path.resolve()
    with Folder.open(path) as folder, folder.reading(EVENTS) as events:
        born = events.readline()
    return hashlib.sha256("".join(f"{part}\n" for part in (path, *more)).encode() + born).hexdigest()[:16]


class WandB:
    """One run of Weights & Biases for a run, its log in the run's directory, where resuming finds it.

    Metrics are named split/name, of several members split/name/seed-N.
    """

    def __init__(self, project: str) -> None:
        _check_installed("wandb")
        self.name, self._project = f"Weights & Biases, project {project}", project
        self._run: Any = None
        self._there: set[int] = set()
        self._several = False

    def begin(self, path: Path, config: RunConfig) -> None:
        """Open this run's log in the run's directory, and note the steps that it has already."""
        wandb, path = _package("wandb"), path.resolve()
        identity = _identity(path, self._project)
        self._several = len(config.seeds) > 1
        self._there = _steps_sent(path / "wandb", identity)
        self._run = wandb.init(
            dir=str(path),
            project=self._project,
            name=path.name,
            id=identity,
            resume="allow",
            config=to_dict(config),
            settings=wandb.Settings(console="off"),
        )

    def write(self, rows: Sequence[Metric]) -> None:
        if rows[0].step not in self._there:
            own = lambda row: f"/seed-{row.member}" if self._several else ""
            values = {
                f"{row.split}/{row.name}{own(row)}": row.value for row in rows if math.isfinite(row.value)
            }
            self._run.log(values, step=rows[0].step)

    def close(self) -> None:
        self._run.finish()


def _steps_sent(folder: Path, identity: str) -> set[int]:
    """The steps in the logs that earlier processes left of a run."""
    proto = _package("wandb.proto.wandb_internal_pb2")
    found: set[int] = set()
    for path in folder.glob(f"*-{identity}/run-{identity}.wandb"):
        for content in _records(path.read_bytes()):
            record = proto.Record()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") == "history":
                found.add(record.history.step.num)
    return found


def _records(log: bytes) -> Iterator[bytes]:
    """The whole records of a log of W&B: a head of 7 bytes, then LevelDB's format; the end that a kill left is cut.

    In blocks of 32 KB, parts of (checksum, 4 bytes; length, 2; kind, 1; content): kind 1 is a whole record, 2 begins
    one, 3 goes on, 4 ends it. Less than 7 bytes at the end of a block are left empty.
    """
    at, begun = 7, b""
    while at + 7 <= len(log):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", log, at)
        content = log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind == 0 or len(content) < length:
            return
        begun = content if kind in (1, 2) else begun + content
        if kind in (1, 4):
            yield begun


class _Follower:
    """Hands the rows of whole steps on, in order; a sink that fails gets no more."""

    def __init__(self, path: Path, sinks: Sequence[Sink], warn: Callable[[str], None]) -> None:
        self._path, self._sinks, self._warn = path, list(sinks), warn
        self._offset = 0
        self._held: list[Metric] = []

    def begin(self, config: RunConfig) -> None:
        self._each(lambda sink: sink.begin(self._path, config))

    def read(self) -> None:
        """What has come since; the newest step is held back, as more of it may come."""
        while rows := self._rows():
            *steps, self._held = [list(step) for _, step in groupby(self._held + rows, lambda row: row.step)]
            for step in steps:
                self._each(lambda sink, step=step: sink.write(step))

    def _rows(self) -> list[Metric]:
        """The rows of whole lines from the offset on; none where there is nothing new, or nothing that can be read."""
        with contextlib.suppress(AuxinError, ValueError), Folder.open(self._path) as folder:
            if folder.has(METRICS):
                with folder.reading(METRICS) as file:
                    file.seek(self._offset)
                    lines, end, _ = file.read(CHUNK).rpartition(b"\n")
                rows = [decode(line) for line in lines.split(b"\n")] if end else []
                self._offset += len(lines) + len(end)
                return rows
        return []

    def finish(self) -> None:
        """Everything that is left."""
        self.read()
        if self._held:
            self._each(lambda sink: sink.write(self._held))
        self._each(lambda sink: sink.close())

    def _each(self, act: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                act(sink)
            except Exception as error:  # whatever is wrong with a sink, training goes on
                self._sinks.remove(sink)
                text = " ".join(str(error).split())[:300]
                self._warn(f"{sink.name} gets no more: {type(error).__name__}: {text}")


@contextlib.contextmanager
def following(
    path: Path, config: RunConfig, sinks: Sequence[Sink], warn: Callable[[str], None]
) -> Iterator[None]:
    """Hand on what is and what will be in a run's metrics file, from another thread; all of it at the end."""
    if not sinks:
        yield
        return
    follower, over = _Follower(path, sinks, warn), threading.Event()

    def follow() -> None:
        follower.begin(config)
        follower.read()
        while not over.wait(SECONDS):
            follower.read()

    thread = threading.Thread(target=follow, name="auxin-sinks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        follower.finish()


def send(run: Run, sinks: Sequence[Sink]) -> None:
    """Hand a run's metrics on, finished or not; raises ``ConfigError`` where a sink does not take them."""
    failed: list[str] = []
    with following(run.path, run.config, sinks, failed.append):
        pass
    if failed:
        raise ConfigError("; ".join(failed))
