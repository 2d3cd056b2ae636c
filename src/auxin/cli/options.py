"""What every verb is: options, the fields of a dataclass, of which tyro makes flags; and what it prints.

That is one JSON object, or text and tables for people; progress and warnings go to stderr.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import json
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args, get_origin

import tyro
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from auxin.architecture import Layer, Norm
from auxin.cli import UsageError
from auxin.errors import ConfigError
from auxin.files import plain
from auxin.values import check, from_dict, from_json

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
            figures = {} if self.figures is None else {"figures": paths}
            print(json.dumps(plain({**self.values, **figures}), allow_nan=False))
        else:
            print("\n".join([self.text, f"figures: {', '.join(paths)}"] if paths else [self.text]))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """A table with its first column to the left and numbers to the right, wider than a terminal that would cut them.

    Before that, columns move together, and each word of a heading gets a line of its own.
    """
    console = Console()
    unbounded = console.options.update(max_width=WIDEST_TABLE)
    for gap, between in ((1, " "), (0, "\n")):
        found = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), title_justify="left", title_style="bold")
        found.title = title or None
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
Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
"""A model, or what builds it."""
File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
Directories = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(name="dir", metavar="DIR...")]
Out = Annotated[Path, tyro.conf.arg(aliases=("-o",))]
"""Where a verb writes, also by -o."""
NARROWEST, WIDEST = 60, 100  # columns that help is laid out for
WIDE = 2000  # columns of what tyro refuses, so that it breaks no word


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Base of every verb: its fields are its options, its docstring is its help."""

    EVERYDAY: ClassVar[tuple[str, ...]] = ()
    """The options in --help, where --help-all lists the others."""

    json: Flag = False
    """Print the result as one JSON object."""
    debug: Flag = False
    """Show where an error comes from."""

    @classmethod
    def parse(cls, program: str, arguments: Sequence[str], default: Any = None) -> Self:
        """The verb with its options from the command line; raises ``UsageError`` in one line.

        Prints help and exits where that is asked for.
        """
        if "--out=" in arguments or ("--out", "") in itertools.pairwise(arguments):
            raise UsageError("--out is ''; allowed: a path (. is the current directory)")
        more: dict[str, Any] = {"prog": program, "registry": registry}
        more |= {} if default is None else {"default": default}
        if {"-h", "--help", "--help-all"}.isdisjoint(arguments):
            with refused():
                return tyro.cli(cls, args=arguments, **more)
        width = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
        lines = textwrap.TextWrapper(width, initial_indent=" ", subsequent_indent=" ")  # or tyro joins them
        more["description"] = "\n\n".join(map(lines.fill, (inspect.getdoc(cls) or "").split("\n\n")))
        with _drawn() as text_of, _columns(NARROWEST), contextlib.suppress(SystemExit):
            tyro.cli(cls, args=["--help"], **more)
        text = text_of()
        if cls.EVERYDAY and "--help-all" not in arguments:
            text = f"{_short(text, cls.EVERYDAY)}\n{program} --help-all lists all options.\n"
        print(text, end="")
        raise SystemExit(0)

    def run(self) -> Result:
        """Do it."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Writing(Verb):
    """Base of every verb that writes where it is told to."""

    force: Flag = False
    """Replace files that auxin did not write."""


@dataclass(frozen=True, kw_only=True)
class DataVerb(Verb):
    """Base of the verbs that read the sentences of a run."""

    data_dir: str = ""
    """Where the sentences of a run with a --data-dir are now, if they have moved."""


@dataclass(frozen=True, kw_only=True)
class Sessions(Verb):
    """Base of the verbs that train many runs."""

    workers: int = 0
    """Runs at a time; 0: as many as the cores, or GPUs, allow."""
    ray: str = ""
    """Address of a Ray cluster that trains the runs instead; auto: the one running here."""
    reuse: tuple[Path, ...] = ()
    """Directories of other sweeps or studies: runs of the same config that finished there are copied."""
    dry_run: Flag = False
    """Print what it would cost, measured here, and train nothing."""


@dataclass(frozen=True, kw_only=True)
class Examining(Verb):
    """Base of the verbs that run a user's models."""

    kwargs: tuple[str, ...] = ()
    """Arguments of a function that builds a model, as name=value."""
    layers: str | None = None
    """Name of the container of the layers, where it is not found."""
    batch: int = 2
    """Sequences."""
    n_tokens: int = 64
    """Tokens of each."""
    seed: int = 0
    """Of random inputs, and of a config's random weights."""

    def __post_init__(self) -> None:
        check(self.batch >= 1, "batch", self.batch, "1 or more")
        check(self.n_tokens >= 2, "n_tokens", self.n_tokens, "2 or more")


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


