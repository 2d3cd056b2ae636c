"""Greedy decoding of many sequences at once, in as many passes as the guesses have mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

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
    limits = [len(guess) + 1 + EXTRA for guess in guesses]
    lengths = np.array([len(p) + n for p, n in zip(prompts, limits, strict=True)], dtype=np.int64)
    batches = [rows.tolist() for _, rows in length_batches(lengths, batch_tokens, slack=0.25)]
    with evaluating(model) as device:

        def decode(rows: list[int]) -> list[list[int]]:
            """B sequences, T answer tokens, L in all."""
            room = max(limits[i] for i in rows)
            start = torch.tensor([len(prompts[i]) for i in rows], device=device)
            tokens = torch.full((len(rows), int(start.max()) + room), eos, device=device)  # [B, L]
            for row, i in enumerate(rows):
                known = torch.tensor([*prompts[i], *guesses[i]], device=device)
                tokens[row, : len(known)] = known
            places = start[:, None] + torch.arange(room, device=device)  # [B, T]
            active = torch.arange(len(rows), device=device)
            while len(active):
                logits = model(tokens[active, :-1]).logits
                old = tokens[active].gather(1, places[active])
                new = logits.argmax(-1).gather(1, places[active] - 1)
                ends = (new == eos).long()
                new = torch.where(ends.cumsum(1) > ends, eos, new)  # after the first end
                tokens[active] = tokens[active].scatter(1, places[active], new)
                active = active[(new != old).any(1)]
            answers = tokens.gather(1, places).tolist()
            kept = [answer[: limits[i]] for answer, i in zip(answers, rows, strict=True)]
            return [answer[: answer.index(eos)] if eos in answer else answer for answer in kept]

        found: dict[int, list[int]] = {}
        for rows, answers in zip(batches, side_by_side(model, decode, batches), strict=True):
            found |= zip(rows, answers, strict=True)
    return [found[i] for i in range(len(prompts))]
