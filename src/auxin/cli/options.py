"""A verb's options are the fields of a dataclass; tyro makes flags of them."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from auxin.architecture import Layer, Norm
from auxin.cli import UsageError
from auxin.errors import ConfigError
from auxin.values import from_dict, from_json

T = TypeVar("T")
registry = ConstructorRegistry()
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A switch without its opposite."""
NARROWEST = 60  # columns that help is laid out for


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


@dataclass(frozen=True, kw_only=True)
class Writing(Verb):
    """Base of every verb that writes where it is told to."""

    force: Flag = False
    """Replace files that auxin did not write."""


def parse(
    cls: type[T],
    program: str,
    arguments: Sequence[str],
    default: T | None = None,
    registry: ConstructorRegistry = registry,
) -> T:
    """An instance of ``cls`` from the command line; prints help and exits where that is asked for."""
    if "--out=" in arguments or ("--out", "") in pairwise(arguments):
        raise UsageError("--out is ''; allowed: a path (. is the current directory)")
    arguments = _separated(arguments, _lists(cls))
    try:
        return _parsed(cls, program, arguments, default, registry)
    except UsageError as error:
        if also := _complaint_beside(
            str(error), lambda given: _parsed(cls, program, given, default, registry), arguments
        ):
            raise UsageError(f"{error}; {also}") from None
        raise


def _complaint_beside(
    missing: str, parsed: Callable[[Sequence[str]], object], arguments: Sequence[str]
) -> str:
    """What else is wrong with arguments of which some are missing: what is said when those are given."""
    if not missing.startswith("Missing"):
        return ""
    place = "Missing value for argument '" in missing or re.search(r"(: |\(required\) )[A-Z]+ ", missing)
    options = [word for name in re.findall(r"(--[a-z-]+) [A-Z]", missing) for word in (name, "x")]
    given = [*(["x"] if place else []), *arguments, *options]
    try:
        parsed(given)
    except UsageError as error:
        also = str(error)
        if also.startswith("Missing"):
            return _complaint_beside(also, parsed, given) if also != missing else ""
        return also
    return ""


def _parsed(
    cls: type[T],
    program: str,
    arguments: Sequence[str],
    default: T | None,
    registry: ConstructorRegistry | None,
) -> T:
    with errors_in_one_line():
        if default is None:
            return tyro.cli(cls, prog=program, args=arguments, registry=registry)
        return tyro.cli(cls, prog=program, args=arguments, default=default, registry=registry)


@registry.primitive_rule
def _description_as_json(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Layers and norms of a model are one option each, which takes them as a config file has them, in JSON."""
    if info.type == tuple[Layer, ...]:
        return _as_json(lambda text: tuple(from_dict(Layer, each) for each in json.loads(text)))
    return _as_json(lambda text: from_json(Norm, text)) if info.type == (Norm | None) else None


def _as_json(read: Callable[[str], Any]) -> PrimitiveConstructorSpec[Any]:
    def from_text(words: list[str]) -> Any:
        try:
            return read(words[0])
        except (ConfigError, TypeError) as error:
            raise ValueError(str(error)) from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=from_text,
        is_instance=lambda _: True,
        str_from_instance=lambda value: ["those of the preset" if value else "none"],
    )


def _lists(cls: type) -> set[str]:
    """The options of a verb that take several numbers or words, by name."""
    found: set[str] = set()
    for name, hint in get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            found |= _lists(hint)  # pyright: ignore[reportArgumentType]
        elif get_origin(hint) is tuple and Path not in get_args(hint):
            found.add(name)
    return found


def _separated(arguments: Sequence[str], lists: set[str]) -> list[str]:
    """The arguments with ``--seeds 0,1,2`` written as ``--seeds 0 1 2``."""
    found: list[str] = []
    inside = False
    for argument in arguments:
        option, _, value = argument.partition("=")
        if option.startswith("--"):
            inside = option.rpartition(".")[2].lstrip("-").replace("-", "_") in lists - {"layers"}  # JSON
            if inside and "," in value:
                found += [option, *filter(None, value.split(","))]
                continue
        found += filter(None, argument.split(",")) if inside and "," in argument else [argument]
    return found


def parse_known(cls: type[T], arguments: Sequence[str]) -> T:
    """The options of ``cls`` alone, the others left for later: they may decide about the others' defaults."""
    with errors_in_one_line():
        known, _ = tyro.cli(cls, args=arguments, return_unknown_args=True, add_help=False)
        return known


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Raise what tyro explains in a box of several lines, exiting with 2, as a ``UsageError`` of one line."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), _legible_width():
            yield
    except ConfigError as error:
        raise UsageError(_with_option("", str(error))) from None
    except SystemExit as stop:
        if stop.code == 2:
            raise UsageError(_one_line(told.getvalue())) from None
        raise


@contextlib.contextmanager
def _legible_width() -> Iterator[None]:
    """Have help laid out for ``NARROWEST`` columns at least: for five it would take minutes."""
    before = os.environ.get("COLUMNS")
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        if before is not None:
            os.environ["COLUMNS"] = before


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
    message = re.sub(
        r"argument '\('([^']+)',.*?\)'", r"argument '\1'", message
    )  # as tyro before 1.0.14 writes it
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
