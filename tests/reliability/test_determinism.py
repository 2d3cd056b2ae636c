"""The same config comes to the same bytes: whatever the threads, the neighbours, the time and the hash seed."""

import ast
import dataclasses
import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import auxin
from auxin.config import ModelConfig, OptimizerConfig, RunConfig
from auxin.experiment.train import train
from auxin.values import to_json
from published import write_published

SOURCE = Path(auxin.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in FILES]
PROGRAM = """
import sys
from auxin.config import RunConfig
from auxin.values import from_json
from auxin.experiment.train import train
train(from_json(RunConfig, sys.argv[1]), sys.argv[2])
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Wide enough that two threads would round a matrix product or a sum otherwise than one does."""
    data = tmp_path_factory.mktemp("data")
    write_published(data, "question", dict.fromkeys(("train", "dev", "gen"), 40))
    return RunConfig(
        data_dir=str(data),
        model=ModelConfig(depth=2, width=128, heads=4),
        optimizer=OptimizerConfig(learning_rate=0.003, warmup=3),
        steps=6,
        batch_size=8,
        seeds=(3, 4),
        log_every=2,
        checkpoint_every=3,
        eval_size=20,
        measures=("norms", "entropy", "projection"),
        threads=1,
    )


def trained(config: RunConfig, path: Path) -> dict[str, bytes]:
    train(config, path)
    return content(path)


