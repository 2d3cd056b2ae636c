"""What README.md and docs/ tell people to type works: every code block is run, every command understood.

What would take minutes is made smaller by ``SMALLER``, and otherwise run as it stands.
"""

import contextlib
import importlib
import io
import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
import torch

import auxin
from auxin.cli import VERBS, main, options_of
from auxin.cli.options import table
from auxin.measures.grokking import grokking_summary
from auxin.report.tables import members
from auxin.runs import open_run

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
SMALLER = {
    'replace(auxin.preset("laptop"), seeds=(0, 1, 2))': (
        'replace(auxin.preset("laptop"), seeds=(0, 1, 2), steps=4, train_size=40, eval_size=4, final_size=4,'
        " model=auxin.ModelConfig(depth=1, width=8, heads=2))"
    ),
}
TINY = "steps = 2\neval_size = 2\nfinal_size = 2"
PLACEHOLDERS = {"NAME": "depth", "VERB": "phase", "DIR": "x", "DIR…": "x", "RUN": "x", "SOURCE": "x"}
RUN = {"exponents", "critical"}  # verbs that write nothing and take a second or two
ENDLESS = {"…", "..."}
PLANNED = {"check", "sweep"} - set(VERBS)  # spoken of in plans
OTHER_NAMES = {"auxin.model"}  # a key in the header of a file


NUMBER = re.compile(r"[-+−]?\d[\d,]*\.?\d*(?:e-?\d+)?")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """Language and text of every fenced block."""
    for fence in FENCE.finditer(path.read_text()):
        yield fence[1], fence[2]


def shown(path: Path) -> list[tuple[str, str, str]]:
    """Language and text of every block of code, and what is shown as printed: the ``text`` right below it, or ""."""
    text = path.read_text()
    fences = [*FENCE.finditer(text), None]
    found: list[tuple[str, str, str]] = []
    for fence, after in pairwise(fences):
        if fence is not None and fence[1] in ("python", "sh"):
            below = after is not None and after[1] == "text" and not text[fence.end() : after.start()].strip()
            found.append((fence[1], fence[2], after[2] if below and after is not None else ""))
    return found


def assert_printed(expected: str, printed: str) -> None:
    """Word by word, numbers within what another processor's rounding may do; a line of … leaves out any lines."""
    words, position = printed.split(), 0
    masked = [NUMBER.sub("#", word) for word in words]
    parts = [part.split() for part in re.split(r"^…$", expected, flags=re.MULTILINE)]
    for part in parts:
        wanted = [NUMBER.sub("#", word) for word in part]
        last = len(words) - len(part)
        starts = (
            [position] if part is parts[0] else [last] if part is parts[-1] else range(position, last + 1)
        )
        start = next((i for i in starts if i >= position and masked[i : i + len(part)] == wanted), None)
        assert start is not None, f"{' '.join(part)}\n\nis not in\n\n{printed}"
        position = start + len(part)
        pairs = zip(
            NUMBER.findall(" ".join(part)), NUMBER.findall(" ".join(words[start:position])), strict=True
        )
        for said, found in pairs:
            a, b = (float(number.replace(",", "").replace("−", "-")) for number in (said, found))
            assert b == pytest.approx(a, rel=0.05, abs=0.011), f"{said} is {found} in\n\n{printed}"
    assert len(parts) > 1 or position == len(words), printed


def commands(path: Path) -> Iterator[str]:
    """The lines of shell blocks, what follows a ``$`` in transcripts, and inline commands of auxin, make and pip."""
    for language, text in blocks(path):
        if language in ("sh", "bash", ""):
            is_transcript = "$ " in text
            lines = [
                line.removeprefix("$ ")
                for line in text.splitlines()
                if line.startswith("$ ") or not is_transcript
            ]
            yield from (line for line in lines if re.match(r"(auxin|make|pip|python|pytest) ", line))
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    yield from (found[1] for found in re.finditer(r"`((?:auxin|make|pip) [^`]+)`", prose))


COMMANDS = sorted({(path.name, command) for path in DOCUMENTS for command in commands(path)})
PYTHON = [path for path in DOCUMENTS if any(language == "python" for language, _ in blocks(path))]


