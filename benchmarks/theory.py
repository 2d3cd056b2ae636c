"""Seconds of the simplex theory: phase diagrams with both exponents, against one block after another.

    python benchmarks/theory.py [--size 100] [--sample 25] [--skip-gram]

Every diagram is made cold: tables of attention and activation moments are built within the time shown. The
pointwise time is that of ``exponents`` on a sample of points, extrapolated; both must agree. The last part times
24 layers of the Gram engine with gradients at n = 128 (``benchmarks/gram.py`` has more of it).
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from auxin.architecture.block import Block, replace
from auxin.theory import kernels, moments
from auxin.theory.exponents import exponents
from auxin.theory.phase import phase_diagram
from auxin.theory.propagation import propagate

PAPER = Block.cowsik(alpha_attention=0.5, alpha_mlp=0.5, sigma_w=2.0, sigma_a=1.0, n_tokens=32)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


DIAGRAMS = {
    "paper's block, alpha_mlp × sigma_w": (PAPER, ("alpha_mlp", 0.01, 0.99), ("sigma_w", 0.2, 6.0)),
    "paper's block, alpha_attention × alpha_mlp": (
        PAPER,
        ("alpha_attention", 0.01, 0.99),
        ("alpha_mlp", 0.01, 0.99),
    ),
    "paper's block, alpha_attention × sigma_a": (
        replace(PAPER, sigma_w=4.0),
        ("alpha_attention", 0.01, 0.99),
        ("sigma_a", 0.1, 6.0),
    ),
    "post-norm relu, n = 1024, sigma_w × mlp_branch": (
        Block(norm="post", activation="relu", n_tokens=1024),
        ("sigma_w", 0.2, 3.0),
        ("mlp_branch", 0.05, 2.0),
    ),
    "a user's function, alpha_mlp × sigma_w": (
        Block(activation=softplus),
        ("alpha_mlp", 0.01, 0.99),
        ("sigma_w", 0.2, 6.0),
    ),
}


def diagrams(size: int, sample: int) -> None:
    print(f"{size} × {size} phase diagrams: seconds (cold), seconds of a pointwise loop, ratio, largest |Δλ|")
    rng = np.random.default_rng(0)
    for name, (block, *axes) in DIAGRAMS.items():
        x, y = ((field, np.linspace(low, high, size)) for field, low, high in axes)
        forget()
        start = time.perf_counter()
        table = phase_diagram(block, x, y)
        seconds = time.perf_counter() - start
        rows = table[rng.choice(len(table), sample, replace=False)]
        forget()
        start = time.perf_counter()
        single = [
            exponents(replace(block, **{x[0]: r["x"], y[0]: r["y"]})) for r in rows.iter_rows(named=True)
        ]
        pointwise = (time.perf_counter() - start) / sample * len(table)
        gaps = [rows[k].to_numpy() - [getattr(e, k) for e in single] for k in ("angle", "gradient")]
        difference = np.abs(gaps).max()
        print(f"  {name:48} {seconds:6.2f} {pointwise:8.0f} {pointwise / seconds:7.0f}×   {difference:.0e}")


def forget() -> None:
    for cached in (moments._table, moments._row, kernels._table):
        cached.cache_clear()


def layers() -> None:
    start = time.perf_counter()
    propagate(PAPER, depth=24)
    print(f"24 layers forward and back: {time.perf_counter() - start:.3f} s")
    start = time.perf_counter()
    exponents(PAPER)
    print(f"exponents of one block:     {time.perf_counter() - start:.3f} s")


def gram() -> None:
    from auxin.theory.gram import propagate_gram

    start = time.perf_counter()
    propagate_gram(Block(activation="relu"), 0.7 * np.eye(128) + 0.3, depth=24)
    print(f"Gram engine, n = 128, 24 layers forward and back: {time.perf_counter() - start:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=100, help="points along each axis")
    parser.add_argument("--sample", type=int, default=25, help="points of the pointwise loop that are timed")
    parser.add_argument("--skip-gram", action="store_true")
    arguments = parser.parse_args()
    exponents(PAPER)  # imports and first calls are not what is timed
    phase_diagram(PAPER, ("alpha_mlp", [0.1, 0.5, 0.9]), ("sigma_w", [1.0, 2.0]))
    diagrams(arguments.size, arguments.sample)
    layers()
    if not arguments.skip_gram:
        gram()


if __name__ == "__main__":
    main()
