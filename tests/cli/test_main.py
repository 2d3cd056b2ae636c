"""Verbs, exit statuses, errors in one line."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import auxin.cli
from auxin.cli import HELP, VERBS, main, options_of
from auxin.config import RunConfig
from auxin.errors import Interrupted
from auxin.runs import Metric, RunDirectory
from auxin.studies.design import StudyName


class Panic(BaseException):
    """As libraries written in Rust raise it."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with RunDirectory(tmp_path / "x", RunConfig()) as directory:
        directory.append_metrics([Metric(1, 0, "val", "accuracy", 0.5)])
    return tmp_path / "x"


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and the one line on stderr; nothing may be on stdout."""
    status = main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return status, err.rstrip("\n")


def test_help_lists_every_verb_with_what_its_class_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    assert capsys.readouterr().out == 2 * f"{HELP}\n"
    listed = [line.split()[0] for line in HELP.splitlines() if line.startswith("  ")]
    assert listed == VERBS
    assert max(len(line) for line in HELP.splitlines()) < 80


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_of_itself(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"usage: auxin {verb}" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert ">>>" not in out
    example = re.search(rf"^ Example: auxin {verb}(.*)$", out, re.MULTILINE)
    assert example is not None
    options = shlex.split(example[1])  # as a shell reads it
    assert options_of(verb).parse("auxin", options)


def test_the_help_of_train_has_the_everyday_options_and_all_on_demand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from auxin.cli.train import TrainOptions

    monkeypatch.setenv("COLUMNS", "80")
    helps: list[list[str]] = []
    for option in ("--help", "--help-all"):
        assert main(["train", option]) == 0
        helps.append(re.findall(r"^(?:│ | {2})(?:-\w, )?--(\S+)", capsys.readouterr().out, re.MULTILINE))
    assert sorted(helps[0]) == sorted(TrainOptions.EVERYDAY)
    assert {*helps[0]} < {*helps[1]}
    assert len(helps[1]) > 50
    assert main(["trees"]) == 2
    assert (
        "auxin trees: one of RUN and --model DIR is needed; see auxin trees --help" in capsys.readouterr().err
    )


def test_help_is_a_verb_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    assert capsys.readouterr().out == f"{HELP}\n"
    assert main(["help", "export"]) == main(["export", "--help"]) == 0
    first, _, second = (
        capsys.readouterr().out.partition("usage: auxin export")[2].partition("usage: auxin export")
    )
    assert first == second != ""
    assert main(["help", "exprot"]) == 2


@pytest.mark.parametrize(
    ("verb", "typed", "name", "wanted"),
    [
        ("train", "--out x --seeds 0,1,2", "config.seeds", (0, 1, 2)),
        ("train", "--out x --seeds=0,1 --steps 5", "config.seeds", (0, 1)),
        ("train", "--out x --seeds 0, 1, 2", "config.seeds", (0, 1, 2)),
        ("train", "--out x --measures norms,entropy", "config.measures", ("norms", "entropy")),
        ("measure", "x --checkpoint 100,200 --measures norms", "checkpoint", (100, 200)),
        ("critical", "--vary alpha_mlp,sigma_w", "vary", ("alpha_mlp", "sigma_w")),
        ("phase", "--x sigma_w,1,5", "x", ("sigma_w", 1.0, 5.0)),
        ("export", "a,b --out c,d", "out", Path("c,d")),
    ],
)
def test_lists_may_be_typed_with_commas(verb: str, typed: str, name: str, wanted: object) -> None:
    found = options_of(verb).parse(f"auxin {verb}", typed.split())
    for part in name.split("."):
        found = getattr(found, part)
    assert found == wanted


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("auxin ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "auxin: no verb 'trian'; perhaps you meant train"),
        ("x", "auxin: no verb 'x'; verbs: check, diff, transfer, exponents"),
        ("train --out x --task copy", "auxin train: task is 'copy'; allowed: question, tense, dyck, passiv"),
        ("train --out x --model.depth 0", "config.model: depth is 0; allowed: 1 to 10000; see auxin train"),
        ("train --out x --model.heads 3", "config.model: heads is 3; allowed: a divisor of the width (64); "),
        ("train --out x --optimizer.beta1 2", "config.optimizer: beta1 is 2.0; allowed: 0 ≤ beta1 < 1; see"),
        ("train --out x --steps 0", "auxin train: steps is 0; allowed: 1 to 10^9; see auxin train --help"),
        ("measure x --sentences -1", "sentences is -1; allowed: 0 (the published number) or more; see auxin"),
        ("demo --steps -5", "steps is -5; allowed: 0 (those of the preset) to 10^9; see auxin demo --help"),
        ("train --out=", "--out is ''; allowed: a path"),
        (
            "phase --x sigma_w 5 1",
            "auxin phase: x is 'sigma_w 5 1'; allowed: a name, from, to, from below to",
        ),
        ("export x", "out is None; allowed: one or more of --out FILE, --hf DIR, --tensorboard DIR"),
        ("train", "Missing from auxin train: --out PATH"),
        ("figure learning-curves runs/x", "Missing from auxin figure: -o PATH, --out PATH"),
        ("export", "Missing from auxin export: RUN"),
        ("train --out", "Missing value for argument"),
        ("train --out x --modle.depth 3", "--modle.depth, 3; Perhaps you meant: --model.depth INT"),
        ("export x --froce y", "Unrecognized options: --froce, y; Perhaps you meant: --force"),
        ("train --out x extra", "Unrecognized options: extra"),
        ("study foo", f"invalid choice 'foo' for argument 'name'. Expected one of {get_args(StudyName)}"),
        ("demo --seed ten", "Error parsing --seed: 'ten'; allowed: a whole number"),
        ("simulate --draws 1", "auxin simulate: draws is 1; allowed: 2 or more"),
        ("train --out x --seeds 0,b", "Error parsing --seeds: '0 b'; allowed: [INT ...]"),
        ("train --out x --measures", "Error parsing --measures: no value; allowed: [STR ...]"),
        ("phase --x sigma_w 1 b", "Error parsing --x: 'sigma_w 1 b'; allowed: STR FLOAT FLOAT"),
        ("measure x --measures foo", "--measures: 'foo'; allowed: [{norms,entropy,projection,signals} ...]"),
        ("train --out x --model.layers 3", "--model.layers: '3' is not such JSON: 'int' object is not itera"),
    ],
)
def test_bad_arguments_are_explained_in_one_line_however_narrow_the_terminal(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "5")
    status, line = failure(capsys, *arguments.split())
    assert status == 2
    assert message in line
    assert os.environ["COLUMNS"] == "5"


def test_a_preset_sets_defaults_that_options_override() -> None:
    from auxin.cli.train import TrainOptions

    arguments = "--out x --steps 5 --preset paper --task=dyck --model.no-tied --seeds 1 2"
    config = TrainOptions.parse("auxin train", arguments.split()).config
    assert (config.task, config.steps, config.seeds) == ("dyck", 5, (1, 2))
    assert (config.model.width, config.model.tied, config.optimizer.clip) == (512, False, 10.0)
    assert (
        TrainOptions.parse("auxin train", ["--out", "x", "--preset", "paper", "--task", "dyck"]).config.steps
        == 400_000
    )


def test_failures_exit_with_one(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing"
    assert failure(capsys, "export", str(missing), "--out", "x.csv") == (
        1, f"auxin export: {missing}: no such directory",
    )  # fmt: skip
    status, line = failure(capsys, "export", str(run), "--out", "x.doc")
    assert (status, line.endswith("'.doc'; allowed: .parquet, .csv")) == (1, True)


def test_export_prints_where_the_table_is(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "metrics.csv"
    assert main(["export", str(run), "--out", str(table)]) == 0
    assert capsys.readouterr().out == f"{table}\n"
    assert table.read_text() == "step,member,split,name,value\n1,0,val,accuracy,0.5\n"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; what was finished is saved"),
        (
            Interrupted("at step 7 and saved", 2, "runs/x"),
            130,
            "stopped at step 7 and saved; the same command with --out runs/x",
        ),
        (Interrupted("at step 7 and saved", 15, "runs/x"), 143, "stopped at step 7"),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            "ZeroDivisionError: division by zero (--debug shows where)",
        ),
        (Panic("no more files"), 1, "Panic: no more files (--debug shows where)"),
    ],
)
def test_whatever_happens_is_one_line_unless_debugging(
    error: BaseException,
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(verb: str, arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(auxin.cli, "_run", fail)
    found, line = failure(capsys, "export")
    assert found == status
    assert message in line
    with pytest.raises(type(error)):
        main(["export", "--debug"])


def test_a_terminal_says_how_long_a_verb_without_a_bar_is_at_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    assert main(["exponents"]) == 0
    out, err = capsys.readouterr()
    assert "auxin exponents" in err
    assert "0:00:00" in err
    assert "0:00:00" not in out


def test_help_loads_no_library() -> None:
    heavy = {"torch", "tyro", "polars", "numpy", "rich"}
    code = f"import sys, auxin.cli as c; c.main([]); print({heavy} & {{*sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("\nset()\n")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"set -o pipefail; {sys.executable} -m auxin train --help | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
