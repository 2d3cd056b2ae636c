"""Predict from its initialization whether a transformer will train, train it, and watch structure emerge.

The public names are those in ``__all__``, and the namespaces ``trees``, ``tasks`` and ``theory``; each is imported at
first use, so that ``import auxin`` loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from auxin import display, outputs

if TYPE_CHECKING:
    from auxin.architecture import (
        MLP,
        Attention,
        Block,
        CrossAttention,
        Experts,
        LatentAttention,
        Layer,
        Network,
        Norm,
        Rotary,
        Sublayer,
    )
    from auxin.config import ModelConfig, OptimizerConfig, RunConfig, preset
    from auxin.errors import AuxinError
    from auxin.experiment.measure import measure
    from auxin.experiment.train import resume, train
    from auxin.lab.named import NamedRun
    from auxin.lab.sweep import sweep
    from auxin.lab.sweep_record import open
    from auxin.measures.grokking import grokking_summary
    from auxin.measures.pairs import minimal_pairs
    from auxin.measures.projection import tree_projections
    from auxin.models.initialize import initialize_
    from auxin.models.transformer import TransformerLM
    from auxin.probes.check import assert_healthy, check
    from auxin.probes.check_report import CheckReport
    from auxin.probes.difference import diff
    from auxin.probes.findings import Thresholds
    from auxin.probes.recognition import network_of
    from auxin.probes.remedy import rescale_
    from auxin.probes.simulate import simulate
    from auxin.probes.transfer import transfer
    from auxin.probes.watch import watch
    from auxin.runs import Run
    from auxin.tasks import Task, Vocabulary, load_task
    from auxin.theory.critical import critical
    from auxin.theory.exponents import exponents
    from auxin.theory.gram import propagate_gram
    from auxin.theory.phase import phase_diagram
    from auxin.theory.propagation import propagate

display.drawing = lambda: import_module("auxin.notebook")
outputs.folders = lambda: import_module("auxin.families.folder")

_HOME = {
    name: module
    for module, names in {
        "auxin.config": "ModelConfig OptimizerConfig RunConfig preset",
        "auxin.errors": "AuxinError",
        "auxin.probes.check": "assert_healthy check",
        "auxin.probes.check_report": "CheckReport",
        "auxin.probes.findings": "Thresholds",
        "auxin.experiment.measure": "measure",
        "auxin.experiment.train": "resume train",
        "auxin.measures.grokking": "grokking_summary",
        "auxin.measures.pairs": "minimal_pairs",
        "auxin.measures.projection": "tree_projections",
        "auxin.models.initialize": "initialize_",
        "auxin.models.transformer": "TransformerLM",
        "auxin.probes.recognition": "network_of",
        "auxin.probes.difference": "diff",
        "auxin.probes.remedy": "rescale_",
        "auxin.probes.simulate": "simulate",
        "auxin.probes.watch": "watch",
        "auxin.probes.transfer": "transfer",
        "auxin.lab.sweep_record": "open",
        "auxin.runs": "Run",
        "auxin.lab.named": "NamedRun",
        "auxin.lab.sweep": "sweep",
        "auxin.tasks": "Task Vocabulary load_task",
        "auxin.architecture": "MLP Attention Block Experts CrossAttention LatentAttention "
        "Layer Network Norm Rotary Sublayer",
        "auxin.theory.critical": "critical",
        "auxin.theory.exponents": "exponents",
        "auxin.theory.gram": "propagate_gram",
        "auxin.theory.phase": "phase_diagram",
        "auxin.theory.propagation": "propagate",
    }.items()
    for name in names.split()
}
"""The module of each name."""
_NAMESPACES = {"trees": "auxin.tasks.trees", "tasks": "auxin.tasks", "theory": "auxin.theory"}

__all__ = [  # noqa: RUF022
    "check", "assert_healthy", "rescale_", "diff", "watch", "transfer", "CheckReport", "Thresholds",
    "Norm", "Rotary", "Attention", "MLP", "Experts", "CrossAttention", "LatentAttention", "Sublayer",
    "Layer", "Network", "Block", "exponents", "propagate", "propagate_gram", "phase_diagram",
    "critical", "simulate", "initialize_", "network_of",
    "ModelConfig", "OptimizerConfig", "RunConfig", "preset", "TransformerLM",
    "Vocabulary", "Task", "load_task", "train", "resume", "measure", "Run", "open", "grokking_summary",
    "sweep", "NamedRun",
    "tree_projections", "minimal_pairs",
    "AuxinError",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _NAMESPACES:
        value = import_module(_NAMESPACES[name])
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'auxin' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
