"""Seconds and memory of auxin.check on a large Llama, and their ratio to a plain pass forward and back of its tokens.

    python benchmarks/large_model.py [--width 2048] [--layers 16] [--vocabulary 32000] [--profile]

Processor seconds, of all threads; memory is the process's peak. With ``--profile``, the functions that take most.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import re
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from auxin.probes.check import check

BATCH, TOKENS = 2, 64
"""Those that check measures by default."""


def built(width: int, layers: int, vocabulary: int) -> LlamaForCausalLM:
    """A Llama in the proportions of Llama 3.2 1B."""
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 256,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def peak() -> float:
    """GB that the process has held at most (Linux)."""
    found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return float(found[1]) * 1024 / 1e9 if found else float("nan")


def plain(model: LlamaForCausalLM) -> float:
    """Seconds of a pass forward and back."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(model.config.vocab_size, (BATCH, TOKENS), generator=generator)
    start = time.process_time()
    loss = model(input_ids=tokens, labels=tokens).loss
    assert loss is not None
    loss.backward()
    taken = time.process_time() - start
    model.zero_grad(set_to_none=True)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("width", 2048), ("layers", 16), ("vocabulary", 32_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    model = built(options.width, options.layers, options.vocabulary)
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, {torch.get_num_threads()} threads, {peak():.2f} GB before the check")
    profile = cProfile.Profile(time.process_time)
    start, wall = time.process_time(), time.perf_counter()
    if options.profile:
        profile.enable()
    report = check(model)
    text = str(report)
    profile.disable()
    taken, wall = time.process_time() - start, time.perf_counter() - wall
    print(text)
    print(f"check: {taken:.1f} s of processor time, {wall:.1f} s, {peak():.2f} GB at most")
    whole = plain(model)
    print(
        f"a pass forward and back: {whole:.1f} s of processor time; check takes {taken / whole:.1f} of them"
    )
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(r"auxin|method|built-in", 70)


if __name__ == "__main__":
    main()
