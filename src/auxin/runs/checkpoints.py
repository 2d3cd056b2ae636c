"""Checkpoints of a run: ``checkpoints/step-000003000/`` with a file a member, hashes, and what resuming needs.

A directory is written under a temporary name, synced and renamed: under its own name it is complete.

- ``member-<seed>.safetensors``: a member's weights.
- ``manifest.json``: SHA-256 of each member's file and of ``state.json``, and whether to keep the checkpoint.
- ``state.safetensors``, ``state.json``: optimizer, schedule, random generators and data order, their hash, and
  length and hash of the metrics written so far; only in the newest two.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxin.disk.folder import Folder, failing_clearly, unforeseen
from auxin.disk.plain import dump_json, read_object
from auxin.errors import CheckpointError, RunError

CHECKPOINTS = "checkpoints"
MANIFEST, STATE, RECORD = "manifest.json", "state.safetensors", "state.json"
_STEP = re.compile(r"step-(\d{9,18})")
_MEMBER = re.compile(r"member-(0|[1-9]\d{0,18})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """The members' weights after ``step`` updates."""

    step: int
    path: Path
    members: dict[int, Path]
    """File of each member by its seed, in increasing order."""
    has_state: bool
    """Whether training can resume from here."""

    def read(self, member: int) -> bytes:
        """A member's file after its hash was compared; raises ``CheckpointError`` naming a damaged one."""
        if member not in self.members:
            known = ", ".join(map(str, self.members)) or "none"
            raise CheckpointError(f"{self.path}: no member with seed {member}; members: {known}")
        with Folder.open(self.path.parents[1]) as run:  # the run's own directory alone may be a link
            return _read(run, self, member)


def _read(run: Folder, checkpoint: Checkpoint, member: int) -> bytes:
    path = checkpoint.members[member]
    with open_checkpoint(run, checkpoint) as folder:
        wanted = _manifest(folder)["sha256"].get(path.name)
        with folder.reading(path.name) as file:
            content = file.read()
    if hashlib.sha256(content).hexdigest() != wanted:
        raise CheckpointError(f"{path}: damaged (its SHA-256 is not the one in manifest.json)")
    return content


def open_checkpoint(run: Folder, checkpoint: Checkpoint) -> Folder:
    """A checkpoint's directory; ``RunError`` where it has become a link, or has gone."""
    with failing_clearly(checkpoint.path), run.sub(CHECKPOINTS) as directory:
        return directory.sub(checkpoint.path.name)


@dataclass(frozen=True)
class SavedState:
    """What training resumes from."""

    step: int
    members: dict[int, bytes]
    state: bytes
    info: dict[str, Any]


@dataclass(frozen=True)
class Mark:
    """Length and hash of the metrics at the time of a checkpoint."""

    size: int
    sha256: str


