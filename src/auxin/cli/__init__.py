"""The command line: ``auxin VERB [OPTIONS]`` parses and delegates, nothing else.

Exit status: 0 done, 1 failed (or what it printed could not be written), 2 bad arguments, 3 ``check`` or ``diff`` has
found something, 128 + n stopped by signal n (130: Ctrl-C).
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from auxin.errors import AuxinError, Interrupted
from auxin.screen import screens

VERBS = {
    "check": ("auxin.cli.check", "Check"),
    "diff": ("auxin.cli.diff", "Diff"),
    "exponents": ("auxin.cli.theory", "Exponents"),
    "phase": ("auxin.cli.theory", "Phase"),
    "critical": ("auxin.cli.theory", "Critical"),
    "simulate": ("auxin.cli.simulation", "Simulate"),
    "attention": ("auxin.cli.theory", "Attention"),
    "demo": ("auxin.cli.training", "Demo"),
    "measure": ("auxin.cli.structure", "Measure"),
    "trees": ("auxin.cli.structure", "Trees"),
    "train": ("auxin.cli.training", "Train"),
    "resume": ("auxin.cli.training", "Resume"),
    "sweep": ("auxin.cli.sweep", "Sweep"),
    "merge": ("auxin.cli.sweep", "Merge"),
    "study": ("auxin.cli.study", "Study"),
    "report": ("auxin.cli.report", "Report"),
    "figure": ("auxin.cli.figure", "FigureOptions"),
    "record": ("auxin.cli.record", "Record"),
    "export": ("auxin.cli.training", "Export"),
}
"""Where each verb's options are declared; its module is imported when it is called."""

HELP = """\
usage: auxin VERB [OPTIONS]

Predict from its initialization whether a transformer will train, train it, and
watch structure emerge.

Is my model's initialization all right?    try: auxin check gpt2.json
  check       whether your model's initialization is as it should be
  diff        what differs between two models: weights, laws, signals
  exponents   whether tokens collapse and gradients vanish, before any training
  phase       both exponents over two hyperparameters, as a table and figures
  critical    hyperparameters at the edge of chaos for a given depth
  simulate    compare random networks with the theory, layer by layer
  attention   compare moments of attention with published approximations

Watch structure emerge                     try: auxin demo
  demo        train the question task until it groks, in minutes, and draw it
  measure     take structural measures of a run's checkpoints
  trees       draw the tree that a model computes for a sentence, as it learns

Run my own experiment                      try: auxin train --out runs/a
  train       train a stack of seeds on a task; a run that was stopped goes on
  resume      go on with a run, or extend a finished one, from its own settings
  sweep       train all runs of a sweep file, over its axes and seeds
  merge       put the parts of a sweep together
  study       train all runs of a study and answer its question
  report      one HTML page of studies and runs: answers, figures, how made
  figure      one figure of that page for a paper, with its data
  record      keep what a study or a run found, without its checkpoints
  export      write a run's metrics as one table, or its model for transformers

auxin help VERB lists a verb's options with an example; auxin --version prints
the version."""


class UsageError(Exception):
    """The arguments cannot be understood; the message is one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; only ``--debug`` lets an error's traceback through."""
    # threads that spin while they wait make a training step several times slower when the machine has other work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    verb, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb == "help":
        verb, *rest = (rest[0], "--help") if rest else ("--help",)
    with screens(f"auxin {verb}" if verb in VERBS else "") as (out, _):
        status = _status_of(verb, rest)
        out.flush()
        if out.lost:
            done = "" if status else "; all else was done"
            return _fail(f"auxin {verb}: standard output is lost: {out.lost}{done}", status or 1)
    return status


def _status_of(verb: str, rest: Sequence[str]) -> int:
    """Do what is asked for and print what went wrong."""
    if verb in ("-h", "--help", "--version"):
        print(HELP if verb != "--version" else f"auxin {_version()}")
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
        return _fail(f"auxin {verb}: {_explanation(error)}", _status(error))


def _run(verb: str, arguments: Sequence[str]) -> int:
    module, name = VERBS[verb]
    options = getattr(importlib.import_module(module), name).parse(f"auxin {verb}", arguments)
    return options.run() or 0


def _explanation(error: BaseException) -> str:
    if isinstance(error, AuxinError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what was finished is saved, and the same command goes on from there"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text or 'no message'} (--debug shows where)"


def _status(error: BaseException) -> int:
    if isinstance(error, Interrupted):
        return 128 + error.signal
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


def _version() -> str:
    from importlib.metadata import version

    return version("auxin")
