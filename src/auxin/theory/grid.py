"""Many blocks as one, with arrays for the hyperparameters that vary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from auxin.architecture.block import Block, check_range, resolved


def grid(block: Block, hyperparameters: Mapping[str, Any]) -> SimpleNamespace:
    """The block's fields as attributes, the named ones replaced by arrays that broadcast together.

    A whole phase diagram then runs through the same equations as one block. Names, checks and errors are
    those of ``replace``.
    """
    fields = {f.name: getattr(block, f.name) for f in dataclasses.fields(block)}
    given = {name: np.asarray(value, float) for name, value in hyperparameters.items()}
    arrays = {name: np.asarray(value, float) for name, value in resolved(given).items()}
    for name, value in arrays.items():
        check_range(name, value)
    fields |= arrays
    out = fields["sigma_b_out"]
    return SimpleNamespace(**fields, output_bias=fields["sigma_b"] if out is None else out)
