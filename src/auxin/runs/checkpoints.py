"""Checkpoints of a run: ``checkpoints/step-000003000/`` with a file a member, hashes, and what resuming needs.

A directory is written under a temporary name, synced and renamed: under its own name it is complete.

- ``member-<seed>.safetensors``: a member's weights.
- ``manifest.json``: SHA-256 of each member's file and of ``state.json``, and whether to keep the checkpoint.
- ``state.safetensors``, ``state.json``: the optimizer's state, its hash, and length and hash of the metrics written so
  far; only in the newest two.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxin import files
from auxin.errors import CheckpointError, RunError

CHECKPOINTS = "checkpoints"
MANIFEST, STATE, RECORD = "manifest.json", "state.safetensors", "state.json"
_STEP = re.compile(r"step-(\d{9,18})")
_MEMBER = re.compile(r"member-(0|[1-9]\d{0,18})\.safetensors")


@dataclass(frozen=True)
class SavedState:
    """What training resumes from."""

    step: int
    members: dict[int, bytes]
    """File of each member's weights by its seed."""
    state: bytes
    info: dict[str, Any]
    metrics_size: int
    """Length of the metrics at that time."""
    metrics_sha256: str


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
        name = self.members[member].name
        return self._verified(name, self._manifest()["sha256"].get(name))

    def read_members(self, seeds: tuple[int, ...]) -> dict[int, bytes]:
        """The file of every seed; raises ``CheckpointError`` where the members are others, or damaged."""
        if set(self.members) != set(seeds):
            raise CheckpointError(f"{self.path}: members {list(self.members)} are not the run's seeds")
        return {seed: self.read(seed) for seed in self.members}

    def load(self, seeds: tuple[int, ...]) -> SavedState:
        """What training resumes from, every hash compared; raises ``AuxinError`` naming a damaged file."""
        members = self.read_members(seeds)
        self._verified(RECORD, self._manifest().get(RECORD))
        record = files.read_json(self.path / RECORD, info=dict, state=str, metrics=dict)
        state, metrics = self._verified(STATE, record["state"]), record["metrics"]
        return SavedState(self.step, members, state, record["info"], metrics["size"], metrics["sha256"])

    @property
    def only_for_resuming(self) -> bool:
        """Whether it need not be kept once there are newer ones."""
        with contextlib.suppress(RunError):
            return self.has_state and self._manifest().get("keep") is False
        return False

    def _manifest(self) -> dict[str, Any]:
        return files.read_json(self.path / MANIFEST, step=int, sha256=dict)

    def _verified(self, name: str, digest: object) -> bytes:
        content = files.read(self.path / name)
        if files.sha256(content) != digest:
            raise CheckpointError(f"{self.path / name}: damaged (its SHA-256 is not the recorded one)")
        return content


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """The complete checkpoints of a run by increasing step; nothing in them is read.

    A checkpoint, or a member's file, that is a link is not taken for one: what it leads to is not ours to delete.
    """
    directory = run / CHECKPOINTS
    if files.kind(directory) != "directory":
        return []
    found: list[Checkpoint] = []
    for name in files.names(directory):
        match, path = _STEP.fullmatch(name), directory / name
        if match and files.kind(path) == "directory":
            whole = [name for name in files.names(path) if files.kind(path / name) == "file"]
            members = {int(m[1]): path / m[0] for m in map(_MEMBER.fullmatch, whole) if m}
            found.append(Checkpoint(int(match[1]), path, dict(sorted(members.items())), RECORD in whole))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def write_checkpoint(run: Path, saved: SavedState, keep: bool) -> None:
    """Write a checkpoint; it appears under its name complete and durable, or not at all."""
    members = {f"member-{seed}.safetensors": content for seed, content in saved.members.items()}
    metrics = {"size": saved.metrics_size, "sha256": saved.metrics_sha256}
    record = files.dump_json({"info": saved.info, "state": files.sha256(saved.state), "metrics": metrics})
    digests = {name: files.sha256(content) for name, content in members.items()}
    manifest = {"step": saved.step, "keep": keep, "sha256": digests, RECORD: files.sha256(record)}
    contents = {**members, MANIFEST: files.dump_json(manifest), STATE: saved.state, RECORD: record}
    directory = files.subdirectory(run / CHECKPOINTS)
    final, new = directory / f"step-{saved.step:09d}", files.temporary(directory)
    with files.failing_clearly(final):
        try:
            os.mkdir(new)
            for name, content in contents.items():
                files.write_new(new / name, content)
            files.sync(new)
            discard(final)
            os.replace(new, final)
        except (OSError, RunError):
            with contextlib.suppress(RunError):
                files.remove(new)
            raise
    files.sync(directory)


def prune(run: Path, states: int) -> None:
    """Keep the state of the newest ``states`` checkpoints that have one.

    Of the others the state goes, its record first, and of those made only for resuming everything.
    """
    saved = list_checkpoints(run)
    recent = [checkpoint for checkpoint in saved if checkpoint.has_state][-states:]
    for checkpoint in saved:
        if checkpoint not in recent:
            if checkpoint.only_for_resuming:
                discard(checkpoint.path)
            else:
                files.remove(checkpoint.path / RECORD)
                files.remove(checkpoint.path / STATE)


def discard(path: Path) -> None:
    """Delete a checkpoint, if it is there; under its own name it is whole until it is gone."""
    if files.kind(path):
        doomed = files.temporary(files.subdirectory(path.parent))
        with files.failing_clearly(path):
            os.replace(path, doomed)
        files.remove(doomed)
