"""Readers of models, data and damaged runs meet random bytes: only our own errors come out, soon and small.

CI reads a few thousand files, the same every time; ``make fuzz`` a hundred thousand others.
"""

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from auxin.config import ModelConfig, RunConfig
from auxin.models.formats import model_bytes
from auxin.models.transformer import TransformerLM
from auxin.runs import Metric, RunDirectory, measuring, open_run
from auxin.tasks import load_task
from auxin.tasks.trees import read_penn
from auxin.values import from_json, to_json
from reliability.hostile import (
    BYTES,
    EXAMPLES,
    hostile,
    refused_or_read,
    safetensors,
    shapes,
)

CONFIG = RunConfig(seeds=(1, 0))
SMALL = ModelConfig(depth=1, width=4, heads=2, vocabulary_size=3, feedforward=4, max_length=8)
ENGLISH = b"the newt who doesn't read does eat . quest\tdoes the newt who doesn't read eat ?\n"
PLAIN = b"my yaks do eat . decl\tmy yaks do eat .\r\n"
TENSE = b"the newt around my yaks amused the raven . PRESENT\tthe newt around my yaks amuses the raven .\n"
DYCK = b"(a (b b) a) END\n(c c) (d (a a) d)\n"
PENN = b"(S (NP (DT the) (NN newt)) (VP (VBZ does) (VP (VB read))) (. .))\n( (S (-NONE- *) (NN yak)))\n"

fuzzed = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))  # pyright: ignore[reportArgumentType]
slower, drawn = settings(fuzzed, max_examples=EXAMPLES // 2), settings(fuzzed, max_examples=EXAMPLES // 10)


def model(config: ModelConfig = SMALL) -> TransformerLM:
    return TransformerLM(config, torch.Generator().manual_seed(0))


OURS = model_bytes(model().state_dict(), SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files are put; what readers import when first called has been imported."""
    path = tmp_path_factory.mktemp("fuzz")
    (path / "first.safetensors").write_bytes(OURS)
    TransformerLM.from_pretrained(path / "first.safetensors")
    read_penn(PENN.decode())
    return path


@fuzzed
@given(hostile(to_json(CONFIG).encode(), b'{"seeds": [1], "model": {"depth": 3, "norm": "pre"}}'))
def test_config_json(content: bytes) -> None:
    refused_or_read(lambda: from_json(RunConfig, content.decode("utf-8", "replace")))


@fuzzed
@given(hostile(OURS), st.booleans())
def test_safetensors(folder: Path, content: bytes, whole_header: bool) -> None:
    """Also with the header's length put right, so that what is inside is looked at."""
    path = folder / "m.safetensors"
    end = content.rfind(b"}") + 1
    if whole_header and end > 8:
        content = struct.pack("<Q", end - 8) + content[8:]
    path.write_bytes(content)
    refused_or_read(lambda: TransformerLM.from_pretrained(path))


NAMES = ["0", "1", "-1", "²", "9" * 5000, "999999999", "0.0", "", "0.linear1", "positions", "layers"]


@fuzzed
@given(
    st.dictionaries(
        st.integers(0, 30),
        st.tuples(
            st.sampled_from([None, "drop", *NAMES]),
            st.sampled_from([None, *BYTES]),
            st.none() | st.lists(st.integers(0, 8), max_size=4),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_sound_safetensors_of_wrong_names_types_and_shapes(
    folder: Path, changes: dict[int, tuple[str | None, str | None, list[int] | None]]
) -> None:
    tensors: dict[str, tuple[str, list[int]]] = {}
    for index, (name, (kind, shape)) in enumerate(shapes(OURS).items()):
        new_name, new_kind, new_shape = changes.get(index, (None, None, None))
        if new_name not in (None, "drop"):
            name = name.replace("0", new_name, 1) if "0" in name else new_name
        if new_name != "drop":
            tensors[name] = (new_kind or kind, shape if new_shape is None else new_shape)
    path = folder / "w.safetensors"
    path.write_bytes(safetensors(tensors, {"auxin.model": to_json(SMALL)}))
    refused_or_read(lambda: TransformerLM.from_pretrained(path))


def data(task: str, *valid: bytes) -> Callable[..., None]:
    @fuzzed
    @given(hostile(*valid))
    def test(folder: Path, content: bytes) -> None:
        (folder / task).mkdir(exist_ok=True)
        (folder / task / f"{task}.train").write_bytes(content)

        def read() -> None:
            loaded = load_task(task, data_dir=folder / task)
            loaded.encoded("train")
            assert all(sentence.gold for sentence in loaded.splits["train"])

        refused_or_read(read)

    return test


test_question_files = data("question", ENGLISH + PLAIN, PLAIN)
test_tense_files = data("tense", TENSE, TENSE.replace(b"PRESENT", b"PAST"))
test_dyck_files = data("dyck", DYCK)


@fuzzed
@given(hostile(PENN, b"(X (Y a) (Z (Q b) c))"))
def test_penn_trees(folder: Path, content: bytes) -> None:
    refused_or_read(lambda: read_penn(content.decode("utf-8", "replace")))


RUN_FILES = (
    "config.toml",
    "metrics.jsonl",
    "measures.jsonl",
    "measures.json",
    "summary.json",
    "environment.json",
    "checkpoints/step-000000010/manifest.json",
    "checkpoints/step-000000010/state.json",
    "checkpoints/step-000000010/state.safetensors",
    "checkpoints/step-000000010/member-0.safetensors",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "x"
    with RunDirectory(path, CONFIG) as directory:
        rows = [Metric(10, m, split, "accuracy", m / 2) for m in (1, 0) for split in ("val", "gen")]
        directory.append_metrics(rows)
        directory.save_checkpoint(10, {0: OURS, 1: OURS}, save({}), {"frozen": {}, "loss_count": 3})
        directory.finish({"accuracy": {"gen": {"0": 0.5, "1": None}}})
    with measuring(path) as append:
        append(rows)
    _ = open_run(path).metrics  # imports polars
    return path


@slower
@given(st.data(), st.sampled_from(RUN_FILES), st.booleans())
def test_runs(folder: Path, run: Path, quick: None, data: st.DataObject, name: str, finished: bool) -> None:
    """Read and, where it is not finished, resumed."""
    valid = [(run / file).read_bytes() for file in RUN_FILES if Path(file).suffix == Path(name).suffix]
    copy = folder / "run"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    (copy / name).write_bytes(data.draw(hostile((run / name).read_bytes(), *valid)))
    if not finished:
        (copy / "summary.json").unlink()

    def read() -> None:
        there = open_run(copy)
        for look in (lambda: there.metrics, lambda: there.summary, lambda: there.environment):
            refused_or_read(look)
        for checkpoint in there.checkpoints:
            for member in checkpoint.members:
                refused_or_read(lambda: checkpoint.read(member))  # noqa: B023

    def resume() -> None:
        RunDirectory(copy, CONFIG).close()

    refused_or_read(read)
    refused_or_read(resume)


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Without what is slow: git, and a disk that is waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "auxin.runs.store.environment", lambda config: {"torch": "", "auxin": "", "processor": ""}
        )
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