def parse_known(cls: type[T], program: str, arguments: Sequence[str]) -> T:
    """The options of ``cls`` alone, the others left for later: they may decide about the others' defaults."""
    with refused():
        known, _ = tyro.cli(cls, prog=program, args=arguments, return_unknown_args=True, add_help=False)
        return known


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Raise ``UsageError`` for what tyro or a configuration refuses, in a line where tyro would draw a box."""
    with _drawn() as box, _columns(WIDE):
        try:
            yield
        except ConfigError as error:
            raise UsageError(str(error)) from None
        except SystemExit:
            parts = re.split(r"(?m)^(?:╭|╰|│ ─).*$", box())
            found = [" ".join(part.replace("│", "").split()) for part in parts if "helptext" not in part]
            text = "; ".join(filter(None, found)).removesuffix(".")
            raise UsageError(re.sub(r"^Error parsing \w+Options: ", "", text)) from None


@contextlib.contextmanager
def _drawn() -> Iterator[Callable[[], str]]:
    """Catch what tyro prints; it draws boxes of what UTF-8 has, and no colours where there is no terminal."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")

    def text() -> str:
        stream.seek(0)
        return stream.read()

    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        yield text


@contextlib.contextmanager
def _columns(least: int) -> Iterator[None]:
    """Have tyro lay out for so many columns at least: for five it would take minutes."""
    before = dict(os.environ)
    os.environ["COLUMNS"] = str(max(least, shutil.get_terminal_size().columns))
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        os.environ.update(before)


def _short(text: str, wanted: Collection[str]) -> str:
    """A help text with those options alone that are wanted, and the boxes that have one."""
    keep = lambda entry: entry[0] * (entry[1] in wanted)
    entries = re.sub(r"(?m)^│ (?:(?:-\w, )?--(\S+))?.*\n(?:│  .*\n)*", keep, text)
    return re.sub(r"(?m)^╭.*\n╰.*\n", "", entries)


@registry.primitive_rule
def _several(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Several values of one option, one at least; numbers and words may have commas between them."""
    kinds = get_args(info.type)
    if get_origin(info.type) is not tuple or Layer in kinds:
        return None
    first, *_ = specs = [spec_of(kind) for kind in kinds if kind is not ...]
    metavar = " ".join(spec.metavar for spec in specs) if ... not in kinds else f"[{first.metavar} ...]"

    def read(words: list[str]) -> tuple[Any, ...]:
        items = [item for word in words for item in word.split(",") if item] if Path not in kinds else words
        if not items:
            raise ValueError(f"no value; allowed: {metavar}")
        readers = specs if ... not in kinds else [first] * len(items)
        try:
            return tuple(spec.instance_from_str([item]) for spec, item in zip(readers, items, strict=True))
        except ValueError:
            raise ValueError(f"{' '.join(items)!r}; allowed: {metavar}") from None

    return PrimitiveConstructorSpec("*", metavar, read, lambda _: True, lambda value: [str(v) for v in value])


def spec_of(kind: Any) -> PrimitiveConstructorSpec[Any]:
    """How tyro reads one value."""
    found = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, set()))
    assert isinstance(found, PrimitiveConstructorSpec)
    return found


@registry.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """A number, or None where the type has it, refused in plain words."""
    kinds = get_args(info.type) or (info.type,)
    numbers = [kind for kind in kinds if kind is not type(None)]
    if len(numbers) != 1 or numbers[0] not in (int, float):
        return None
    allowed = ("a whole number" if numbers[0] is int else "a number") + " or None" * (len(kinds) - 1)

    def read(words: list[str]) -> float | None:
        if words == ["None"] and len(kinds) == 2:
            return None
        try:
            return numbers[0](words[0])
        except ValueError:
            raise ValueError(f"{words[0]!r}; allowed: {allowed}") from None

    return PrimitiveConstructorSpec(1, numbers[0].__name__.upper(), read, lambda _: True, lambda n: [str(n)])


@registry.primitive_rule
def _description_as_json(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Layers and norms of a model are one option each, which takes them as a config file has them, in JSON."""
    if info.type == tuple[Layer, ...]:
        return _as_json(lambda text: tuple(from_dict(Layer, layer) for layer in json.loads(text)))
    return _as_json(lambda text: from_json(Norm, text)) if info.type == (Norm | None) else None


def _as_json(read: Callable[[str], Any]) -> PrimitiveConstructorSpec[Any]:
    def from_text(words: list[str]) -> Any:
        try:
            return read(words[0])
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{words[0]!r} is not such JSON: {error}") from None

    shown = lambda value: ["those of the preset" if value else "none"]
    return PrimitiveConstructorSpec(1, "JSON", from_text, lambda _: True, shown)
