"""Arguments of a wrong kind, explained: a public function that fails of one says which, and what is allowed."""

from __future__ import annotations

import builtins
import errno
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from auxin.errors import AuxinError, PathError
from auxin.values import check, is_number

P = ParamSpec("P")
R = TypeVar("R")
_PATHS = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR)
"""What is wrong with a path rather than with a disk."""
_KNOWN = {str: "a text", float: "a number", int: "a whole number", NoneType: "None"}


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Raise ``ConfigError`` for an argument that does not fit its annotation, where the call fails because of it.

    Only a call that has failed is looked at: nothing that works is refused, and nothing is slower. A path that the
    system refuses, for its length or its permissions, is a ``PathError``.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return function(*arguments, **named)
        except AuxinError:
            raise
        except OSError as error:
            if error.errno in _PATHS:
                raise PathError(f"{error.filename}: {error.strerror}") from None
            raise
        except Exception:
            _explain(function, arguments, named)
            raise

    return call


def _explain(function: Callable[..., Any], arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for the first argument that does not fit; return if all do."""
    try:
        bound = inspect.signature(function).bind(*arguments, **named)
    except TypeError:  # Python's own message names the function and the argument
        return
    hints = get_type_hints(function, localns=_Names(function.__globals__))
    for name, value in bound.arguments.items():
        if name in hints and not _fits(value, hints[name]):
            check(False, name, value, _words(hints[name]))


class _Names(dict[str, Any]):
    """A function's globals, with anything at all for what is imported for a type checker only."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, _Anything())


class _Anything:
    """An unknown type, its members and its parameters."""

    def __getattr__(self, name: str) -> Any:
        return Any

    def __getitem__(self, of: object) -> Any:
        return Any

    def __or__(self, other: object) -> Any:
        return Any

    __ror__ = __or__

    def __call__(self) -> None:
        """Types can be called."""


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if hint is Any:
        return True
    if hint == _array_like():
        return _holds_numbers(value)
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint is float:
        return is_number(value)
    if hint is int:
        return hasattr(value, "__index__") and not isinstance(value, bool)
    kind = origin or hint
    if not isinstance(kind, type) or (getattr(kind, "_is_protocol", False) and not _is_abstract(kind)):
        return True
    if not isinstance(value, kind):
        return False
    items = [option for option in get_args(hint) if option is not ...]
    if kind is tuple and len(items) > 1:
        return len(value) == len(items) and all(map(_fits, value, items))
    if isinstance(value, str) or len(items) != 1 or not issubclass(kind, Iterable):
        return not isinstance(value, str) or kind in (str, object) or str in items
    return all(_fits(item, items[0]) for item in value)


def _array_like() -> Any:
    from numpy.typing import ArrayLike  # loaded only where something has failed

    return ArrayLike


def _holds_numbers(value: Any) -> bool:
    import numpy

    try:
        return bool(numpy.asarray(value, float).dtype == float) and not isinstance(value, str)
    except (TypeError, ValueError):
        return False


def _is_abstract(kind: type) -> bool:
    """Whether a protocol is one that the standard library lets ``isinstance`` look at."""
    return bool(getattr(kind, "_is_runtime_protocol", False))


def _words(hint: Any) -> str:
    """What fits, in words."""
    if hint == _array_like():
        return "numbers"
    if Path in get_args(hint):
        return "a path"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_words, get_args(hint))))
    if get_origin(hint) is Literal:
        return ", ".join(map(str, get_args(hint)))
    if hint in _KNOWN:
        return _KNOWN[hint]
    items = [option for option in get_args(hint) if option is not ...]
    kind = get_origin(hint) or hint
    if kind is tuple and len(items) > 1:
        return f"({', '.join(map(_words, items))})"
    if isinstance(kind, type) and issubclass(kind, Sequence):
        return (
            f"a list of {_KNOWN[items[0]].partition(' ')[2]}s"
            if items[:1] and items[0] in _KNOWN
            else "a list"
        )
    name = getattr(kind, "__name__", str(hint))
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"
