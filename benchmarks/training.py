"""Tokens per second of the stack against a simple padded PyTorch loop, alternating in one process.

    python benchmarks/training.py            # both sizes of the table in docs/benchmarks.md
    python benchmarks/training.py --threads 1 --rounds 10

OMP_WAIT_POLICY=PASSIVE slows the loop, and the plain products of two threads, by up to a half; leave it unset to
compare with the loop as it is found.

Prints for each size the median rate of both, the ratio pair by pair, the share of the arithmetic floor (the
layers' matrix products alone, as plain products of the same shapes) and both loss curves.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from auxin.config import ModelConfig, RunConfig, preset
from auxin.models.transformer import TransformerLM
from auxin.tasks import load_task
from auxin.training.loop import Trainer

SIZES = {
    "d=128, 4 layers, batch 32": RunConfig(),
    "d=512, 6 layers, batch 8": dataclasses.replace(preset("released-code"), seeds=(0,)),
}


class SimpleLoop:
    """What one would write first: padded batches, nn.Dropout, cross_entropy, clip_grad_norm_, AdamW."""

    def __init__(self, config: RunConfig, sequences: list[np.ndarray]) -> None:
        self.config, self.sequences = config, [torch.from_numpy(s) for s in sequences]
        self.model = TransformerLM(config.model, torch.Generator().manual_seed(0)).train().to(config.device)
        o = config.optimizer
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            o.learning_rate,
            (o.beta1, o.beta2),
            o.epsilon,
            weight_decay=o.weight_decay,
        )
        self.order = np.random.default_rng(0)

    def step(self) -> tuple[float, int]:
        picked = self.order.choice(len(self.sequences), self.config.batch_size, replace=False)
        padded = torch.nn.utils.rnn.pad_sequence(
            [self.sequences[i] for i in picked], batch_first=True, padding_value=-1
        ).to(self.config.device)
        logits = self.model(padded[:, :-1].clamp(min=0)).logits
        loss = F.cross_entropy(logits.flatten(0, 1), padded[:, 1:].flatten(), ignore_index=-1)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip)
        warmup = max(1, self.config.optimizer.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.optimizer.learning_rate * min(1, (self.count + 1) / warmup)
        self.optimizer.step()
        self.count += 1
        return loss.item(), int((padded[:, 1:] >= 0).sum())

    count = 0


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def floor_seconds(model: ModelConfig, tokens: float) -> float:
    """Time of one step's matrix products (forward, and twice backward) as plain products of the same shapes."""
    d, m = model.width, model.hidden
    total = 0.0
    for a, b in ((d, 3 * d), (d, d), (d, m), (m, d)):
        x, w, g = torch.randn(int(tokens), a), torch.randn(b, a), torch.randn(int(tokens), b)
        products = [lambda x=x, w=w: x @ w.mT, lambda g=g, w=w: g @ w, lambda x=x, g=g: g.mT @ x]
        for product in products:
            total += statistics.median(seconds(product) for _ in range(20))
    return model.depth * total


def compare(name: str, config: RunConfig, rounds: int, steps: int) -> None:
    task = load_task("question", train_size=20_000)
    model = dataclasses.replace(config.model, vocabulary_size=len(task.vocabulary))
    config = dataclasses.replace(config, model=model)
    encoded = task.encoded("train")
    sequences = np.split(encoded.tokens, encoded.offsets[1:-1])
    simple, ours = SimpleLoop(config, sequences), Trainer(config, sequences)
    rates: dict[str, list[float]] = {"simple": [], "auxin": []}
    curves: dict[str, list[float]] = {"simple": [], "auxin": []}
    count = 0
    for round_ in range(rounds + 1):
        for label, step in (("simple", simple.step), ("auxin", lambda: train_step(ours))):
            start, done, losses = time.perf_counter(), 0, []
            for _ in range(steps):
                loss, count = step()
                losses.append(loss)
                done += count
            if round_:  # the first round warms up
                rates[label].append(done / (time.perf_counter() - start))
            curves[label].append(statistics.mean(losses))
    ratios = sorted(a / b for a, b in zip(rates["auxin"], rates["simple"], strict=True))
    ours_rate, simple_rate = statistics.median(rates["auxin"]), statistics.median(rates["simple"])
    floor = floor_seconds(model, count)
    print(f"\n{name} ({torch.get_num_threads()} threads, about {count} tokens a step)")
    print(f"  simple padded loop  {simple_rate:9.0f} tokens/s  {1e3 * count / simple_rate:6.1f} ms a step")
    print(f"  auxin               {ours_rate:9.0f} tokens/s  {1e3 * count / ours_rate:6.1f} ms a step")
    print(
        f"  ratio               {statistics.median(ratios):9.2f}  (pairs {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    share = floor * ours_rate / count
    print(f"  matrix products     {1e3 * floor:9.1f} ms, {share:.0%} of our step")
    for label, curve in curves.items():
        print(f"  loss, {label:7s} " + " ".join(f"{x:.3f}" for x in curve))


def train_step(trainer: Trainer) -> tuple[float, int]:
    result = trainer.step()
    return float(result.losses[0]), result.tokens


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="steps of each side a round")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for size, run in SIZES.items():
        compare(size, run, arguments.rounds, arguments.steps)
