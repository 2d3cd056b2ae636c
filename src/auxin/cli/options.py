"""What every verb is: options, the fields of a dataclass, of which tyro makes flags; and what it prints.

That is one JSON object, or text and tables for people; progress and warnings go to stderr.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import itertools
import json
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import tyro
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from auxin.architecture import Layer, Norm
from auxin.cli import UsageError
from auxin.cli.refusal import refused
from auxin.errors import ConfigError
from auxin.screen import legible
from auxin.values import from_dict, from_json

SENTENCE = 40  # characters above which a cell is wrapped; numbers and names never are
WIDEST_TABLE = 10_000  # characters


@dataclass(frozen=True)
class Result:
    """What a verb shows: ``values`` as JSON or ``text`` for people, with either the figures it has written."""

    values: Mapping[str, Any]
    text: str
    figures: Sequence[Path] | None = None
    status: int = 0
    """Exit status."""

    def show(self, as_json: bool) -> None:
        """Print it."""
        paths = [str(path) for path in self.figures or ()]
        if as_json:
            print(_json({**self.values, "figures": paths} if self.figures is not None else self.values))
        else:
            print("\n".join([self.text, f"figures: {', '.join(paths)}"] if paths else [self.text]))


def _json(values: Mapping[str, Any]) -> str:
    """One JSON object; numbers that JSON cannot hold become null."""
    text = json.dumps(_plain(values), ensure_ascii=False, allow_nan=False)
    return text if legible(text, sys.stdout.encoding) == text else json.dumps(json.loads(text))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """A table with its first column to the left and numbers to the right, wider than a terminal that would cut them.

    Before that, columns move together, and each word of a heading gets a line of its own.
    """
    columns, *rows = ([legible(cell, sys.stdout.encoding) for cell in row] for row in (columns, *rows))
    console = Console()
    unbounded = console.options.update(max_width=WIDEST_TABLE)
    for gap, between in ((1, " "), (0, "\n")):
        found = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), title_justify="left", title_style="bold")
        found.title = legible(title, sys.stdout.encoding) or None
        for i, column in enumerate(columns):
            heading = column.replace(" ", between)
            widest = max(map(cell_len, (*heading.splitlines(), *(row[i] for row in rows))), default=0)
            found.add_column(
                heading, justify="right" if i else "left", min_width=min(widest, SENTENCE), vertical="bottom"
            )
        for row in rows:
            found.add_row(*row)
        least = console.measure(found, options=unbounded).minimum
        if least <= console.width:
            break
    console.width = max(console.width, least)
    with console.capture() as capture:
        console.print(found)
    return capture.get().removesuffix("\n")


T = TypeVar("T")
registry = ConstructorRegistry()
"""How options of particular types are read, by all verbs."""
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A switch without its opposite."""
RunPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
"""The run that a verb is about."""
NARROWEST, WIDEST = 60, 100  # columns that help is laid out for
WIDE = 2000
"""Columns for errors, which are read by auxin: a line each."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Base of every verb: its fields are its options, its docstring is its help."""

    json: Flag = False
    """Print the result as one JSON object."""
    debug: Flag = False
    """Show where an error comes from."""

    @classmethod
    def parse(cls, program: str, arguments: Sequence[str]) -> Self:
        """The verb with its options from the command line; raises ``UsageError`` in one line."""
        return parse(cls, program, arguments)

    def run(self) -> Result:
        """Do it."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Writing(Verb):
    """Base of every verb that writes where it is told to."""

    force: Flag = False
    """Replace files that auxin did not write."""


@dataclass(frozen=True, kw_only=True)
class Following(Verb):
    """Base of the verbs whose metrics can be looked at elsewhere."""

    tensorboard: Path | None = None
    """Directory for TensorBoard, which gets the metrics as they are written."""
    wandb: str | None = None
    """Project of Weights & Biases, which gets them, too."""

    @property
    def sinks(self) -> dict[str, Any]:
        """Both by name."""
        return {"tensorboard": self.tensorboard, "wandb": self.wandb}


def parse(cls: type[T], program: str, arguments: Sequence[str], default: T | None = None) -> T:
    """An instance of ``cls`` from the command line; prints help and exits where that is asked for."""
    if "--out=" in arguments or ("--out", "") in itertools.pairwise(arguments):
        raise UsageError("--out is ''; allowed: a path (. is the current directory)")
    options = dict(_options(cls))
    several = {
        n for n, h in options.items() if get_origin(h) is tuple and {Path, Layer}.isdisjoint(get_args(h))
    }
    arguments = _separated(arguments, several)  # not paths, and not layers, which are JSON
    more: dict[str, Any] = {} if default is None else {"default": default}
    more["description"] = _paragraphs(inspect.getdoc(cls) or "")
    everyday = getattr(cls, "EVERYDAY", ())
    few = everyday and not {"-h", "--help"}.isdisjoint(arguments)
    arguments = ["--help" if argument == "--help-all" else argument for argument in arguments]
    helps = not {"-h", "--help"}.isdisjoint(arguments)
    with (
        refused(options, helps=helps),
        _legible_width(NARROWEST if helps else WIDE),
        _shortened(program, everyday if few else ()),
    ):
        return tyro.cli(cls, prog=program, args=arguments, registry=registry, **more)


@contextlib.contextmanager
def _shortened(program: str, everyday: Collection[str]) -> Iterator[None]:
    """Print of a help text only what is about the ``everyday`` options; all of it where there are none."""
    if not everyday:
        yield
        return
    content = io.BytesIO()
    printed = io.TextIOWrapper(content, encoding="utf-8")  # of which tyro draws boxes
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        printed.flush()
        print("\n".join(_about(everyday, content.getvalue().decode().splitlines())))
        print(f"\n These are the everyday options; {program} --help-all lists all of them.")


def _about(everyday: Collection[str], lines: Sequence[str]) -> Iterator[str]:
    """The lines of help outside boxes, and of each box the entries that are wanted."""
    box: list[str] | None = None
    wanted = False
    for line in lines:
        if line.startswith("╭"):
            box, wanted = [line], False
        elif box is None:
            yield line
        elif line.startswith("╰"):
            yield from [*box, line] if len(box) > 1 else []
            box = None
        else:
            if entry := re.match(r"│ (?:-\w, )?--(\S+)", line):
                wanted = entry[1] in everyday
            box += [line] if wanted else []


def parse_known(cls: type[T], program: str, arguments: Sequence[str]) -> T:
    """The options of ``cls`` alone, the others left for later: they may decide about the others' defaults."""
    with refused(dict(_options(cls))), _legible_width(WIDE):
        known, _ = tyro.cli(cls, prog=program, args=arguments, return_unknown_args=True, add_help=False)
        return known


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
        except json.JSONDecodeError as error:
            raise ValueError(f"{words[0]!r} is not JSON: {error}") from None
        except (ConfigError, TypeError) as error:
            raise ValueError(str(error)) from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=from_text,
        is_instance=lambda _: True,
        str_from_instance=lambda value: ["those of the preset" if value else "none"],
    )


