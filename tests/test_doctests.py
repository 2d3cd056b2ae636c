"""Every example in a docstring runs and prints what it shows; public names and numpy are at hand in all of them."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import auxin

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(auxin.__path__, "auxin.")
    if not module.name.endswith("__main__")
)


NAMES = {public: getattr(auxin, public) for public in auxin.__all__} | {"auxin": auxin, "np": np}
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name), extraglobs=NAMES, optionflags=OPTIONS)
    assert found.failed == 0


@pytest.mark.parametrize("name", auxin.__all__)
def test_every_public_name_has_an_example_that_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decorated functions among them, which doctest takes for another module's."""
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(getattr(auxin, name)) or ""
    example = doctest.DocTestParser().get_doctest(text, dict(NAMES), name, None, None)
    assert example.examples
    with torch.random.fork_rng(devices=[]):
        assert doctest.DocTestRunner(optionflags=OPTIONS).run(example).failed == 0


def test_the_reference_lists_every_public_name() -> None:
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    assert sorted(re.findall(r"^::: auxin\.(\w+)$", page, re.MULTILINE)) == sorted(auxin.__all__)
