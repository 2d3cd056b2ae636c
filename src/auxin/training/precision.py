"""In which precision a GPU multiplies matrices of float32; a switch of the whole process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from auxin.config import Precision


@contextmanager
def float32_products(precision: Precision) -> Iterator[None]:
    """Inside, in float32 where that is the run's precision, else in tf32; whatever it was outside comes back."""
    matmul = torch.backends.cuda.matmul
    # the older name can be set in any state, but not be read once the newer one (from torch 2.9) was set
    newer = hasattr(matmul, "fp32_precision")
    before = matmul.fp32_precision == "tf32" if newer else matmul.allow_tf32
    matmul.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        matmul.allow_tf32 = before
