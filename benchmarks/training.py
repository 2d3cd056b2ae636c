"""Tokens per second of the stack against a simple padded PyTorch loop, alternating in one process.

    python benchmarks/training.py            # both sizes of the table in docs/benchmarks.md
    python benchmarks/training.py --threads 1 --rounds 10

OMP_WAIT_POLICY=PASSIVE slows the loop, and the plain products of two threads, by up to a half; leave it unset to
compare with the loop as it is found.

Prints for each size the median rate of both, the ratio pair by pair, the share of the arithmetic floor (the layers'
matrix products alone, as plain products of the same shapes) and both loss curves. Llama trains by autograd, the others
by the hand-written step.
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
from torch import nn

from auxin.config import ModelConfig, RunConfig, preset
from auxin.models.transformer import TransformerLM
from auxin.tasks import load_task
from auxin.training.loop import Trainer

SIZES = {
    "d=128, 4 layers, batch 32": RunConfig(),
    "d=512, 6 layers, batch 8": dataclasses.replace(preset("released-code"), seeds=(0,)),
    "Llama, d=128, 6 layers, batch 32": preset("llama"),
}


class PlainLlama(nn.Module):
    """Llama as one would write it with torch.nn, for the loop to train."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, m, vocabulary = config.width, config.hidden, config.vocabulary_size
        self.heads = config.heads
        self.embedding = nn.Embedding(vocabulary, d)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.RMSNorm(d, 1e-5),
                    "qkv": nn.Linear(d, 3 * d, bias=False),
                    "out": nn.Linear(d, d, bias=False),
                    "norm2": nn.RMSNorm(d, 1e-5),
                    "up": nn.Linear(d, 2 * m, bias=False),
                    "down": nn.Linear(m, d, bias=False),
                }
            )
            for _ in range(config.depth)
        )
        self.norm = nn.RMSNorm(d, 1e-5)
        self.output = nn.Linear(d, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
        k = d // config.heads
        angles = torch.arange(config.max_length)[:, None] * 1e4 ** (-torch.arange(0, k, 2) / k)
        self.register_buffer("cos", angles.cos().repeat(1, 2))
        self.register_buffer("sin", angles.sin().repeat(1, 2))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x, length = self.embedding(tokens), tokens.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]

        def rotated(x: torch.Tensor) -> torch.Tensor:
            a, b = x.chunk(2, -1)
            return x * cos + torch.cat([-b, a], -1) * sin

        for part in self.layers:
            q, k, v = (
                y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for y in part["qkv"](part["norm"](x)).chunk(3, -1)
            )
            y = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
            x = x + part["out"](y.transpose(1, 2).flatten(2))
            gate, up = part["up"](part["norm2"](x)).chunk(2, -1)
            x = x + part["down"](F.silu(gate) * up)
        return self.output(self.norm(x))


class SimpleLoop:
    """What one would write first: padded batches, nn.Dropout, cross_entropy, clip_grad_norm_, AdamW."""

    def __init__(self, config: RunConfig, sequences: list[np.ndarray]) -> None:
        self.config, self.sequences = config, [torch.from_numpy(s) for s in sequences]
        if config.model.layers:
            self.model = PlainLlama(config.model)
        else:
            self.model = TransformerLM(config.model, torch.Generator().manual_seed(0))
        self.model.train().to(config.device)
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
        output = self.model(padded[:, :-1].clamp(min=0))
        logits = output if isinstance(output, torch.Tensor) else output.logits
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
    gates = [(d, m)] if model.layers else []
    for a, b in ((d, 3 * d), (d, d), (d, m), *gates, (m, d)):
        x, w, g = torch.randn(int(tokens), a), torch.randn(b, a), torch.randn(int(tokens), b)
        products = [lambda x=x, w=w: x @ w.mT, lambda g=g, w=w: g @ w, lambda x=x, g=g: g.mT @ x]
        for product in products:
            total += statistics.median(seconds(product) for _ in range(20))
    return model.depth * total


def compare(name: str, config: RunConfig, rounds: int, steps: int) -> None:
    task = load_task("question", train_size=20_000)
    model = dataclasses.replace(config.model, vocabulary_size=len(task.vocabulary))
    config = dataclasses.replace(config, model=model)
    sequences = task.encoded("train")
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
    parser.add_argument("--only", default="", help="sizes whose name has this in it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for size, run in SIZES.items():
        if arguments.only not in size:
            continue
        compare(size, run, arguments.rounds, arguments.steps)
