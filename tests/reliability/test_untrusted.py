"""Files that ask for what they must not get: unbounded work, another place on the disk, code to be run."""

import ast
import contextlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import auxin
from auxin.config import ModelConfig, RunConfig
from auxin.errors import CheckpointError, RunError
from auxin.models.transformer import TransformerLM
from auxin.runs import Metric, RunDirectory, measuring, open_run
from auxin.tasks.english import language
from auxin.tasks.files import read_split
from auxin.tasks.trees import Tree, brackets, leaves, read_penn
from auxin.values import from_json, to_json
from reliability.hostile import bounded, refused_or_read, safetensors

SOURCE = Path(auxin.__file__).parent
CONFIG = RunConfig()
DEEP = 100_000
NESTED = "[" * DEEP + "]" * DEEP


def header(size: int, rest: bytes = b"") -> bytes:
    """A safetensors file that says its header has this many bytes."""
    return struct.pack("<Q", size) + rest


def claiming(tensors: dict[str, object]) -> bytes:
    """A safetensors file with this header and no data."""
    text = json.dumps(tensors).encode()
    return header(len(text), text)


def layers(depth: int, **changes: object) -> bytes:
    """A file of one tensor that says it is a model of so many layers."""
    config = (
        json.loads(to_json(ModelConfig(width=2, heads=1, vocabulary_size=3))) | {"depth": depth} | changes
    )
    return safetensors({"embedding.weight": ("F32", [3, 2])}, {"auxin.model": json.dumps(config)})


WEIGHTS = {
    "a header of 2^60 bytes": header(2**60),
    "a header of 2^64 − 1 bytes": header(2**64 - 1, b"{}"),
    "a header of 100 MB that is not there": header(10**8, b'{"a":'),
    "a header nested 100,000 deep": header(2 * DEEP, NESTED.encode()),
    "a tensor of 2^60 bytes": claiming({"w": {"dtype": "F32", "shape": [2**58], "data_offsets": [0, 2**60]}}),
    "a shape that overflows": claiming(
        {"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 0]}}
    ),
    "2^60 entries of nothing": claiming({"w": {"dtype": "F32", "shape": [0, 2**60], "data_offsets": [0, 0]}}),
    "offsets that overlap": claiming(
        {n: {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} for n in "ab"}
    ),
    "a billion layers": layers(10**9),
    "ten thousand layers": layers(10_000),
    "as many words as there are atoms": layers(1, vocabulary_size=10**80),
    "a vocabulary of ten million": layers(1, vocabulary_size=10**7),
    "a config nested 100,000 deep": safetensors({"w": ("F32", [1])}, {"auxin.model": NESTED}),
    "nothing": b"",
}


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What readers import when first called does not count."""
    read_penn("(X a)")
    model = TransformerLM(ModelConfig(depth=1, width=2, heads=1, vocabulary_size=3))
    path = tmp_path_factory.mktemp("first") / "m.safetensors"
    model.save_pretrained(path)
    TransformerLM.from_pretrained(path)


@pytest.mark.parametrize("content", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_claim_more_than_they_are(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert refused_or_read(lambda: TransformerLM.from_pretrained(path))


@pytest.mark.parametrize(
    "text",
    [NESTED, '{"steps": NaN}', f'{{"steps": {"9" * 10_000}}}', '{"model": ' * DEEP],
    ids=["nested", "no number", "digits", "objects"],
)
def test_json_that_asks_for_too_much(text: str) -> None:
    assert refused_or_read(lambda: from_json(RunConfig, text))


def test_deep_and_long_data(tmp_path: Path) -> None:
    opened = " ".join(["(a"] * DEEP + ["a)"] * DEEP)
    path = tmp_path / "data"
    for task, text in (
        ("dyck", opened),
        ("dyck", "(a " * DEEP),
        ("question", "the newt " * DEEP + ". quest\tdo ?"),
    ):
        path.write_text(text)
        spoken = language(task) if task == "question" else None
        refused_or_read(lambda: read_split(path, task, spoken))  # noqa: B023
    with bounded():
        tree: Tree = ("a", "b")
        for _ in range(DEEP):
            tree = (tree,)
        assert leaves(tree) == ["a", "b"]
        assert brackets(tree) == {(0, 1)}
    for text in ("(X " * DEEP + "a" + ")" * DEEP, "(X " * DEEP, ")" * DEEP, "(X a)" * 10_000):
        refused_or_read(lambda: read_penn(text))  # noqa: B023


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with RunDirectory(tmp_path / "x", CONFIG) as directory:
        for step in (10, 20):
            directory.append_metrics([Metric(step, 0, "val", "accuracy", 0.5)])
            directory.save_checkpoint(step, {0: b"weights"}, b"state", {})
    return tmp_path / "x"


OWN = (
    "config.toml", "environment.json", "metrics.jsonl", "events.log", "lock", "checkpoints", "measures.jsonl",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [*OWN, "measures.lock", "summary.json", ".tmp-summary.json", ".tmp-environment.json"]
)
def test_a_run_never_writes_through_a_link(run: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    if name == "checkpoints":
        (run / name).rename(outside)
    else:
        outside.write_bytes((run / name).read_bytes() if (run / name).exists() else b"mine")
        (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    with contextlib.suppress(RunError), RunDirectory(run, CONFIG) as directory:
        directory.append_metrics([Metric(30, 0, "val", "accuracy", 0.5)])
        directory.save_checkpoint(30, {0: b"weights"}, b"state", {})
        directory.finish({})
    with contextlib.suppress(RunError), measuring(run) as append:
        append([Metric(30, 0, "train", "norm", 0.5)])
    assert {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()} == before


def test_a_checkpoint_that_is_a_link_is_not_taken_for_one(run: Path, tmp_path: Path) -> None:
    """Or deleting it, or only its state, would delete what it leads to."""
    checkpoints = run / "checkpoints"
    (checkpoints / "step-000000010").rename(tmp_path / "outside")
    for step in (5, 10, 30):
        (checkpoints / f"step-{step:09d}").symlink_to(tmp_path / "outside")
    before = sorted(path.name for path in (tmp_path / "outside").iterdir())
    assert [c.step for c in open_run(run).checkpoints] == [20]
    with RunDirectory(run, CONFIG) as directory:
        assert directory.step == 20
        for step in (25, 35, 45):
            directory.save_checkpoint(step, {0: b"weights"}, b"state", {})
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == before


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_a_pickle_under_another_name_is_refused_and_not_run(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "m.safetensors"
    torch.save(Payload(trap), path)
    for content in (pickle.dumps(Payload(trap)), path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a readable safetensors file"):
            TransformerLM.from_pretrained(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Payload(trap)))
    assert trap.exists()  # it would have worked


def test_a_message_is_one_short_printable_line() -> None:
    """Whatever it quotes: a terminal must not obey a file."""
    assert str(RunError("two\nlines \x1b[31mred\u2028")) == "two lines �[31mred"
    assert len(str(RunError("a" * 10**6))) < 1000


UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_in_the_library_unpickles_or_runs_text(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not UNPICKLERS & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in UNPICKLERS
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "torch.hub.load", "eval", "exec", "compile", "__import__")
            assert not (called in ("np.load", "numpy.load") and "allow_pickle" in ast.unparse(node))
