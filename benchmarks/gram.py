"""Seconds of the Gram engine, forward and back, and the standard error that they buy.

    python benchmarks/gram.py [--threads 2] [--depth 24] [--tokens 12 32 128] [--sigma-a 1]

Causal, pre-norm, with the draws that the engine chooses by itself. Errors are relative to the two tokens' norms;
the largest is that of the first tokens, whose few keys leave their attention the most random.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from auxin.architecture.block import Block
from auxin.theory.gram import propagate_gram


def relative(error: np.ndarray, gram: np.ndarray) -> np.ndarray:
    root = np.sqrt(np.einsum("lii->li", gram))
    return error / (root[:, :, None] * root[:, None, :])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--depth", type=int, default=24)
    parser.add_argument("--tokens", type=int, nargs="+", default=[12, 32, 128])
    parser.add_argument("--sigma-a", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.depth} layers, {arguments.threads} threads, sigma_a = {arguments.sigma_a}")
    print("activation    n   seconds  of CPU   gram error: rms, max   gradient error: rms, max")
    for activation in ("relu", "tanh"):
        for n in arguments.tokens:
            block = Block(norm="pre", activation=activation, sigma_a=arguments.sigma_a)
            start, start_cpu = time.perf_counter(), time.process_time()
            result = propagate_gram(block, 0.7 * np.eye(n) + 0.3, depth=arguments.depth)
            seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
            forward = relative(result.gram_error, result.gram)
            backward = relative(result.gradient_error, result.gradient)
            errors = "         ".join(
                f"{np.sqrt((e**2).mean()):.1e} {e.max():.1e}" for e in (forward, backward)
            )
            print(f"{activation:10} {n:4} {seconds:8.2f}s {cpu:6.2f}s   {errors}", flush=True)


if __name__ == "__main__":
    main()
