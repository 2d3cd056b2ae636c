"""Seconds of a core until each verb is done with next to nothing, and their ratio to those of ``import numpy``.

    python benchmarks/startup.py [--rounds 5] [--verbs exponents train]

The seconds are the least of the rounds.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile

from auxin.cli import VERBS

WORK = {
    "exponents": "exponents",
    "critical": "critical --depth 6",
    "phase": "phase --points 2 --out phase",
    "simulate": "simulate --depth 1 --width 64 --draws 2",
}
"""The least work of the verbs that need no run."""
REFUSALS = {
    "no option": "train --nothing",
    "device": "train --out run --device cuda",
    "no run": "resume missing",
}


def seconds(code: str, rounds: int, directory: str) -> float:
    """The least that a process takes for the code, on one thread."""
    found = []
    for _ in range(rounds):
        before = spent()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=directory, env=environment)
        found.append(spent() - before)
    return min(found)


def spent() -> float:
    """Processor time of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def verb(command: str) -> str:
    """The code of a process that runs it."""
    return f"import sys; from auxin.cli import main; sys.exit(main({command.split()!r}))"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--verbs", nargs="*", default=list(VERBS))
    arguments = parser.parse_args()
    commands = {f"{name} --help": f"{name} --help" for name in arguments.verbs}
    commands |= {command: command for name, command in WORK.items() if name in arguments.verbs}
    commands |= {f"refused ({why}): {command}": command for why, command in REFUSALS.items()}
    with tempfile.TemporaryDirectory() as directory:
        least = seconds("import numpy", arguments.rounds, directory)
        print(f"{'import numpy':60} {least:6.2f} s    1.0×")
        for name, command in commands.items():
            taken = seconds(verb(command), arguments.rounds, directory)
            print(f"{name:60} {taken:6.2f} s {taken / least:6.1f}×")


if __name__ == "__main__":
    main()
