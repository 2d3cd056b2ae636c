"""In a test suite: the initialization of your model stays what it is meant to be. Run it with pytest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import auxin


def build(depth: int = 4, width: int = 64) -> nn.Module:
    """Stands for your own factory."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, norm_first=True, batch_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


@pytest.mark.parametrize("depth", [2, 6])
def test_the_start_is_healthy(depth: int) -> None:
    auxin.assert_healthy(build(depth))


def test_tokens_stay_apart_over_depth() -> None:
    layers = auxin.check(build(12)).layers
    assert layers["cosine"][-1] < 0.9
    assert layers["gradient"][1] < 10