def content(path: Path) -> dict[str, bytes]:
    """Every file of results."""
    about = ("config.toml", "environment.json", "events.log", "lock")
    files = (file for file in path.rglob("*") if file.is_file() and file.name not in about)
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def reference(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return trained(config, tmp_path_factory.mktemp("runs") / "reference")


def test_two_threads_come_to_the_bytes_of_one(
    config: RunConfig, reference: dict[str, bytes], tmp_path: Path
) -> None:
    """In another process, with another hash seed and time zone, too."""
    two = dataclasses.replace(config, threads=2)
    arguments = [to_json(two), str(tmp_path / "x")]
    changes = {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "2", "TZ": "Pacific/Chatham"}
    subprocess.run([sys.executable, "-c", PROGRAM, *arguments], check=True, env=os.environ | changes)
    assert content(tmp_path / "x") == reference


def test_a_member_alone_comes_to_the_bytes_that_it_has_in_a_stack(
    config: RunConfig, reference: dict[str, bytes], tmp_path: Path
) -> None:
    alone = trained(dataclasses.replace(config, seeds=(4,)), tmp_path / "x")
    lines = [line for line in reference["metrics.jsonl"].splitlines() if b'"member": 4,' in line]
    assert alone["metrics.jsonl"].splitlines() == lines
    weights = {name for name in reference if name.endswith("member-4.safetensors")}
    assert len(weights) == 3
    assert {name: alone[name] for name in weights} == {name: reference[name] for name in weights}


def generators() -> tuple[object, ...]:
    """Where the global ones stand."""
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002


def test_no_clock_and_no_global_generator_enters_a_result(
    config: RunConfig, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Python's clocks running backwards, and global generators that stand somewhere and stay there."""
    hours = itertools.count(10**6, -1)
    torch.rand(7)
    before = generators()
    with monkeypatch.context() as patch:
        for name in ("time", "monotonic", "perf_counter"):
            patch.setattr(time, name, lambda: 3600.0 * next(hours))
        assert trained(config, tmp_path / "x") == reference
    assert generators() == before


CLOCKS = {
    *(
        f"time.{name}"
        for name in ("time", "monotonic", "perf_counter", "process_time", "localtime", "gmtime")
    ),
    *(f"time.{name}_ns" for name in ("time", "monotonic", "perf_counter", "process_time")),
    *(
        f"{owner}.{name}"
        for owner in ("datetime", "datetime.datetime")
        for name in ("now", "utcnow", "today")
    ),
    *("date.today", "datetime.date.today"),
}
MAY_READ_A_CLOCK = {
    "experiment/bars.py": "the rate beside a bar",
    "lab/session.py": "how often a bar looks, and wall time of a sitting",
    "lab/workers.py": "wall time of a run, beside its status, here and under Ray",
    "lab/plan.py": "how fast this machine is",
    "runs/store.py": "events.log",
}


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("name", NAMES)
def test_no_module_reads_a_clock_but_for_the_user(name: str) -> None:
    found = [call for call in calls(SOURCE / name) if ast.unparse(call.func) in CLOCKS]
    assert not found or name in MAY_READ_A_CLOCK
    assert found or name not in MAY_READ_A_CLOCK  # or the list grows stale


DRAWS = {
    *(
        "rand",
        "rand_like",
        "randn",
        "randn_like",
        "randint",
        "randint_like",
        "randperm",
        "bernoulli",
        "normal",
    ),
    *("multinomial", "poisson", "dropout", "feature_dropout", "alpha_dropout", "rrelu"),
    *("normal_", "uniform_", "bernoulli_", "random_", "exponential_", "geometric_", "cauchy_", "log_normal_"),
    *(
        "xavier_uniform_",
        "xavier_normal_",
        "kaiming_uniform_",
        "kaiming_normal_",
        "orthogonal_",
        "trunc_normal_",
    ),
}
"""Of torch; without a generator of their own they draw from the global one."""
SEEDED = {"Generator", "PCG64", "SFC64", "SeedSequence", "default_rng"}
"""Of numpy.random, given a seed."""


EXCEPTIONS = {
    "files.py": ["secrets.token_hex(8)"],  # names of temporary files, which nobody may foresee
    # transformers draws its weights from torch's global generator: lent a state here, and given its own back
    "experiment/sources.py": ["torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())"],
    # the same of a user's function
    "probes/transfer.py": ["torch.manual_seed(seed)"],
    "probes/redraws.py": ["torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())"],
}


def draws_globally(call: ast.Call) -> bool:
    """Whether a call seeds a global generator, draws from one, or makes one that nobody seeded."""
    owner, _, name = ast.unparse(call.func).rpartition(".")
    given = {keyword.arg for keyword in call.keywords}
    if owner in ("np.random", "numpy.random"):
        return name not in SEEDED or not call.args
    if owner == "random":
        return name != "Random" or not call.args
    if name in ("manual_seed", "manual_seed_all", "seed", "set_rng_state"):
        return not owner.endswith("Generator()")
    if name in DRAWS and owner.split(".")[0] not in ("generator", "self"):
        return "generator" not in given
    return owner in ("secrets", "uuid") or (owner, name) == ("os", "urandom")


@pytest.mark.parametrize("name", NAMES)
def test_no_module_touches_a_global_generator(name: str) -> None:
    found = [ast.unparse(call) for call in calls(SOURCE / name) if draws_globally(call)]
    assert found == EXCEPTIONS.get(name, [])


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("torch.manual_seed(0)", True),
        ("torch.cuda.manual_seed_all(0)", True),
        ("np.random.seed(0)", True),
        ("np.random.rand(3)", True),
        ("np.random.default_rng()", True),
        ("random.shuffle(x)", True),
        ("random.Random()", True),
        ("torch.randn(3)", True),
        ("x.normal_(0, 1)", True),
        ("nn.init.xavier_uniform_(x)", True),
        ("F.dropout(x, 0.1)", True),
        ("uuid.uuid4()", True),
        ("torch.Generator().manual_seed(seed)", False),
        ("np.random.default_rng(seed)", False),
        ("random.Random(seed)", False),
        ("torch.randn(3, generator=generator)", False),
        ("x.normal_(0, 1, generator=generator)", False),
        ("generator.normal(0, 1)", False),
        ("self.dropout(x)", False),
    ],
)
def test_the_scan_sees_what_it_is_for(code: str, wrong: bool) -> None:
    (call, *_) = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert draws_globally(call) is wrong
