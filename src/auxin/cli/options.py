"""A verb's options are the fields of a dataclass; tyro makes flags of them."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Self, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry

from auxin.cli import UsageError
from auxin.errors import ConfigError

T = TypeVar("T")
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A switch without its opposite."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Base of every verb: its fields are its options, its docstring is its help."""

    debug: Flag = False
    """Show where an error comes from."""

    @classmethod
    def parse(cls, program: str, arguments: Sequence[str]) -> Self:
        """The verb with its options from the command line; raises ``UsageError`` in one line."""
        return parse(cls, program, arguments)

    def run(self) -> int | None:
        """Do it; the exit status, or None for 0."""
        raise AssertionError(f"{type(self).__name__} must say what it does")


def parse(
    cls: type[T],
    program: str,
    arguments: Sequence[str],
    default: T | None = None,
    registry: ConstructorRegistry | None = None,
) -> T:
    """An instance of ``cls`` from the command line; prints help and exits where that is asked for."""
    if "--out=" in arguments or ("--out", "") in pairwise(arguments):
        raise UsageError("--out is ''; allowed: a path (. is the current directory)")
    with _errors_in_one_line():
        if default is None:
            return tyro.cli(cls, prog=program, args=arguments, registry=registry)
        return tyro.cli(cls, prog=program, args=arguments, default=default, registry=registry)


def parse_known(cls: type[T], arguments: Sequence[str]) -> T:
    """The options of ``cls`` alone, the others left for later: they may decide about the others' defaults."""
    with _errors_in_one_line():
        known, _ = tyro.cli(cls, args=arguments, return_unknown_args=True, add_help=False)
        return known


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Raise what tyro explains in a box of several lines, exiting with 2, as a ``UsageError`` of one line."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            yield
    except ConfigError as error:
        raise UsageError(_with_option("", str(error))) from None
    except SystemExit as stop:
        if stop.code == 2:
            raise UsageError(_one_line(told.getvalue())) from None
        raise


def _one_line(box: str) -> str:
    """The message in tyro's box, with the option that was meant, or the form of the one that was wrong."""
    text = "\n".join(line.strip(" │") for line in box.splitlines())
    sections = [
        " ".join(part.split()) for part in re.split(r"^(?:[╭╰].*|[─-]{8,})$", text, flags=re.MULTILINE)
    ]
    sections = [section for section in sections if section]
    message, *hints = sections if "╭" in box else sections[1:]  # without a drawn box, the title is a section
    if found := re.match(r"Error parsing (?:config\.?|[A-Z]\w*)?([a-z_.]*): (\w+ is .*)", message):
        message = _with_option(found[1], found[2])  # after a section of the config, or a verb's class
    for hint in hints:
        if meant := re.match(r"Perhaps you meant: (--\S+)", hint):
            message += f"; perhaps you meant {meant[1]}"
        elif form := re.match(r"Argument helptext: (--\S+(?: \[.*\]| [A-Z{]\S*)?)", hint):
            message += f"; allowed: {form[1]}"
    return message.replace(".;", ";").rstrip(".")


def _with_option(section: str, message: str) -> str:
    """A config's own complaint (``depth is 0; allowed: …``), naming the option instead of the field."""
    field, _, rest = message.partition(" is ")
    return f"--{section and section + '.'}{field}".replace("_", "-") + f" is {rest}"
