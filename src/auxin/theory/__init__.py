"""Mean-field theory of random transformers: what the hyperparameters at initialization imply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auxin.theory.moments import attention_moments

__all__ = ["attention_moments"]


def __getattr__(name: str) -> Any:
    if name != "attention_moments":
        raise AttributeError(f"module 'auxin.theory' has no attribute {name!r}")
    from auxin.theory.moments import attention_moments  # scipy is loaded only where it is used

    return attention_moments
