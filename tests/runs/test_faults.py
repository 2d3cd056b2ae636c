"""Faults: damage, a full disk, a lost directory, a second process, a writer killed at any moment."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auxin import files
from auxin.config import RunConfig
from auxin.errors import CheckpointError, RunError
from auxin.runs import Metric, RunDirectory, measuring, open_run
from runs.faults import At, fill_disk, in_child, kill, watched

CONFIG = RunConfig(steps=10**6)

WRITER = """
import sys
from auxin.config import RunConfig
from auxin.runs import Metric, RunDirectory

path, last = sys.argv[1], int(sys.argv[2])
with RunDirectory(path, RunConfig(steps=10**6)) as run:
    print(run.step, flush=True)
    for step in range(run.step + 1, last + 1):
        run.append_metrics([Metric(step, 0, split, "accuracy", step / 7) for split in ("val", "gen")])
        if step % 3 == 0:
            run.save_checkpoint(step, {0: b"w" * step * 50}, b"s" * step, {"step": step}, keep=step % 6 == 0)
    run.finish({})
"""


def writer(path: Path, last: int) -> list[str]:
    return [sys.executable, "-c", WRITER, str(path), str(last)]


def advance(run: RunDirectory, step: int) -> None:
    run.append_metrics([Metric(step, 0, "val", "accuracy", step / 7)])
    run.save_checkpoint(step, {0: b"weights" * step}, b"state" * step, {"at": step})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run of three checkpoints, of which the last two can be resumed from."""
    with RunDirectory(tmp_path / "x", CONFIG) as run:
        for step in (10, 20, 30):
            advance(run, step)
    return tmp_path / "x"


def checkpoint(out: Path, step: int) -> Path:
    return out / "checkpoints" / f"step-{step:09d}"


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, Path.unlink])
@pytest.mark.parametrize("name", ["member-0.safetensors", "manifest.json", "state.safetensors", "state.json"])
def test_damage_is_named_and_the_checkpoint_before_it_used(out: Path, name: str, damage) -> None:
    file = checkpoint(out, 30) / name
    damage(file)
    with RunDirectory(out, CONFIG) as run:
        saved = run.saved
        assert saved is not None
        assert (run.step, saved.step, saved.state) == (20, 20, b"state" * 20)
        if (
            file.name != "state.json" or damage is not Path.unlink
        ):  # without its record a state does not count
            assert len(run.warnings) == 1
            assert str(checkpoint(out, 30)) in run.warnings[0]
            assert run.warnings[0].partition(";")[0] in (out / "events.log").read_text()
        advance(run, 30)
    assert open_run(out).metrics["step"].to_list() == [10, 20, 30]
    assert open_run(out).checkpoints[-1].read(0) == b"weights" * 30


def test_damage_without_an_intact_state_is_an_error_that_keeps_older_weights(out: Path) -> None:
    truncate(checkpoint(out, 20) / "state.safetensors")
    truncate(checkpoint(out, 30) / "member-0.safetensors")
    with pytest.raises(RunError, match=r"no checkpoint to resume from \(.*step-000000020/state\.safetensors"):
        RunDirectory(out, CONFIG)
    assert open_run(out).checkpoints[0].read(0) == b"weights" * 10


def test_a_damaged_first_checkpoint_means_starting_over(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "x", CONFIG) as run:
        advance(run, 10)
    flip_a_bit(checkpoint(tmp_path / "x", 10) / "state.safetensors")
    with RunDirectory(tmp_path / "x", CONFIG) as run:
        assert (run.step, run.saved) == (0, None)
    assert (tmp_path / "x" / "metrics.jsonl").read_bytes() == b""


def flips(content: bytes, every: int = 1) -> Iterator[bytes]:
    """The content with one bit of a byte changed, of each in turn."""
    bits = random.Random(0)
    for at in range(0, len(content), every):
        changed = bytearray(content)
        changed[at] ^= 1 << bits.randrange(8)
        yield bytes(changed)


def cuts(content: bytes) -> Iterator[bytes]:
    """Beginnings of the content."""
    return (content[:size] for size in range(0, len(content), 16))


@pytest.mark.parametrize("name", ["member-0.safetensors", "manifest.json", "state.safetensors", "state.json"])
def test_whatever_bit_flips_what_is_resumed_was_saved(
    out: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunDirectory, "_note_environment", lambda *_: None)  # it asks git
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    file, kept = checkpoint(out, 30) / name, out / "checkpoints"
    content, metrics = file.read_bytes(), (out / "metrics.jsonl").read_bytes()
    shutil.copytree(kept, out.with_name("kept"))
    damages = [*flips(content, every=1 if name.endswith(".json") else 16), *cuts(content)]
    back = 0
    for damaged in damages:
        file.write_bytes(damaged)
        with RunDirectory(out, CONFIG) as run:
            saved = run.saved
        assert saved is not None
        assert (saved.step, saved.state) in ((20, b"state" * 20), (30, b"state" * 30))
        assert (saved.members, saved.info) == ({0: b"weights" * saved.step}, {"at": saved.step})
        if saved.step == 20:
            back += 1
            shutil.copytree(out.with_name("kept") / file.parent.name, file.parent)
            (out / "metrics.jsonl").write_bytes(metrics)
    assert back > 0.85 * len(damages)  # resuming does not need the manifest's "step" and "keep"


