"""Greedy decoding of many sequences at once, in as many passes as the guesses have mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from auxin.measures.passes import evaluating, length_batches, side_by_side
from auxin.models.protocol import CausalModel

EXTRA = 2  # tokens that an answer may be longer than its guess


def greedy_decode(
    model: CausalModel,
    prompts: Sequence[Sequence[int]],
    guesses: Sequence[Sequence[int]],
    eos: int,
    batch_tokens: int = 8192,
) -> list[list[int]]:
    """The greedy continuation of every prompt, up to ``eos`` (left out) or two tokens past its guess's length.

    Jacobi iteration (Santilli et al. 2023): every token of the answer is replaced by the most likely one
    after the current answer before it, until nothing changes. The fixed point is the greedy answer; pass k
    settles at least its first k tokens, and a right guess takes one pass.

    Args:
        prompts: token ids, with ``<bos>``, of any lengths.
        guesses: for each prompt, a likely answer without ``<eos>``.
        eos: id of the token that ends an answer.
        batch_tokens: most tokens in one pass; a pass costs what a forward pass over them costs.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    sizes = [len(p) + len(g) + 1 + EXTRA for p, g in zip(prompts, guesses, strict=True)]
    lengths = np.array(sizes, dtype=np.int64)
    with evaluating(model) as device:

        def decode(rows: list[int]) -> list[list[int]]:
            return _decode(model, [prompts[i] for i in rows], [guesses[i] for i in rows], eos, device)

        batches = [rows.tolist() for _, rows in length_batches(lengths, batch_tokens, slack=0.25)]
        for rows, decoded in zip(batches, side_by_side(model, decode, batches), strict=True):
            for i, answer in zip(rows, decoded, strict=True):
                answers[i] = answer
    return answers


def _decode(
    model: CausalModel,
    prompts: Sequence[Sequence[int]],
    guesses: Sequence[Sequence[int]],
    eos: int,
    device: torch.device,
) -> list[list[int]]:
    """One batch; B sequences, T answer tokens, L in all."""
    room = max(map(len, guesses)) + 1 + EXTRA
    start = torch.tensor([len(p) for p in prompts], device=device)
    tokens = torch.full((len(prompts), int(start.max()) + room), eos, device=device)  # [B, L]
    for row, (prompt, guess) in enumerate(zip(prompts, guesses, strict=True)):
        tokens[row, : len(prompt) + len(guess)] = torch.tensor([*prompt, *guess], device=device)
    places = start[:, None] + torch.arange(room, device=device)  # [B, T]
    active = torch.arange(len(prompts), device=device)
    while len(active):
        logits = model(tokens[active, :-1]).logits
        old = tokens[active].gather(1, places[active])
        new = logits.argmax(-1).gather(1, places[active] - 1)
        new = torch.where(_after_end(new, eos), eos, new)
        tokens[active] = tokens[active].scatter(1, places[active], new)
        active = active[(new != old).any(1)]
    limits = [len(guess) + 1 + EXTRA for guess in guesses]
    answers = tokens.gather(1, places).tolist()
    return [(a[: a.index(eos)] if eos in a[:n] else a[:n]) for a, n in zip(answers, limits, strict=True)]


def _after_end(tokens: Tensor, eos: int) -> Tensor:
    """Which tokens [B, T] stand behind the first ``eos``."""
    ends = (tokens == eos).long()
    return ends.cumsum(1) - ends > 0
