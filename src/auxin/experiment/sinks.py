"""TensorBoard and Weights & Biases get a run's metrics as they are written.

The metrics file is the truth: its rows after a checkpoint are cut back when a run is resumed. Neither sink takes
anything back, so a process sends the points that the logs of earlier ones do not hold: a point that is computed again
has the same value. A viewer that is open while a run is resumed shows what is new.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

from auxin.errors import ConfigError
from auxin.files import reading, sha256
from auxin.runs import Metric, Run
from auxin.runs.rows import METRICS, read_rows
from auxin.runs.run import EVENTS
from auxin.values import to_dict

SUFFIX = ".auxin"
"""Of TensorBoard files that auxin wrote, and may delete."""
BLOCK = 1 << 15
"""Bytes of a block in the logs of Weights & Biases."""


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
        raise ConfigError(
            f"{package} is not installed; install it in a clone of auxin with pip install '.[{package}]'"
        )


def _package(name: str) -> Any:
    """A module, imported where it is needed, and not looked into for types, which takes minutes."""
    return importlib.import_module(name)


def _identity(run: Run, *more: str) -> str:
    """Of a run in its place: another run that is in this place later on is another one."""
    path = run.path.resolve()
    with reading(path / EVENTS) as events:
        parts = "".join(f"{part}\n" for part in (path, *more)).encode() + events.readline()
    return sha256(parts)[:16]


class TensorBoard:
    """Event files in ``folder/RUN/seed-N``, RUN the name of the run's directory.

    A process adds a file to those of earlier ones. What auxin left there of another run is deleted.
    """

    def __init__(self, folder: Path) -> None:
        _check_installed("tensorboard")
        self.name, self._folder = f"TensorBoard in {folder}", folder
        self._writers: dict[int, Any] = {}
        self._sent: dict[int, set[tuple[int, str]]] = {}

    def begin(self, run: Run) -> None:
        """Delete the files of another run of this name, and note the points that those of this run hold."""
        make, ending = _package("torch.utils.tensorboard").SummaryWriter, f".{_identity(run)}{SUFFIX}"
        for seed in run.config.seeds:
            folder, self._sent[seed] = self._folder / run.path.resolve().name / f"seed-{seed}", set()
            for file in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
                if file.name.endswith(ending):
                    self._sent[seed] |= set(_points(file))
                else:
                    file.unlink()
            self._writers[seed] = make(str(folder), filename_suffix=ending, flush_secs=10)

    def write(self, rows: Sequence[Metric]) -> None:
        """All rows of one step."""
        for row in rows:
            tag = f"{row.split}/{row.name}"
            if (row.step, tag) not in self._sent[row.member]:
                self._writers[row.member].add_scalar(tag, row.value, row.step)

    def close(self) -> None:
        """Write what is left."""
        for writer in self._writers.values():
            writer.close()


def _points(file: Path) -> Iterator[tuple[int, str]]:
    """Step and tag of every point in an event file."""
    loader = _package("tensorboard.backend.event_processing.event_file_loader")
    for event in loader.LegacyEventFileLoader(str(file)).Load():
        for value in event.summary.value:
            yield event.step, value.tag


class WandB:
    """One run of Weights & Biases for a run, its log in the run's directory, where resuming finds it.

    Metrics are named split/name, of several members split/name/seed-N.
    """

    def __init__(self, project: str) -> None:
        _check_installed("wandb")
        self.name, self._project = f"Weights & Biases, project {project}", project
        self._run: Any = None
        self._sent: set[int] = set()
        self._several = False

    def begin(self, run: Run) -> None:
        """Open this run's log in the run's directory, and note the steps that it has already."""
        wandb, path = _package("wandb"), run.path.resolve()
        identity = _identity(run, self._project)
        self._several = len(run.config.seeds) > 1
        self._sent = _steps_sent(path / "wandb", identity)
        self._run = wandb.init(
            dir=str(path),
            project=self._project,
            name=path.name,
            id=identity,
            resume="allow",
            config=to_dict(run.config),
            settings=wandb.Settings(console="off"),
        )

    def write(self, rows: Sequence[Metric]) -> None:
        """All rows of one step."""
        if rows[0].step not in self._sent:
            ending = lambda row: f"/seed-{row.member}" if self._several else ""
            finite = [row for row in rows if math.isfinite(row.value)]
            values = {f"{row.split}/{row.name}{ending(row)}": row.value for row in finite}
            self._run.log(values, step=rows[0].step)

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


Sink: TypeAlias = TensorBoard | WandB


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


@contextlib.contextmanager
def sending(
    run: Run, sinks: Sequence[Sink], warn: Callable[[str], None]
) -> Iterator[Callable[[Sequence[Metric]], None]]:
    """Send the rows that a run has; then what takes the rows of its further steps.

    A sink that fails gets no more, and ``warn`` is told: training goes on.
    """
    working = list(sinks)

    def to_all(act: Callable[[Sink], None]) -> None:
        for sink in list(working):
            try:
                act(sink)
            except Exception as error:  # whatever is wrong with it
                working.remove(sink)
                text = " ".join(str(error).split())[:300]
                warn(f"{sink.name} gets no more: {type(error).__name__}: {text}")

    def write(rows: Sequence[Metric]) -> None:
        to_all(lambda sink: sink.write(rows))

    to_all(lambda sink: sink.begin(run))
    there = read_rows(run.path / METRICS).iter_rows() if working else ()
    for _, rows in groupby((Metric(*row) for row in there), lambda row: row.step):
        write(list(rows))
    try:
        yield write
    finally:
        to_all(lambda sink: sink.close())


def send(run: Run, sinks: Sequence[Sink]) -> None:
    """Hand a run's metrics on, finished or not; raises ``ConfigError`` where a sink does not take them."""
    failed: list[str] = []
    with sending(run, sinks, failed.append):
        pass
    if failed:
        raise ConfigError("; ".join(failed))
