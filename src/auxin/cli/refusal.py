"""What is refused of the command line, in one line: by a configuration, or by tyro, which would draw a box."""

from __future__ import annotations

import ast
import contextlib
import difflib
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from auxin.cli import UsageError
from auxin.errors import ConfigError

KINDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a word", "words"),
    Path: ("a path", "paths"),
}
"""What an option of a type takes, and one of several."""
RULE = re.compile(r"^│ [─-]+ │$|^[╭╰+].*$", re.MULTILINE)
"""Between the parts of a box."""


@contextlib.contextmanager
def refused(options: Mapping[str, Any], *, helps: bool = False) -> Iterator[None]:
    """Raise ``UsageError`` for what is refused; ``options`` are those that there are, with their types.

    Nothing is printed, but where help is asked for (``helps``).
    """
    printed = io.StringIO()
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # no terminal, or boxes have colours
    try:
        with (
            contextlib.redirect_stderr(printed),
            contextlib.nullcontext() if helps else contextlib.redirect_stdout(shown),
        ):
            yield
    except ConfigError as error:
        raise UsageError(_with_option(error, options)) from None
    except SystemExit as stop:
        cause: BaseException | None = stop
        while cause is not None and not isinstance(cause, ConfigError):
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if cause is not None:
            raise UsageError(_with_option(cause, options)) from None
        if not stop.code:
            raise
        raise UsageError(_one_line(printed.getvalue(), options)) from None


def _with_option(error: ConfigError, options: Mapping[str, Any]) -> str:
    """A configuration's own complaint (``depth is 0; allowed: …``), naming the option instead of the field."""
    field, is_, rest = str(error).partition(" is ")
    option = field.replace("_", "-")
    found = [name for name in options if name == option or name.endswith(f".{option}")]
    return f"--{found[0] if found else option}{is_}{rest}"


def _one_line(box: str, options: Mapping[str, Any]) -> str:
    """What a box of tyro says, in the words of auxin's own errors."""
    parts = [re.sub(r"(?m)^│ | +│$", "", part).strip("\n") for part in RULE.split(box)]
    lines = next((part.splitlines() for part in parts if part.strip()), [])
    text = " ".join(" ".join(lines).split())
    if text.startswith("Missing from"):
        return f"{' and '.join(_missing(lines[1:]))} is missing"
    if found := re.match(r"Unrecognized options: (.*)", text):
        return _unknown(found[1].split(", "), options)
    if found := re.match(r"invalid choice '(.*)' for argument '(.*?)'\. Expected one of (\(.*\))\.", text):
        return f"{found[2]} is {found[1]!r}; allowed: {', '.join(map(str, ast.literal_eval(found[3])))}"
    if found := re.match(r"Missing value for argument '(?:\(')?(--[\w.-]+)", text):
        return f"{found[1]} has no value; allowed: {_kind(found[1], options)}"
    if found := re.match(r"Error parsing (?:-\w/)?(--[\w.-]+|\S+?)(?:/-\w)?: (.*)", text):
        option, why = found[1], found[2]
        if value := re.search(r"(?:with base 10:|to float:|arguments:?) ('.*'|\[.*?\])", why):
            given = ast.literal_eval(value[1])
            shown = given if isinstance(given, str) else " ".join(given)
            return f"{option} is {shown!r}; allowed: {_kind(option, options)}"
        return f"{option}: {why}"
    return text


def _missing(lines: list[str]) -> list[str]:
    """The names of required arguments, of lines whose others are their help."""
    names = (re.match(r" {4}(?:-\w(?: \S+)?, )?(--[\w.-]+|\S+)", line) for line in lines)
    return [name[1] for name in names if name]


def _unknown(typed: list[str], options: Mapping[str, Any]) -> str:
    """What is no option, with the one that is nearest."""
    first = typed[0].partition("=")[0]
    if not first.startswith("-"):
        return f"{first!r} is one argument too many"
    known = [f"--{name}" for name in options if name]
    close = difflib.get_close_matches(first.replace("_", "-"), known, n=1)
    return f"no option {first}" + (f"; perhaps you meant {close[0]}" if close else "")


def _kind(option: str, options: Mapping[str, Any]) -> str:
    """What an option takes, in words."""
    hint = options.get(option.removeprefix("--"))
    several = get_origin(hint) is tuple
    kinds = [kind for kind in (get_args(hint) if several or get_args(hint) else (hint,)) if kind in KINDS]
    mixed = several and len({*kinds}) > 1
    if mixed or not kinds:
        return ", ".join(KINDS[kind][0] for kind in kinds) or "a value"
    return KINDS[kinds[0]][several]
