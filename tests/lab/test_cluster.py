"""The same runs under Ray give the same bytes, also when a worker is killed."""

import builtins
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auxin.errors import ConfigError
from auxin.experiment.train import train
from auxin.lab.named import NamedRun
from auxin.lab.sweep import sweep
from lab.sweeps import content, last_step, process_with_open, tiny, train_runs

LONG = tiny("long", 2, steps=200, checkpoint_every=20, log_every=10)


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="ray is not installed (pip install '.[ray]')")
    here = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    paths = {"PYTHONPATH": os.pathsep.join(here)}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": paths})
    yield
    ray.shutdown()


def test_a_sweep_on_ray_is_the_one_trained_here(two_workers: None, tmp_path: Path) -> None:
    runs = [tiny("a", 0), tiny("b", 1), tiny("lost", data_dir=str(tmp_path / "nothing"))]
    runs = [NamedRun(run.name, run.config, {"depth": i}) for i, run in enumerate(runs)]
    for where, ray in (("ray", "auto"), ("here", "")):
        found = sweep(runs, tmp_path / where, ray=ray, workers=1).runs
        assert [run.status for run in found] == ["finished", "finished", "failed"]
        assert "nothing" in found[2].detail
    for name in ("table.csv", "sweep.json"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    for name in "ab":
        assert content(tmp_path / "ray" / "runs" / name) == content(tmp_path / "here" / "runs" / name)


def test_a_run_whose_worker_is_killed_resumes_elsewhere(two_workers: None, tmp_path: Path) -> None:
    path = tmp_path / "ray" / "runs" / "long"
    killed: list[int] = []

    def kill() -> None:
        while last_step(path) < 40:
            time.sleep(0.01)
        holder = process_with_open(path / "lock")
        os.kill(holder, signal.SIGKILL)
        killed.append(holder)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = train_runs([LONG, tiny("other", 3)], tmp_path / "ray", ray="auto")
    killer.join()
    assert len(killed) == 1
    assert [o.status for o in outcomes] == ["finished"] * 2
    train(LONG.config, tmp_path / "long")
    assert content(path) == content(tmp_path / "long")


def test_without_ray_a_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_ray(name: str, *rest: object) -> object:
        if name == "ray":
            raise ImportError(name)
        return real(name, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(
        ConfigError, match=r"ray is not installed; allowed: pip install '.\[ray\]' in a clone"
    ):
        train_runs([tiny("a")], tmp_path, ray="auto")