def _options(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name, as ``model.n-heads``, and type of every option of a verb; those of its sections among them."""
    for name, hint in get_type_hints(cls, include_extras=True).items():
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        named = [note.name for note in notes if getattr(note, "name", None) is not None]
        own = prefix + (named[0] if named else name.replace("_", "-"))
        if dataclasses.is_dataclass(kind):
            yield from _options(kind, own and f"{own}.")  # pyright: ignore[reportArgumentType]
        else:
            yield own, kind


def _separated(arguments: Sequence[str], lists: Collection[str]) -> list[str]:
    """The arguments with ``--seeds 0,1,2`` written as ``--seeds 0 1 2``."""
    found: list[str] = []
    inside = False
    for argument in arguments:
        option, _, value = argument.partition("=")
        if option.startswith("--"):
            inside = option[2:].replace("_", "-") in lists
            if inside and "," in value:
                found += [option, *filter(None, value.split(","))]
                continue
        found += filter(None, argument.split(",")) if inside and "," in argument else [argument]
    return found


def _paragraphs(text: str) -> str:
    """A docstring laid out for the terminal; tyro would join lines that begin with a letter."""
    width = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
    lines = textwrap.TextWrapper(width, initial_indent=" ", subsequent_indent=" ")
    return "\n\n".join(
        f" {paragraph}" if paragraph.startswith("Example: ") else lines.fill(paragraph)
        for paragraph in re.split(r"\n\n|\n(?=Example: )", text)
    )


@contextlib.contextmanager
def _legible_width(least: int) -> Iterator[None]:
    """Have help and errors laid out for so many columns at least: for five it would take minutes."""
    before = dict(os.environ)
    if shutil.get_terminal_size().columns < least:
        os.environ["COLUMNS"] = str(least)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        os.environ.update(before)
