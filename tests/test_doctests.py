"""Every example in a docstring runs and prints what it shows; public names and numpy are at hand in all of them."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import auxin

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(auxin.__path__, "auxin.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    names = {public: getattr(auxin, public) for public in auxin.__all__} | {"auxin": auxin, "np": np}
    found = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0
