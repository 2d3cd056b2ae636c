"""Checkpoints of a run: ``checkpoints/step-000003000/`` with a file a member, hashes, and what resuming needs.

A directory is written under a temporary name, synced and renamed: under its own name it is complete.

- ``member-<seed>.safetensors``: a member's weights.
- ``manifest.json``: SHA-256 of each member's file and of ``state.json``, and whether to keep the checkpoint.
- ``state.safetensors``, ``state.json``: optimizer, schedule, random generators and data order, their hash, and
  length and hash of the metrics written so far; only in the newest two.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxin.errors import CheckpointError, RunError
from auxin.runs.files import TEMPORARY, dump_json, failing_clearly, read_object, sha256, sync_directory
from auxin.runs.files import write_synced as write

_STEP = re.compile(r"step-(\d{9,18})")
_MEMBER = re.compile(r"member-(0|[1-9]\d{0,18})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """The members' weights after ``step`` updates."""

    step: int
    path: Path
    members: dict[int, Path]
    """File of each member by its seed, in increasing order."""

    @property
    def has_state(self) -> bool:
        """Whether training can resume from here."""
        return (self.path / "state.json").is_file()

    def read(self, member: int) -> bytes:
        """A member's file after its hash was compared; raises ``CheckpointError`` naming a damaged one."""
        if member not in self.members:
            known = ", ".join(map(str, self.members)) or "none"
            raise CheckpointError(f"{self.path}: no member with seed {member}; members: {known}")
        path = self.members[member]
        wanted = _hashes(self.path).get(path.name)
        content = _read_bytes(path)
        if hashlib.sha256(content).hexdigest() != wanted:
            raise CheckpointError(f"{path}: damaged (its SHA-256 is not the one in manifest.json)")
        return content


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


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """The complete checkpoints of a run by increasing step; nothing in them is read."""
    found: list[Checkpoint] = []
    directory = run / "checkpoints"
    with failing_clearly(directory):
        for path in directory.iterdir() if directory.is_dir() else ():
            # what is behind a link is not ours to delete
            if (match := _STEP.fullmatch(path.name)) and path.is_dir() and not path.is_symlink():
                names = ((_MEMBER.fullmatch(file.name), file) for file in path.iterdir() if file.is_file())
                members = {int(name[1]): file for name, file in names if name}
                found.append(Checkpoint(int(match[1]), path, dict(sorted(members.items()))))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def write_checkpoint(
    run: Path,
    step: int,
    members: Mapping[int, bytes],
    state: bytes,
    info: Mapping[str, Any],
    mark: Mark,
    keep: bool,
) -> None:
    """Write a checkpoint; it appears under its name complete and durable, or not at all."""
    directory = run / "checkpoints"
    final = directory / f"step-{step:09d}"
    temporary = directory / (TEMPORARY + final.name)
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
        "state.json": hashlib.sha256(resuming).hexdigest(),
    }
    try:
        temporary.mkdir()
        for name, content in files.items():
            write(temporary / name, content)
        write(temporary / "manifest.json", dump_json(manifest))
        write(temporary / "state.safetensors", state)
        write(temporary / "state.json", resuming)
        sync_directory(temporary)
        _discard(final)
        temporary.rename(final)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(directory)


def prune(run: Path, states: int) -> None:
    """Keep the state of the newest ``states`` checkpoints that have one.

    Of the others the state goes, its record first, and of those made only for resuming everything.
    """
    saved = list_checkpoints(run)
    resumable = [c for c in saved if c.has_state]
    recent = {c.step for c in resumable[-states:]}
    for checkpoint in saved:
        if checkpoint.step not in recent:
            if checkpoint in resumable and _only_for_resuming(checkpoint):
                _discard(checkpoint.path)
            else:
                (checkpoint.path / "state.json").unlink(missing_ok=True)
                (checkpoint.path / "state.safetensors").unlink(missing_ok=True)


def _only_for_resuming(checkpoint: Checkpoint) -> bool:
    try:
        return _manifest(checkpoint.path).get("keep") is False
    except CheckpointError:
        return False


def discard_after(run: Path, step: int) -> None:
    """Drop the checkpoints of later steps: training from ``step`` writes them again."""
    for checkpoint in list_checkpoints(run):
        if checkpoint.step > step:
            _discard(checkpoint.path)


def _discard(path: Path) -> None:
    """Delete a checkpoint; under its own name it is whole until it is gone."""
    if path.exists():
        doomed = path.with_name(f"{TEMPORARY}old-{path.name}")
        path.rename(doomed)
        shutil.rmtree(doomed)


def verify(checkpoint: Checkpoint, seeds: tuple[int, ...]) -> Mark:
    """Compare every hash that resuming relies on; raises ``CheckpointError`` naming the first bad file."""
    if set(checkpoint.members) != set(seeds):
        raise CheckpointError(
            f"{checkpoint.path}: members {list(checkpoint.members)} are not the run's seeds"
        )
    hashes = _hashes(checkpoint.path)
    record = _state_record(checkpoint.path)
    wanted = {path: hashes.get(path.name) for path in checkpoint.members.values()}
    wanted[checkpoint.path / "state.safetensors"] = record["state"]
    wanted[checkpoint.path / "state.json"] = _manifest(checkpoint.path).get("state.json")
    for path, value in wanted.items():
        with failing_clearly(path):
            if not path.is_file() or sha256(path) != value:
                raise CheckpointError(f"{path}: damaged (its SHA-256 is not the recorded one)")
    return Mark(record["metrics"]["size"], record["metrics"]["sha256"])


def load(checkpoint: Checkpoint) -> SavedState:
    """A verified checkpoint's content."""
    members = {seed: checkpoint.read(seed) for seed in checkpoint.members}
    state = _read_bytes(checkpoint.path / "state.safetensors")
    return SavedState(checkpoint.step, members, state, _state_record(checkpoint.path)["info"])


def _read_bytes(path: Path) -> bytes:
    with failing_clearly(path):
        return path.read_bytes()


def _manifest(path: Path) -> dict[str, Any]:
    try:
        return read_object(path / "manifest.json")
    except RunError as error:
        raise CheckpointError(str(error)) from None


def _hashes(path: Path) -> dict[str, str]:
    hashes = _manifest(path).get("sha256")
    if not isinstance(hashes, dict):
        raise CheckpointError(f"{path / 'manifest.json'}: damaged (no hashes)")
    return hashes


def _state_record(path: Path) -> dict[str, Any]:
    try:
        record = read_object(path / "state.json")
    except RunError as error:
        raise CheckpointError(str(error)) from None
    match record:
        case {"info": dict(), "state": str(), "metrics": {"size": int(), "sha256": str()}}:
            return record
    raise CheckpointError(f"{path / 'state.json'}: damaged (not the record of a state)")
