"""Seconds of the Gram engine, forward and back, and the standard error that they buy.

    python benchmarks/gram.py [--threads 2] [CASE …]

Causal, with the draws that the engine chooses by itself. Errors are relative to the two tokens' norms, in the layer
where they are greatest; the largest is that of the first tokens, whose few keys leave their attention the most random.
The floor is the CPU time that two products of n × n a draw forward, and three back, take alone in single precision.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from auxin.architecture import MLP, Attention, Block, Layer, Network, Norm, Rotary, Sublayer
from auxin.theory.gram import propagate_gram
from auxin.theory.profile import Profile

RMS = Norm("rms", epsilon=1e-6)
LLAMA = Layer(
    (
        Sublayer(Attention(head_dim=64, rotary=Rotary()), before=RMS),
        Sublayer(MLP("silu", gated=True), before=RMS),
    )
)
CASES = {
    "relu": (Block(activation="relu"), 24, 128),
    "tanh": (Block(activation="tanh"), 24, 128),
    "short": (Block(activation="tanh"), 24, 32),
    "llama": (LLAMA, 12, 64),
    "long": (LLAMA, 24, 512),
}
"""By name, the layer, how many of them, and tokens."""


def relative(error: np.ndarray, gram: np.ndarray) -> np.ndarray:
    root = np.sqrt(np.einsum("lii->li", gram))
    return error / (root[:, :, None] * root[:, None, :])


def floor(depth: int, n: int, draws: int) -> float:
    """Seconds of the products alone, on one thread."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    repeats = max(1, 2**27 // n**3)
    torch.set_num_threads(1)
    start = time.process_time()
    for _ in range(repeats):
        a @ b
    return (time.process_time() - start) / repeats * 5 * depth * draws


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("cases", nargs="*", default=list(CASES), choices=[*CASES, []], metavar="CASE")
    arguments = parser.parse_args()
    print(f"{arguments.threads} threads")
    print("case   layers   n   seconds  of CPU   of floor   gram error: rms, max   gradient error: rms, max")
    for name in arguments.cases:
        layer, depth, n = CASES[name]
        torch.set_num_threads(arguments.threads)
        start, start_cpu = time.perf_counter(), time.process_time()
        result = propagate_gram(Network.repeat(layer, depth), 0.7 * np.eye(n) + 0.3)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        share = floor(depth, n, min(2048, max(64, 2**28 // n**3))) / cpu
        print(
            f"{name:6} {depth:6} {n:4} {seconds:8.2f}s {cpu:6.2f}s {share:9.0%}   {shown(result)}", flush=True
        )


def shown(result: Profile) -> str:
    errors = (relative(result.errors[name], result[name]) for name in ("gram", "gradient_gram"))
    return "      ".join(f"{np.sqrt((e**2).mean((1, 2))).max():.1e} {e.max():.1e}" for e in errors)


if __name__ == "__main__":
    main()
