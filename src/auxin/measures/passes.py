"""What the measures share: a model in evaluation mode, and batches of one length each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from auxin.models.protocol import CausalModel
from auxin.models.threads import stay_single
from auxin.models.transformer import TransformerLM

Batch = TypeVar("Batch")
Found = TypeVar("Found")


@contextmanager
def evaluating(model: CausalModel) -> Iterator[torch.device]:
    """Without gradients or dropout; gives the model's device, and training mode back afterwards."""
    module = model if isinstance(model, nn.Module) else nn.Module()
    was_training = module.training
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    module.eval()
    try:
        with torch.inference_mode():
            yield device
    finally:
        module.train(was_training)


def side_by_side(
    model: CausalModel, work: Callable[[Batch], Found], batches: Iterable[Batch]
) -> Iterator[Found]:
    """What ``work``, which calls the model, makes of each batch, in their order; inside ``evaluating``.

    A ``TransformerLM`` on a CPU takes as many batches at once as torch has threads. Every operation then runs on
    one thread: what it rounds does not depend on their number, and no thread waits for another that has no core.
    Other models, which may keep something from call to call, take one batch after the other.
    """
    ours = isinstance(model, TransformerLM) and model.output.weight.is_cpu
    if not ours or torch.get_num_threads() == 1:
        yield from map(work, batches)
        return
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=stay_single) as pool:
        yield from pool.map(torch.inference_mode()(work), batches)


def length_batches(
    lengths: np.ndarray, max_tokens: int, slack: float = 0.0
) -> Iterator[tuple[int, np.ndarray]]:
    """Indices in batches of one length, the longest first, so that nothing is padded.

    Yields (longest length, indices); a batch holds at most ``max_tokens`` tokens, or a single sequence. With
    ``slack`` it also takes sequences shorter than its longest by up to that fraction, rounded down.
    """
    order = np.argsort(-lengths, kind="stable")
    descending = lengths[order]
    begin = 0
    while begin < len(order):
        longest = int(descending[begin])
        room = begin + max(1, max_tokens // longest)
        similar = np.searchsorted(-descending, int(slack * longest) - longest, side="right")
        end = min(room, int(similar))
        yield longest, order[begin:end]
        begin = end
