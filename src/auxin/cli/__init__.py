"""The command line: ``auxin VERB [OPTIONS]`` parses and delegates, nothing else.

Exit status: 0 done, 1 failed or a value refused (or what it printed could not be written), 2 arguments that cannot be
read, 3 ``check``, ``diff`` or ``transfer`` has found something, 128 + n stopped by signal n (130: Ctrl-C).
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.metadata
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from auxin.errors import AuxinError, Interrupted
from auxin.screen import screens

if TYPE_CHECKING:
    from auxin.cli.options import Verb

GROUPS = {
    "Is my model's initialization all right?    try: auxin check gpt2.json": {
        "check": "whether your model's initialization is as it should be",
        "diff": "what differs between two models: weights, laws, signals",
        "transfer": "whether hyperparameters carry over to wider and deeper models",
        "exponents": "whether tokens collapse and gradients vanish, before any training",
        "phase": "both exponents over two hyperparameters, as a table and figures",
        "critical": "hyperparameters at the edge of chaos for a given depth",
        "simulate": "compare random networks with the theory, layer by layer",
    },
    "Watch structure emerge                     try: auxin demo": {
        "demo": "train the question task until it groks, in minutes, and draw it",
        "measure": "take structural measures of a run's checkpoints",
        "pairs": "score minimal pairs on a run's checkpoints or any causal model",
        "trees": "draw the tree that a model computes for a sentence, as it learns",
    },
    "Run my own experiment                      try: auxin train --out runs/a": {
        "data": "split a table of your own pairs into the folder of a files task",
        "train": "train a stack of seeds on a task; a run that was stopped goes on",
        "resume": "go on with a run, or extend a finished one, from its own settings",
        "sweep": "train all runs of a sweep file, over its axes and seeds",
        "study": "train all runs of a study and answer its question",
        "report": "one HTML page of studies and runs: answers, figures, how made",
        "figure": "one figure of that page for a paper, with its data",
        "record": "keep what a study or a run found, without its checkpoints",
        "export": "write a run's metrics as one table, or its model for transformers",
    },
}
"""What each verb does; its options are in the module of its name, which is imported when it is called."""
VERBS = [verb for group in GROUPS.values() for verb in group]
HELP = "\n".join(
    [
        "usage: auxin VERB [OPTIONS]\n\nPredict from its initialization whether a transformer will train, train it, and"
        "\nwatch structure emerge.\n",
        *(
            "\n".join([heading, *(f"  {verb:<12}{does}" for verb, does in group.items()), ""])
            for heading, group in GROUPS.items()
        ),
        "auxin help VERB lists a verb's options with an example; auxin --version prints\nthe version.",
    ]
)
WITH_BAR = {"demo", "train", "resume", "sweep", "study", "measure"}
"""Verbs that show on a terminal what is done and the time left."""


class UsageError(Exception):
    """The arguments cannot be understood; the message is one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; only ``--debug`` lets an error's traceback through."""
    # threads that spin while they wait make a training step several times slower when the machine has other work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    verb, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb == "help":
        verb, *rest = (rest[0], "--help") if rest else ("--help",)
    with screens() as out:
        status = _status_of(verb, rest)
        out.flush()
        if out.lost:
            done = "" if status else "; all else was done"
            return _fail(f"auxin {verb}: standard output is lost: {out.lost}{done}", status or 1)
    return status


def _status_of(verb: str, rest: Sequence[str]) -> int:
    """Do what is asked for and print what went wrong."""
    if verb in ("-h", "--help", "--version"):
        print(HELP if verb != "--version" else f"auxin {importlib.metadata.version('auxin')}")
        return 0
    if verb not in VERBS:
        close = difflib.get_close_matches(verb, VERBS, n=1)
        meant = f"perhaps you meant {close[0]}" if close else f"verbs: {', '.join(VERBS)}"
        return _fail(f"auxin: no verb {verb!r}; {meant}", 2)
    try:
        return _run(verb, rest)
    except SystemExit as stop:  # after --help
        return int(stop.code or 0)
    except UsageError as error:
        return _fail(f"auxin {verb}: {error}; see auxin {verb} --help", 2)
    except BaseException as error:  # Ctrl-C, and the panics of libraries in Rust, are no Exception
        if "--debug" in rest:
            raise
        stopped = 128 + error.signal if isinstance(error, Interrupted) else 1
        status = 130 if isinstance(error, KeyboardInterrupt) else stopped
        return _fail(f"auxin {verb}: {_explanation(error)}", status)


def options_of(verb: str) -> type[Verb]:
    """The dataclass of a verb's options."""
    return getattr(importlib.import_module(f"auxin.cli.{verb}"), f"{verb.capitalize()}Options")


def _run(verb: str, arguments: Sequence[str]) -> int:
    options = options_of(verb).parse(f"auxin {verb}", arguments)
    with _elapsed(verb):
        result = options.run()
    result.show(options.json)
    return result.status


@contextlib.contextmanager
def _elapsed(verb: str) -> Iterator[None]:
    """On a terminal, how long a verb without a bar of its own has been at work."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if verb in WITH_BAR or not console.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as spinner:
        spinner.add_task(f"auxin {verb}", total=None)
        yield


def _explanation(error: BaseException) -> str:
    if isinstance(error, AuxinError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what was finished is saved, and the same command goes on from there"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text or 'no message'} (--debug shows where)"


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
