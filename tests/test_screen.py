"""Losing a screen loses nothing else: streams that are full, closed, or of another alphabet."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from auxin.screen import Screen

AUXIN = f"{sys.executable} -m auxin"
EXPONENTS = f"{AUXIN} exponents --preset released-code"
TRAIN = (
    "train --out run --train-size 40 --steps 2 --log-every 1 --eval-size 2 --final-size 2 --threads 1 --batch-size 2"
    " --model.depth 1 --model.width 8 --model.heads 1"
)


def shell(command: str, where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=where,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_lost_answer_is_a_failure_in_one_line(redirection: str, tmp_path: Path) -> None:
    result = shell(f"{EXPONENTS} {redirection}", tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("auxin exponents: standard output is lost: ")
    assert result.stderr.count("\n") == 1


def test_a_run_is_finished_whatever_becomes_of_its_screens(tmp_path: Path) -> None:
    """No standard input, errors into a full device, an answer into a closed one: all is trained and drawn."""
    result = shell(f"{AUXIN} {TRAIN} <&- 2>/dev/full >&-", tmp_path)
    assert result.returncode == 1  # its answer is lost
    assert (tmp_path / "run" / "summary.json").is_file()
    assert (tmp_path / "run" / "learning-curves.png").stat().st_size > 1000
    result = shell(f"{AUXIN} {TRAIN} 2>&1 | true; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert result.returncode == 0  # a reader who has seen enough
    result = shell(f"{AUXIN} train --out run 2>/dev/full", tmp_path)  # goes on with what is there
    assert (result.returncode, "final" in result.stdout) == (0, True)


def test_a_terminal_without_greek_gets_question_marks(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = shell(EXPONENTS, tmp_path, **ascii_only)
    assert (result.returncode, result.stderr) == (0, "")
    assert "angle exponent ?_a" in result.stdout
    assert result.stdout.isascii()
    assert len({line.rindex("|") for line in result.stdout.splitlines() if line.startswith("|")}) == 1
    result = shell(f"{AUXIN} train --help", tmp_path, **ascii_only)
    assert (result.returncode, result.stderr) == (0, "")
    result = shell(f"{AUXIN} critical --vary mlp_branch", tmp_path, **ascii_only)
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)


def test_narrow_terminals_cut_no_number(tmp_path: Path) -> None:
    wide, narrow = (shell(EXPONENTS, tmp_path, COLUMNS=columns).stdout for columns in ("80", "5"))
    words = [[word for word in shown.split() if "─" not in word] for shown in (wide, narrow)]
    assert sorted(words[0]) == sorted(words[1])
    result = shell(f"{AUXIN} train --help", tmp_path, COLUMNS="5")
    assert (result.returncode, "--optimizer.learning-rate" in result.stdout) == (0, True)


def test_few_descriptors_end_in_one_line(tmp_path: Path) -> None:
    """The library that draws panics where it finds none left, which is no ``Exception``."""
    code = (
        "import os, resource, auxin.cli, auxin.report.theory_figures, auxin.outputs, auxin.theory.phase\n"
        "last = max(map(int, os.listdir('/proc/self/fd')))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (last + 2, last + 2))\n"
        "raise SystemExit(auxin.cli.main(['phase', '--points', '3']))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("auxin phase: PanicException: ")


def test_a_screen_takes_everything_once_its_stream_is_lost(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        screen = Screen(full)
        print("a" * 100_000, file=screen, flush=True)
        assert screen.lost == "No space left on device"
        print("more", file=screen, flush=True)
    text = io.StringIO()
    assert Screen(text).write("×") == 1
    assert text.getvalue() == "×"
    screen = Screen(None)
    assert (screen.lost, screen.write("x"), screen.lost) == ("", 1, "it is closed")
