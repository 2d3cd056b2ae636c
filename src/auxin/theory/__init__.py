"""Mean-field theory of random transformers: what the hyperparameters at initialization imply."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auxin.theory.exponents import fixed_point
    from auxin.theory.moments import attention_moments

__all__ = ["attention_moments", "fixed_point"]
_HOME = {"attention_moments": "auxin.theory.moments", "fixed_point": "auxin.theory.exponents"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'auxin.theory' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
