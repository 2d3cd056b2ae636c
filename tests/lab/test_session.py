"""Sweeps: nothing is trained twice, nothing is lost, and one bad run or worker does not stop the others."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from auxin.errors import ConfigError, Interrupted, RunError
from auxin.experiment.data import Sentences
from auxin.experiment.train import train
from auxin.lab import workers
from auxin.lab.named import Job, NamedRun, Outcome
from auxin.lab.places import has_finished, reusable, take_over
from auxin.lab.plan import default_workers
from auxin.lab.session import SweepProgress, train_jobs
from auxin.lab.table import logged
from auxin.lab.workers import LocalWorkers
from auxin.runs import RunDirectory, open_run
from lab.sweeps import content, last_step, tiny, train_runs

RUNS = [tiny("a", 0), tiny("b", 1)]
DATA = Sentences()
LONG = tiny("long", 2, steps=200, checkpoint_every=20, log_every=10)


def trained(
    jobs: list[Job], log: Path, most: int = 1, tick: Callable[[], None] = lambda: None
) -> list[Outcome]:
    """What becomes of jobs that worker processes train."""
    pool = LocalWorkers(jobs, log, most, threads=1)
    return list(train_jobs(jobs, pool, stopping=lambda: False, tick=tick))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("swept")
    assert [o.status for o in train_runs(RUNS, out, workers=2)] == ["finished"] * 2
    return out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "long"
    train(LONG.config, path)
    return path


def test_a_worker_trains_what_training_here_does(swept: Path, tmp_path: Path) -> None:
    train(RUNS[0].config, tmp_path / "a")
    assert content(swept / "runs" / "a") == content(tmp_path / "a")


def test_finished_runs_are_left_alone_and_new_ones_trained(swept: Path) -> None:
    files = [swept / "runs" / name / "metrics.jsonl" for name in "ab"]
    before = [file.stat().st_mtime_ns for file in files]
    outcomes = train_runs([*RUNS, tiny("c", 2)], swept)
    assert [(o.name, o.status) for o in outcomes] == [(n, "finished") for n in "abc"]
    assert [o.seconds > 0 for o in outcomes] == [False, False, True]
    assert [file.stat().st_mtime_ns for file in files] == before


def test_tables_have_the_settings_as_columns(swept: Path) -> None:
    table = logged([*RUNS, tiny("never")], swept)
    assert table.columns == ["run", "seed", "step", "member", "split", "name", "value"]
    assert set(table.select("run", "seed").iter_rows()) == {("a", 0), ("b", 1)}
    own = table.filter(run="b").drop("run", "seed")
    assert own.equals(open_run(swept / "runs" / "b").metrics)
    with pytest.raises(ConfigError, match=r"finished runs in .* is 0; allowed: at least one"):
        logged([tiny("never")], swept)


def test_a_failed_run_is_reported_and_the_rest_go_on(tmp_path: Path) -> None:
    (tmp_path / "runs" / "foreign").mkdir(parents=True)
    (tmp_path / "runs" / "foreign" / "thesis.txt").write_text("mine")
    lost = tiny("lost", data_dir=str(tmp_path / "nothing"))
    outcomes = train_runs([lost, tiny("foreign"), tiny("good", steps=5)], tmp_path, workers=1)
    assert [o.status for o in outcomes] == ["failed", "failed", "finished"]
    assert str(tmp_path / "nothing") in outcomes[0].detail
    assert "holds something else (thesis.txt)" in outcomes[1].detail
    assert (tmp_path / "runs" / "foreign" / "thesis.txt").read_text() == "mine"


def test_an_unforeseen_error_fails_only_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero\nand more")

    monkeypatch.setattr(workers, "train", broken)
    assert workers.train_one(tiny("a").config, str(tmp_path)) == ("failed", "ZeroDivisionError: by zero")
    assert "Traceback" in capsys.readouterr().err


def test_another_run_of_the_name_is_not_taken_for_this_one(swept: Path) -> None:
    other = tiny("a", 0, steps=31)
    assert has_finished(RUNS[0].config, swept / "runs" / "a", DATA)
    assert not has_finished(other.config, swept / "runs" / "a", DATA)
    with pytest.raises(RunError, match="holds another run"):
        train_runs([other], swept)


def test_finished_runs_of_another_study_are_copied_where_the_config_is_the_same(
    swept: Path, tmp_path: Path
) -> None:
    other = [tiny("same", 0), tiny("changed", 0, steps=31), tiny("measured", 1, measures=("norms",))]
    same = reusable(other, tmp_path, [swept], DATA)
    assert {name: run.path for name, run in same.items()} == {"same": swept / "runs" / "a"}
    take_over(same, tmp_path)
    assert has_finished(other[0].config, tmp_path / "same", DATA)
    assert content(tmp_path / "same") == content(swept / "runs" / "a")
    assert not (tmp_path / "same" / "lock").exists()
    assert reusable(other, tmp_path, [swept], DATA) == {}  # what has finished is left alone
    with pytest.raises(ConfigError, match=r"reuse is '.*same'; allowed: the directory of a study"):
        reusable(other, tmp_path, [tmp_path / "same"], DATA)


def test_a_measured_run_has_all_that_one_without_measures_has(tmp_path: Path) -> None:
    measured = tiny("measured", measures=("norms",))
    train(measured.config, tmp_path / "runs" / "measured")
    plain = tiny("plain", checkpoint_every=10)
    (found,) = reusable([plain], tmp_path, [tmp_path], DATA).values()
    assert found.path == tmp_path / "runs" / "measured"
    own, both = open_run(tmp_path / "runs" / "measured").metrics, logged([measured], tmp_path)
    train(plain.config, tmp_path / "plain")
    names = open_run(tmp_path / "plain").metrics["name"].unique().to_list()
    assert own.filter(own["name"].is_in(names)).equals(open_run(tmp_path / "plain").metrics)
    assert len(both) == len(own)


def test_a_run_that_another_process_holds_is_waited_for_and_taken_over(swept: Path, tmp_path: Path) -> None:
    there = open_run(swept / "runs" / "a")
    held = RunDirectory(tmp_path / "runs" / "a", there.config, there.data)
    timer = threading.Timer(2.0, held.close)  # as when it dies: the lock is gone, the run is not finished
    timer.start()
    assert [(o.name, o.status) for o in train_runs(RUNS, tmp_path, workers=2)] == [
        ("a", "finished"),
        ("b", "finished"),
    ]
    assert content(tmp_path / "runs" / "a") == content(swept / "runs" / "a")


def killing(
    monkeypatch: pytest.MonkeyPatch, path: Path, times: int, steps: int
) -> tuple[Callable[[], None], list[int]]:
    """A tick that kills the worker ``times`` times, each once the run has logged ``steps`` more steps."""
    begun: list[subprocess.Popen[str]] = []
    killed: list[int] = []
    popen = subprocess.Popen

    def recorded(*arguments: object, **options: object) -> subprocess.Popen[str]:
        begun.append(popen(*arguments, **options))  # pyright: ignore[reportCallIssue, reportArgumentType]
        return begun[-1]

    def tick() -> None:
        if len(killed) < times and len(begun) > len(killed) and last_step(path) >= steps * len(begun):
            begun[-1].kill()
            killed.append(begun[-1].pid)

    monkeypatch.setattr(workers.subprocess, "Popen", recorded)
    return tick, killed


def test_workers_import_nothing_from_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "statistics", "numpy", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not the library')")
    monkeypatch.chdir(tmp_path)
    job = Job("x", tiny("x", steps=2).config, tmp_path / "run", lambda _: "")
    (outcome,) = trained([job], tmp_path / "log")
    assert (outcome.status, outcome.detail) == ("finished", "")


def test_what_a_library_prints_as_python_starts_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('hello from sitecustomize')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))
    (outcome,) = train_runs([tiny("a", steps=5)], tmp_path / "out", workers=1)
    assert outcome.status == "finished"
    assert "hello from sitecustomize" in (tmp_path / "out" / "workers.log").read_text()


@pytest.mark.parametrize("times", [1, 2])
def test_a_killed_worker_is_replaced_once(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    path = tmp_path / "long"
    tick, killed = killing(monkeypatch, path, times, steps=40)
    jobs = [Job("long", LONG.config, path, lambda _: "")]
    log = tmp_path / "log"
    (outcome,) = trained(jobs, log, tick=tick)
    assert len(killed) == times
    if times == 1:
        assert outcome.status == "finished"
        assert content(path) == content(undisturbed)
    else:
        assert (outcome.status, outcome.detail) == (
            "failed",
            f"its worker died twice, by signal 9; what it said is in {log}",
        )


def test_an_interrupted_sweep_resumes_to_the_same_bytes(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs" / "long"

    sent: list[int] = []

    def interrupt_once(self: SweepProgress) -> None:
        if not sent and last_step(path) >= 40:
            sent.append(last_step(path))
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SweepProgress, "tick", interrupt_once)
    runs = [LONG, tiny("later", 3)]
    with pytest.raises(Interrupted, match=r"stopped with 0 of 2 runs finished and the others saved") as e:
        train_runs(runs, tmp_path, workers=1)
    assert e.value.signal == signal.SIGINT
    assert not (path / "summary.json").exists()
    assert not (tmp_path / "runs" / "later").exists()
    assert [o.status for o in train_runs(runs, tmp_path, workers=2)] == ["finished"] * 2
    assert content(path) == content(undisturbed)


PROGRAM = """
import sys
from lab.sweeps import tiny, train_runs
train_runs([tiny("long", 2, steps=200, checkpoint_every=20, log_every=10)], sys.argv[1])
"""


def test_workers_save_and_end_when_their_parent_is_killed(undisturbed: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "long"
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment)
    while parent.poll() is None and last_step(path) < 40:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while "stopped by signal" not in (path / "events.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    train(LONG.config, path)
    assert content(path) == content(undisturbed)


ECHO = """
import json, os, sys
results = os.fdopen(int(sys.argv[-1]), "w")
for line in sys.stdin:
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    print(json.dumps({"status": "failed", "seconds": 0, "detail": gpus}), file=results, flush=True)
"""


@pytest.mark.parametrize(
    ("visible", "device", "seen"),
    [
        (None, "cuda", ["0", "0", "1"]),
        ("4,GPU-a,9", "cuda", ["4", "4", "GPU-a"]),
        (None, "cuda:1", ["all"] * 3),
        (None, "cpu", ["all"] * 3),
    ],
)
def test_each_worker_has_a_gpu_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str, seen: list[str]
) -> None:
    """Workers that answer with the GPUs that they see, on a machine that seems to have two."""
    popen = subprocess.Popen
    echo = lambda command, **options: popen([sys.executable, "-c", ECHO, command[-1]], **options)
    monkeypatch.setattr(workers.subprocess, "Popen", echo)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    jobs = [Job(str(i), tiny(str(i), device=device).config, tmp_path, lambda _: "") for i in range(3)]
    assert sorted(outcome.detail for outcome in trained(jobs, tmp_path / "log", most=3)) == seen


def test_impossible_sweeps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name of a run is 'a'; allowed: each name once"):
        train_runs([tiny("a"), tiny("a", 1)], tmp_path)
    with pytest.raises(ConfigError, match="workers is -1; allowed: 0"):
        train_runs(RUNS, tmp_path, workers=-1)
    for name in ("", "../up", "a/b", "A", ".hidden", "x" * 101):
        with pytest.raises(ConfigError, match="name of a run is"):
            NamedRun(name, RUNS[0].config)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file"):
        train_runs(RUNS, tmp_path / "file")


def test_as_many_workers_as_the_threads_of_a_run_leave_cores_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    configs = [tiny(f"r{i}").config for i in range(6)]
    assert default_workers(configs) == 6
    assert default_workers(configs * 2) == 8
    assert default_workers([tiny("r", steps=5).config]) == 1
    assert default_workers([]) == 1


def test_progress_is_a_line_a_run_where_there_is_no_terminal(
    swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_runs([*RUNS, tiny("bad", data_dir="/nowhere")], swept, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("3/3 bad failed: data_dir is '/nowhere'")
