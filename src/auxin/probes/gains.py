"""What norms multiply by: what they do, and not what their parameter is called or counts from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from auxin.probes.tracing import is_norm


def gain_of(module: nn.Module) -> Tensor | None:
    """A norm's gain γ, [d]: its output for x = (1, −1, 1, −1, …), whose mean is 0 and norm² 1, times x.

    That is also that of norms that multiply by 1 + weight (Gemma). None for what is no norm of vectors of an even
    number of dimensions.
    """
    weight = getattr(module, "weight", None)
    if not is_norm(module) or not isinstance(weight, Tensor) or weight.ndim != 1 or len(weight) % 2:
        return None
    x = torch.ones_like(weight)
    x[1::2] = -1
    try:
        with torch.no_grad():
            output = module.forward(x.view(1, 1, -1))
            flipped = module.forward(-x.view(1, 1, -1))
    except Exception:  # of norms that take more than the stream
        return None
    if not isinstance(output, Tensor) or output.numel() != len(weight):
        return None
    return ((output - flipped).flatten() / 2 * x).float()  # without the bias
