"""The plugin of pytest: tests from the command line, and a fixture."""

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]
MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(32, 4, 64) for _ in range(3)]
    model = nn.TransformerEncoder(layers[0], 3, enable_nested_tensor=False)
    model.layers = nn.ModuleList(layers)
    return model

def scaled():
    model = build()
    model.layers[1].linear2.weight.data.mul_(3)
    return model
"""
INSTALLED = any(point.value == "auxin.pytest_plugin" for point in entry_points(group="pytest11"))
LOADED = () if INSTALLED else ("-p", "auxin.pytest_plugin")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(encoder=MODEL)
    return pytester


def test_a_source_makes_a_test_of_every_kind(project: pytest.Pytester) -> None:
    ends = "print('compiler', 'torch._dynamo' in sys.modules)"  # whose import takes longer than the checks
    project.makeconftest(f"import sys\ndef pytest_unconfigure():\n    {ends}\n")
    result = project.runpytest_subprocess(
        *LOADED, "-v", "--auxin", "encoder.py:build", "--auxin", "encoder.py:scaled"
    )
    result.assert_outcomes(passed=9, failed=1)
    result.stdout.fnmatch_lines(["*layers.1.linear2 has std * 3 times as much*"])
    assert "encoder.py:scaled-mismatch" in result.stdout.str()
    result.stdout.fnmatch_lines(["compiler False"])


def test_a_source_that_is_not_there_is_one_line(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess(*LOADED, "--auxin", "nothing.py:build")
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(["nothing.py is no file; allowed: *"])
    assert "Traceback" not in result.stdout.str()


def test_the_fixture_fails_with_what_was_found(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_model="""
        import encoder

        def test_sound(auxin_healthy):
            auxin_healthy(encoder.build(), n_tokens=8)

        def test_scaled(auxin_healthy):
            auxin_healthy(encoder.scaled(), n_tokens=8)
        """
    )
    result = project.runpytest_subprocess(*LOADED)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*UnhealthyModel: 1 found: layers.1.linear2 has std*"])
