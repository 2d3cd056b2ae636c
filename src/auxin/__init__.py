"""Predict from its initialization whether a transformer will train, train it, and watch structure emerge.

The public names are those in ``__all__``; each is imported from its module at first use, so that ``import auxin``
loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from auxin import display

if TYPE_CHECKING:
    from auxin.architecture import MLP, Attention, Block, Layer, Network, Norm, Rotary, Sublayer
    from auxin.config import ModelConfig, OptimizerConfig, RunConfig, preset
    from auxin.errors import AuxinError
    from auxin.experiment.check import assert_healthy, check
    from auxin.experiment.huggingface import save_huggingface
    from auxin.experiment.measure import measure
    from auxin.experiment.train import resume, train
    from auxin.measures.grokking import grokking_summary
    from auxin.measures.projection import tree_projections
    from auxin.models.formats import load_model, save_model
    from auxin.models.initialize import initialize
    from auxin.models.transformer import TransformerLM
    from auxin.probes.causal import as_causal_model
    from auxin.probes.families import network_of
    from auxin.probes.remedy import rescale_
    from auxin.probes.simulate import simulate
    from auxin.report.sweep_record import open_sweep
    from auxin.runs import open_run
    from auxin.studies.design import NamedRun
    from auxin.studies.sweep import sweep
    from auxin.tasks import Dials, Task, Vocabulary, load_task
    from auxin.tasks.trees import balanced, left_branching, parseval, random_tree, right_branching
    from auxin.theory.critical import critical
    from auxin.theory.exponents import exponents, fixed_point
    from auxin.theory.gram import propagate_gram
    from auxin.theory.moments import attention_moments
    from auxin.theory.phase import phase_diagram
    from auxin.theory.propagation import propagate

display.drawing = lambda: import_module("auxin.notebook")

_MODULES = {
    "auxin.config": ("ModelConfig", "OptimizerConfig", "RunConfig", "preset"),
    "auxin.errors": ("AuxinError",),
    "auxin.experiment.check": ("assert_healthy", "check"),
    "auxin.experiment.huggingface": ("save_huggingface",),
    "auxin.experiment.measure": ("measure",),
    "auxin.experiment.train": ("resume", "train"),
    "auxin.measures.grokking": ("grokking_summary",),
    "auxin.measures.projection": ("tree_projections",),
    "auxin.models.formats": ("load_model", "save_model"),
    "auxin.models.initialize": ("initialize",),
    "auxin.models.transformer": ("TransformerLM",),
    "auxin.probes.causal": ("as_causal_model",),
    "auxin.probes.families": ("network_of",),
    "auxin.probes.remedy": ("rescale_",),
    "auxin.probes.simulate": ("simulate",),
    "auxin.report.sweep_record": ("open_sweep",),
    "auxin.runs": ("open_run",),
    "auxin.studies.design": ("NamedRun",),
    "auxin.studies.sweep": ("sweep",),
    "auxin.tasks": ("Dials", "Task", "Vocabulary", "load_task"),
    "auxin.tasks.trees": ("balanced", "left_branching", "parseval", "random_tree", "right_branching"),
    "auxin.theory.moments": ("attention_moments",),
    "auxin.architecture": ("MLP", "Attention", "Block", "Layer", "Network", "Norm", "Rotary", "Sublayer"),
    "auxin.theory.critical": ("critical",),
    "auxin.theory.exponents": ("exponents", "fixed_point"),
    "auxin.theory.gram": ("propagate_gram",),
    "auxin.theory.phase": ("phase_diagram",),
    "auxin.theory.propagation": ("propagate",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022
    "check", "assert_healthy", "rescale_", "as_causal_model",
    "Norm", "Rotary", "Attention", "MLP", "Sublayer", "Layer", "Network",
    "Block", "exponents", "fixed_point", "propagate", "propagate_gram", "attention_moments", "phase_diagram",
    "critical", "simulate", "initialize", "network_of",
    "ModelConfig", "OptimizerConfig", "RunConfig", "preset", "TransformerLM", "load_model", "save_model",
    "save_huggingface",
    "Vocabulary", "Task", "Dials", "load_task", "train", "resume", "measure", "open_run", "grokking_summary",
    "sweep", "NamedRun", "open_sweep",
    "tree_projections", "parseval", "right_branching", "left_branching", "balanced", "random_tree",
    "AuxinError",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'auxin' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
