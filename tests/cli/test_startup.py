"""What a verb loads: the scalar theory numpy and scipy.special, a refusal nothing that takes seconds."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch", "transformers", "polars", "altair", "vl_convert", "jinja2", "pandas", "safetensors", "ray", "svgling",
    "scipy.interpolate", "scipy.optimize", "scipy.stats",
)  # fmt: skip
FIGURES = {"polars", "altair", "vl_convert", "jinja2"}
"""What a verb that draws needs."""

RUN = """
import contextlib, io, json, shlex, sys
from auxin.cli import main
found = []
for line in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = main(shlex.split(line))
    found.append((line, status, [name for name in HEAVY if name in sys.modules]))
print(json.dumps(found))
"""

REFUSED = (
    "nothing",
    "exponents --widht 3",
    "exponents --depth 0",
    "exponents --cosine 3",
    "exponents --preset llama --sigma-w 3",
    "phase --points 1",
    "phase --x sigma_w 2 1",
    "phase --x nothing 0 1",
    "critical --vary nothing",
    "critical --depth 0",
    "simulate --depth 0",
    "simulate --width 0",
    "simulate --cosine -2",
    "demo --steps -1",
    "train --out x --model.heads 3",
    "train --out x --task nothing",
    "train --out x --data-dir missing",
    "train --out x --task grammar --grammar missing",
    "resume missing",
    "measure missing",
    "measure missing --measures nothing",
    "trees missing",
    "trees",
    "sweep missing.toml --out x",
    "study nothing",
    "study depth --so-far --dry-run",
    "report",
    "report missing",
    "export missing",
    "export missing --out x.csv",
)


def loaded(commands: list[str], directory: Path) -> list[tuple[str, int, set[str]]]:
    """Each command, its status, and what is loaded after it, of a process that gets one after the other."""
    code = f"HEAVY = {HEAVY!r}\n{RUN}"
    given = json.dumps(commands)
    result = subprocess.run(
        [sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True, cwd=directory
    )
    return [(line, status, set(names)) for line, status, names in json.loads(result.stdout)]


@pytest.mark.parametrize(
    ("commands", "allowed"),
    [
        (["exponents", "exponents --preset laptop --json", "critical --depth 6"], set()),
        (["phase --points 2 --out p"], FIGURES),
    ],
)
def test_the_scalar_theory_needs_numpy_and_special_functions(
    commands: list[str], allowed: set[str], tmp_path: Path
) -> None:
    for line, status, names in loaded(commands, tmp_path):
        assert status == 0, line
        assert names <= allowed, line


def test_a_refusal_loads_nothing_heavy(tmp_path: Path) -> None:
    for line, status, names in loaded(list(REFUSED), tmp_path):
        assert status in (1, 2), line
        assert not names, f"{shlex.split(line)[0]} loads {names} to refuse: {line}"
