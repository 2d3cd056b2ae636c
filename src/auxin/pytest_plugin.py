"""pytest: tests of a model's initialization, by a fixture or from the command line.

``pytest --auxin my_project.model:build`` adds a test for every kind of finding of ``auxin.check``; the fixture
``auxin_healthy`` is ``auxin.assert_healthy``. pytest loads this module by itself where auxin is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

KINDS = ("dead", "mismatch", "collapse", "explode", "loss")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option ``--auxin``."""
    parser.getgroup("auxin").addoption(
        "--auxin",
        action="append",
        default=[],
        metavar="SOURCE",
        help="check a model's initialization: module:function, file.py:function, or a config.json of transformers",
    )


@pytest.fixture
def auxin_healthy() -> Callable[..., None]:
    """``auxin.assert_healthy``: called with a model, fails with the sentences of what was found."""
    from auxin.probes.check import assert_healthy

    return assert_healthy


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the tests of every source."""
    for source in config.getoption("--auxin") or ():
        for kind in KINDS:
            name = f"auxin[{source}-{kind}]"
            items.append(_Finding.from_parent(session, name=name, source=source, kind=kind))


@cache
def _findings(source: str) -> list[Any]:
    from auxin.experiment.sources import model_at
    from auxin.probes.check import check

    return list(check(model_at(source, {})).findings)


class _Finding(pytest.Item):
    """One kind of finding of one model."""

    def __init__(self, *, source: str, kind: str, **given: Any) -> None:
        super().__init__(**given)
        self.source, self.kind = source, kind

    def runtest(self) -> None:
        """Fail with what was found."""
        found = [f.sentence for f in _findings(self.source) if f.kind == self.kind]
        if found:
            pytest.fail(" ".join(found), pytrace=False)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A line for what the user can mend, a traceback for all else."""
        from auxin.errors import AuxinError

        known = isinstance(excinfo.value, AuxinError)
        return str(excinfo.value) if known else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Where it is from."""
        return self.source, None, self.name
