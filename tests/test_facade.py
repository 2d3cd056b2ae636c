"""The public names, pinned: add to this list, never rename."""

import ast
import subprocess
import sys
from pathlib import Path

import auxin

PUBLIC = {
    "Attention", "AuxinError", "Block", "Layer", "MLP", "ModelConfig", "Network", "Norm", "OptimizerConfig", "Rotary",
    "RunConfig", "Experts", "CrossAttention", "LatentAttention", "Sublayer", "TransformerLM", "Vocabulary",
    "critical", "exponents", "grokking_summary", "initialize_",
    "load_task", "measure", "open", "Run", "phase_diagram", "preset",
    "propagate", "propagate_gram", "simulate", "train",
    "tree_projections", "minimal_pairs", "Task", "resume",
    "assert_healthy", "check", "diff",
    "watch", "transfer", "network_of", "rescale_", "CheckReport", "Thresholds",
    "sweep", "NamedRun",
}  # fmt: skip


def test_public_names_are_pinned_and_resolve() -> None:
    assert set(auxin.__all__) == PUBLIC
    for name in PUBLIC:
        assert callable(getattr(auxin, name)), name
        assert getattr(auxin, name).__doc__, name


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(auxin.__file__ or "").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == PUBLIC


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, auxin; print([m for m in ('torch', 'numpy', 'polars', 'altair') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