def given(folder: Path) -> None:
    """The files that blocks read: tables of a study and of the published logs."""
    tables = folder / "runs" / "studies" / "grokking-paper" / "tables"
    tables.mkdir(parents=True)
    row = {"task": ["question"], "split": ["gen"], "step": [0], "value": [0.5], "low": [0.4], "high": [0.6]}
    pl.DataFrame(row).write_csv(tables / "curves.csv")
    row = {"task": ["question"], "depth": [6], "seed": [42], "step": [0], "generalization": [0.5]}
    pl.DataFrame(row).write_csv(folder / "published_curves.csv")


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_python_blocks_run_and_print_what_they_say(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document's blocks one after the other; what they print is below them, or in a comment after a ``print``."""
    given(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": path.stem}
    with torch.random.fork_rng(devices=[]):
        for language, text, expected in shown(path):
            if language != "python":
                continue
            for long, short in SMALLER.items():
                text = text.replace(long, short)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(text, path.name, "exec"), names)
            if expected:
                assert_printed(expected, printed.getvalue())
            for said in re.findall(r"^print\(.*\n# (.*)$", text, re.MULTILINE):
                assert said in printed.getvalue()


SHOWN = [
    (path.name, i)
    for path in DOCUMENTS
    for i, (language, _, below) in enumerate(shown(path))
    if language == "sh" and below
]


@pytest.mark.parametrize(("document", "index"), SHOWN)
def test_commands_print_what_is_shown(
    document: str,
    index: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shell blocks of auxin with their output below, in a directory where only the examples of a checkout are.

    Sweeps are made small: what is shown of them must not depend on that.
    """
    (path,) = (path for path in DOCUMENTS if path.name == document)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for file in (tmp_path / "examples").glob("*.toml"):
        file.write_text(re.sub(r"^steps = .*$", TINY, file.read_text(), flags=re.MULTILINE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    _, text, expected = shown(path)[index]
    for command in text.replace("\\\n", "").splitlines():
        words = shlex.split(command, comments=True)
        assert words[0] == "auxin"
        main(words[1:])
    assert_printed(expected, capsys.readouterr().out)


def test_files_that_are_shown_are_those_of_the_checkout() -> None:
    """``examples/x.toml`` in backquotes, a colon, and its content as a block."""
    for path in DOCUMENTS:
        for name, text in re.findall(
            r"`(examples/[\w./-]+)`:\n\n```\w+\n(.*?)```", path.read_text(), re.DOTALL
        ):
            assert (ROOT / name).read_text() == text
    grammar = re.search(
        r"^`reflexive.gr`:\n\n```text\n(.*?)```", (ROOT / "docs/tasks.md").read_text(), re.M | re.S
    )
    assert grammar is not None
    assert (ROOT / "examples" / "reflexive.gr").read_text() == grammar[1]


def test_the_demo_prints_the_table_that_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = table(*members(grokking_summary(open_run(ROOT / "docs/records/demo").metrics)))
    assert " ".join(shown.split()) in " ".join((ROOT / "README.md").read_text().split())


def test_what_is_made_smaller_is_still_said() -> None:
    everything = "".join(path.read_text() for path in DOCUMENTS)
    assert all(long in everything for long in SMALLER)


@pytest.mark.parametrize(("document", "command"), COMMANDS)
def test_commands_are_understood(
    document: str,
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program, *words = shlex.split(command, comments=True)
    words = [PLACEHOLDERS.get(word, word) for word in words]
    monkeypatch.chdir(ROOT)
    if program == "make":
        targets = re.findall(r"^(\w+):", Path("Makefile").read_text(), re.MULTILINE)
        assert {word for word in words if "=" not in word} <= set(targets)
    elif program != "auxin":
        paths = [word.partition("[")[0] for word in words if re.search(r"[./]", word) and "://" not in word]
        assert all(os.path.exists(path) for path in paths)
    elif words[0] == "--version" or words[0] == "help" or {"--help", "--help-all"} & {*words}:
        assert main(words) == 0
    else:
        verb, *options = words
        assert verb in VERBS or verb in PLANNED
        if verb in RUN:
            assert main(words) == 0
        elif options and not ENDLESS.intersection(options):
            complete = [*options, *_required(verb, options)]
            assert options_of(verb).parse(f"auxin {verb}", complete)


def _required(verb: str, options: list[str]) -> list[str]:
    """What a sentence about one option leaves out."""
    missing = ["--out", "x"] if verb in ("train", "export") and "--out" not in options else []
    place = options[0].startswith("-") and "--model" not in options
    first = place and verb in ("measure", "trees", "export", "report", "study")
    return missing + (["depth" if verb == "study" else "x"] if first else [])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_names_of_the_library_exist(path: Path) -> None:
    for name in sorted(set(re.findall(r"`(auxin\.[A-Za-z_.]+)", path.read_text())) - OTHER_NAMES):
        found, reached = auxin, "auxin"
        for part in name.rstrip(".").split(".")[1:]:
            reached += f".{part}"
            if not hasattr(found, part):
                importlib.import_module(reached)
            found = getattr(found, part)


def test_the_tests_that_hold_a_promise_exist() -> None:
    """Whose names may end in an ellipsis."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    files = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    named = re.findall(r"`(?:tests/[a-z/]*)?(test_\w+)(\.py|…|)`", page)
    assert len(named) > 20
    for name, ending in named:
        if ending == ".py":
            assert any(path.stem == name for path in files), name
        else:
            end = "" if ending else r"\("
            assert any(re.search(rf"^def {name}{end}", text, re.MULTILINE) for text in files.values()), name
    for path in re.findall(r"`(tests/[\w/]+\.py)`", page):
        assert (ROOT / path).is_file(), path


def test_every_dependency_has_a_tested_version() -> None:
    """constraints.txt pins what pyproject.toml asks for; constraints-lowest.txt the least of it, but for torch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [word for words in project["optional-dependencies"].values() for word in words]
    asked = {
        re.split(r"[><=]+", word)[0]: re.split(r"[><=]+", word)[1]
        for word in project["dependencies"] + extras
    }
    pinned, lowest = (
        dict(re.findall(r"^([\w-]+)==([\w.]+)$", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("constraints.txt", "constraints-lowest.txt")
    )
    assert set(asked) == set(pinned)
    hf = project["optional-dependencies"]["hf"]
    tested = {re.split(r"[><=]+", word)[0] for word in project["dependencies"] + hf} - {"torch"}
    assert set(lowest) == tested | {"tokenizers", "huggingface_hub"}  # which transformers asks for
    for name in tested:
        assert f"{lowest[name]}.".startswith(f"{asked[name]}."), name