def list_checkpoints(run: Folder) -> list[Checkpoint]:
    """The complete checkpoints of a run by increasing step; nothing in them is read.

    A checkpoint, or a member's file, that is a link is not taken for one: what it leads to is not ours to delete.
    """
    if run.kind(CHECKPOINTS) != "directory":
        return []
    found: list[Checkpoint] = []
    with failing_clearly(run.path / CHECKPOINTS), run.sub(CHECKPOINTS) as directory:
        for name in directory.names():
            match = _STEP.fullmatch(name)
            if match and directory.kind(name) == "directory":
                with directory.sub(name) as folder:
                    files = [name for name in folder.names() if folder.kind(name) == "file"]
                    members = {int(m[1]): folder.path / m[0] for m in map(_MEMBER.fullmatch, files) if m}
                    members = dict(sorted(members.items()))
                found.append(Checkpoint(int(match[1]), folder.path, members, RECORD in files))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def write_checkpoint(
    run: Folder,
    step: int,
    members: Mapping[int, bytes],
    state: bytes,
    info: Mapping[str, Any],
    mark: Mark,
    keep: bool,
) -> None:
    """Write a checkpoint; it appears under its name complete and durable, or not at all."""
    files = {f"member-{seed}.safetensors": content for seed, content in members.items()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    record = {
        "info": info,
        "state": hashlib.sha256(state).hexdigest(),
        "metrics": {"size": mark.size, "sha256": mark.sha256},
    }
    resuming = dump_json(record)
    manifest = {
        "step": step,
        "keep": keep,
        "sha256": hashes,
        RECORD: hashlib.sha256(resuming).hexdigest(),
    }
    final, temporary = f"step-{step:09d}", unforeseen()
    with run.sub(CHECKPOINTS) as directory:
        try:
            with directory.make_sub(temporary) as folder:
                for name, content in files.items():
                    folder.write_new(name, content)
                folder.write_new(MANIFEST, dump_json(manifest))
                folder.write_new(STATE, state)
                folder.write_new(RECORD, resuming)
                folder.sync()
            _discard(directory, final)
            directory.rename(temporary, final)
        except OSError:
            with contextlib.suppress(OSError, RunError):
                directory.remove(temporary)
            raise
        directory.sync()


def prune(run: Folder, states: int) -> None:
    """Keep the state of the newest ``states`` checkpoints that have one.

    Of the others the state goes, its record first, and of those made only for resuming everything.
    """
    saved = list_checkpoints(run)
    resumable = [c for c in saved if c.has_state]
    recent = {c.step for c in resumable[-states:]}
    for checkpoint in saved:
        if checkpoint.step not in recent:
            if checkpoint in resumable and _only_for_resuming(run, checkpoint):
                _discard_from(run, checkpoint)
            else:
                with open_checkpoint(run, checkpoint) as folder:
                    folder.remove(RECORD)
                    folder.remove(STATE)


def _only_for_resuming(run: Folder, checkpoint: Checkpoint) -> bool:
    try:
        with open_checkpoint(run, checkpoint) as folder:
            return _manifest(folder).get("keep") is False
    except CheckpointError:
        return False


def discard_after(run: Folder, step: int) -> None:
    """Drop the checkpoints of later steps: training from ``step`` writes them again."""
    for checkpoint in list_checkpoints(run):
        if checkpoint.step > step:
            _discard_from(run, checkpoint)


def _discard_from(run: Folder, checkpoint: Checkpoint) -> None:
    with run.sub(CHECKPOINTS) as directory:
        _discard(directory, checkpoint.path.name)


def _discard(directory: Folder, name: str) -> None:
    """Delete a checkpoint; under its own name it is whole until it is gone."""
    kind = directory.kind(name)
    if kind == "directory":
        doomed = unforeseen()
        directory.rename(name, doomed)
        directory.remove(doomed)
    elif kind:
        directory.remove(name)


def verify_checkpoint(run: Folder, checkpoint: Checkpoint, seeds: tuple[int, ...]) -> Mark | None:
    """Compare every hash; where the metrics stood, if resuming is possible. ``CheckpointError`` names a bad file."""
    if set(checkpoint.members) != set(seeds):
        raise CheckpointError(
            f"{checkpoint.path}: members {list(checkpoint.members)} are not the run's seeds"
        )
    with open_checkpoint(run, checkpoint) as folder:
        manifest = _manifest(folder)
        for path in checkpoint.members.values():
            _check_hash(folder, path.name, manifest["sha256"].get(path.name))
        if not checkpoint.has_state:
            return None
        _check_hash(folder, RECORD, manifest.get(RECORD))
        record = _state_record(folder)
        _check_hash(folder, STATE, record["state"])
    return Mark(record["metrics"]["size"], record["metrics"]["sha256"])


def _check_hash(folder: Folder, name: str, value: object) -> None:
    if not folder.has(name) or folder.sha256(name) != value:
        raise CheckpointError(f"{folder.path / name}: damaged (its SHA-256 is not the recorded one)")


def load(run: Folder, checkpoint: Checkpoint) -> SavedState:
    """A verified checkpoint's content."""
    members = {seed: _read(run, checkpoint, seed) for seed in checkpoint.members}
    with open_checkpoint(run, checkpoint) as folder:
        with folder.reading(STATE) as file:
            state = file.read()
        return SavedState(checkpoint.step, members, state, _state_record(folder)["info"])


def _manifest(folder: Folder) -> dict[str, Any]:
    try:
        return read_object(folder, MANIFEST, step=int, sha256=dict)
    except RunError as error:
        raise CheckpointError(str(error)) from None


def _state_record(folder: Folder) -> dict[str, Any]:
    try:
        return read_object(folder, RECORD, info=dict, state=str, metrics=dict)
    except RunError as error:
        raise CheckpointError(str(error)) from None