def test_whatever_bit_of_a_finished_runs_metrics_flips_it_is_noticed(out: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        run.finish({})
    content = (out / "metrics.jsonl").read_bytes()
    assert open_run(out).metrics.height == 3
    for damaged in itertools.chain(flips(content), cuts(content)):
        (out / "metrics.jsonl").write_bytes(damaged)
        with pytest.raises(RunError, match=r"metrics\.jsonl: damaged"):
            _ = open_run(out).metrics
    (out / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match=r"metrics\.jsonl: [Nn]o such file"):
        _ = open_run(out).metrics


def test_whatever_bit_of_a_summary_flips_its_numbers_stay_or_it_is_noticed(out: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        run.finish({"accuracy": {"gen": {"0": 0.512}}, "steps": 30})
    file, written = out / "summary.json", open_run(out).summary
    assert (written["accuracy"]["gen"]["0"], written["steps"]) == (0.512, 30)
    content, noticed = file.read_bytes(), 0
    for damaged in itertools.chain(flips(content), cuts(content)):
        file.write_bytes(damaged)
        try:
            assert written.items() <= open_run(out).summary.items()  # a changed "sha256" is another key
        except RunError:
            noticed += 1
    assert noticed > 0.8 * len(content)


def test_whatever_bit_of_the_measures_flips_it_is_noticed(out: Path) -> None:
    row = Metric(10, 0, "train", "tree_score", 0.8)
    with measuring(out) as append:
        append([row])
        append([row._replace(step=20)])
    file, mark = out / "measures.jsonl", out / "measures.json"
    content = file.read_bytes()
    for damaged in itertools.chain(flips(content), cuts(content)):
        file.write_bytes(damaged)
        for use in (lambda: open_run(out).metrics, lambda: measuring(out).__enter__()):
            with pytest.raises(RunError, match=r"measures\.jsonl: damaged"):
                use()
    file.write_bytes(content)
    whole = open_run(out).metrics
    content = mark.read_bytes()
    for damaged in itertools.chain(flips(content), cuts(content)):
        mark.write_bytes(damaged)
        with contextlib.suppress(RunError):
            assert open_run(out).metrics.equals(whole)


@pytest.mark.parametrize("damage", [flip_a_bit, truncate])
def test_damaged_metrics_are_never_continued(out: Path, damage) -> None:
    damage(out / "metrics.jsonl")
    with pytest.raises(
        RunError, match=r"no checkpoint to resume from \(.*metrics\.jsonl: damaged before step 20"
    ):
        RunDirectory(out, CONFIG)


def test_a_damaged_last_metric_goes_back_one_checkpoint(out: Path) -> None:
    lines = (out / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (out / "metrics.jsonl").write_bytes(b"".join(lines[:2]) + b'{"step": 30,\n')
    with RunDirectory(out, CONFIG) as run:
        assert run.step == 20
    assert (out / "metrics.jsonl").read_bytes() == b"".join(lines[:2])


def test_a_reader_notices_damaged_weights(out: Path) -> None:
    flip_a_bit(checkpoint(out, 10) / "member-0.safetensors")
    with pytest.raises(CheckpointError, match=r"step-000000010/member-0\.safetensors: damaged"):
        open_run(out).checkpoints[0].read(0)
    with pytest.raises(CheckpointError, match="no member with seed 9; members: 0"):
        open_run(out).checkpoints[1].read(9)


def test_a_lost_directory_is_noticed(out: Path) -> None:
    with RunDirectory(out, CONFIG) as run:
        shutil.rmtree(out)
        with pytest.raises(RunError, match=r"metrics\.jsonl: [Nn]o such file"):
            run.append_metrics([Metric(31, 0, "val", "accuracy", 1.0)])
        with pytest.raises(RunError, match="no such directory"):
            run.save_checkpoint(31, {0: b""}, b"", {})
    assert not out.exists()


def write_run(path: Path) -> None:
    """A whole run, or what is left to do of it."""
    with RunDirectory(path, CONFIG) as run:
        if run.finished:
            return
        for step in range(run.step + 1, 8):
            run.append_metrics([Metric(step, 0, split, "accuracy", step / 7) for split in ("val", "gen")])
            if step % 2 == 0:
                run.save_checkpoint(step, {0: b"w" * step}, b"s" * step, {"at": step}, keep=step != 2)
        run.finish({"best": 1.0})


@pytest.fixture
def undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a run leaves on the disk; without its two slow parts, git and a disk that is waited for."""
    nothing = {"torch": "", "auxin": "", "processor": ""}
    monkeypatch.setattr("auxin.runs.store.environment", lambda config: nothing)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write_run(tmp_path / "undisturbed")
    return contents(tmp_path / "undisturbed")


def test_killed_at_any_operation_it_ends_with_the_same_bytes(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Before each one, and half-way through each write."""

    def die(path: Path, number: int) -> None:
        with watched(At(number, kill)):
            write_run(path)

    for number in itertools.count():
        path = tmp_path / str(number)
        ended = in_child(lambda: die(path, number))  # noqa: B023
        write_run(path)
        assert contents(path) == undisturbed, number
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert number > 100


def test_a_full_disk_at_any_operation_is_said_and_leaves_the_last_checkpoint(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    messages = set()
    for number in itertools.count():
        path, fault = tmp_path / str(number), At(number, fill_disk)
        try:
            with watched(fault):
                write_run(path)
        except RunError as error:
            messages.add(str(error).replace(str(path), ""))
        if len(fault.seen) <= number:
            break
        write_run(path)
        assert contents(path) == undisturbed, (number, fault.seen[-1])
    assert number > 100
    assert all("No space left on device" in message for message in messages)
    assert any("the last checkpoint is of step 6" in message for message in messages)


def test_a_really_full_disk(tmp_path: Path) -> None:
    """On a file system of 1 MB of its own; needs a user namespace in which mounting is allowed."""
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    script = f'mount -t tmpfs -o size=1m none {tmp_path} && exec "$@"'
    probe = [*mount, f"mount -t tmpfs -o size=1m none {tmp_path}"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this machine does not allow mounting in a user namespace")
    fill = (
        WRITER.replace('b"w" * step * 50', 'b"w" * 100_000').replace("run.finish({})", "")
        + "import sys\n"
        + "from auxin.runs import open_run\n"
    )
    guarded = (
        "from auxin.errors import RunError\ntry:\n"
        + "".join(f"    {line}\n" for line in fill.splitlines())
        + "except RunError as error:\n    print(error)\n"
        + "    with RunDirectory(path, RunConfig(steps=10**6)) as run:\n"
        + "        print(run.step, run.saved.step, run.warnings)\n"
    )
    command = [*mount, script, "sh", sys.executable, "-c", guarded, str(tmp_path / "x"), "1000"]
    result = subprocess.run(command, capture_output=True, text=True)
    first, error, after = result.stdout.splitlines()
    assert first == "0", result.stderr
    assert "No space left on device" in error
    step = int(error.partition("checkpoint is of step ")[2].split()[0])
    assert step > 3
    assert after == f"{step} {step} []"


def test_a_second_process_is_refused_and_a_dead_ones_lock_recovered(tmp_path: Path) -> None:
    holder = subprocess.Popen(writer(tmp_path / "x", 10**6), stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "0\n"
        with pytest.raises(RunError, match="another process is writing this run"):
            RunDirectory(tmp_path / "x", CONFIG)
    finally:
        holder.kill()
        holder.communicate()
    assert (tmp_path / "x" / "lock").exists()
    RunDirectory(tmp_path / "x", CONFIG).close()


def as_nobody(work: Callable[[], None]) -> int:
    """The exit status of a child that does the work without root's right to write anywhere."""

    def alone() -> None:
        with contextlib.suppress(PermissionError):
            os.setuid(65534)
        work()

    return in_child(alone)


def test_a_read_only_directory_can_be_read_and_is_not_written() -> None:
    def look() -> None:
        # a fork must not use polars, whose threads stayed behind
        assert files.read(finished / "metrics.jsonl").count(b"\n") == 1
        assert open_run(finished).checkpoints[0].read(0) == b"weights" * 10
        for path in (finished, finished.with_name("new")):
            with pytest.raises(RunError, match="Permission denied"):
                RunDirectory(path, CONFIG)

    with tempfile.TemporaryDirectory() as directory:
        finished = Path(directory) / "x"
        with RunDirectory(finished, CONFIG) as run:
            advance(run, 10)
            run.finish({})
        for path in (Path(directory), *Path(directory).rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert as_nobody(look) == 0


def contents(path: Path) -> dict[str, bytes]:
    varying = ("events.log", "lock", "environment.json")
    files = (p for p in path.rglob("*") if p.is_file() and p.name not in varying)
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def test_checkpoints_swapped_for_a_link_lead_nowhere(out: Path) -> None:
    outside = out.with_name("outside")
    outside.mkdir()
    with RunDirectory(out, CONFIG) as run:
        (out / "checkpoints").rename(out.with_name("kept"))
        (out / "checkpoints").symlink_to(outside)
        with pytest.raises(RunError, match="a symbolic link"):
            run.save_checkpoint(40, {0: b"weights"}, b"state", {})
    assert list(outside.iterdir()) == []
