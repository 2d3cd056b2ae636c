"""Tree projections by suffix passes against one masked pass a span, in one process, alternating.

Prints seconds a sentence for both at ten words and for a Dyck string of 100 tokens (d=512, 6 layers), the time
of 10,000 training sources of the question task (d=128, 4 layers), and the peak memory of ever longer strings.
The slow twin's cost is the same for every span, so long strings time a sample of spans and scale it up.

    python benchmarks/projection.py [--threads 2] [--rounds 3] [--sources 10000]
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from auxin.config import ModelConfig
from auxin.measures.projection import tree_projections
from auxin.measures.structure import measured_sentences
from auxin.models.transformer import TransformerLM
from auxin.tasks import Vocabulary, load_task
from auxin.tasks.dyck import TOKENS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from measures.slow_projection import slow_chart


def build_model(vocabulary: Vocabulary, depth: int, width: int, heads: int) -> TransformerLM:
    config = ModelConfig(
        depth=depth, width=width, heads=heads, vocabulary_size=len(vocabulary), max_length=4096
    )
    return TransformerLM(config, torch.Generator().manual_seed(0)).eval()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def dyck_string(length: int, seed: int) -> list[str]:
    """A Dyck string of exactly ``length`` tokens, types uniform, at most ten brackets open."""
    generator = np.random.default_rng(seed)
    tokens: list[str] = []
    opened: list[int] = []
    while len(tokens) < length:
        must_close = len(opened) == 10 or len(opened) == length - len(tokens)
        if opened and (must_close or generator.random() < 0.5):
            tokens.append(TOKENS[20 + opened.pop()])
        else:
            opened.append(int(generator.integers(20)))
            tokens.append(TOKENS[opened[-1]])
    return tokens


def compare(name: str, sentences: Sequence[list[str]], spans: int, rounds: int, needed: float) -> None:
    """Print the median over rounds of seconds a sentence, ours and the slow twin's, and their ratio."""
    vocabulary = Vocabulary({word for sentence in sentences for word in sentence})
    model = build_model(vocabulary, depth=6, width=512, heads=8)
    n = len(sentences[0])
    pairs = list(zip(*np.triu_indices(n), strict=True))
    sampled = pairs[:: max(1, len(pairs) // spans)]
    tokens = [vocabulary.encode(word) for word in sentences[0]]
    fast, slow = [], []
    for _ in range(rounds):
        fast.append(seconds(lambda: tree_projections(model, sentences, vocabulary)) / len(sentences))
        slow_seconds = seconds(lambda: slow_chart(model, tokens, vocabulary.bos, spans=sampled))
        slow.append(slow_seconds * len(pairs) / len(sampled))
    ours, twin = statistics.median(fast), statistics.median(slow)
    print(f"{name:28} {ours:9.4f} s  {twin:9.3f} s  {twin / ours:6.1f}x  (needed {needed:.0f}x)", flush=True)


def corpus(count: int) -> None:
    task = load_task("question")
    words = [sentence.words for sentence in measured_sentences(task, count)]
    model = build_model(task.vocabulary, depth=4, width=128, heads=4)
    projections: list = []
    charts = seconds(lambda: projections.extend(tree_projections(model, words, task.vocabulary)))
    trees = seconds(lambda: [(p.tree, p.tree_score) for p in projections])
    optimal = seconds(lambda: [p.optimal_tree for p in projections])
    print(f"{len(words)} training sources, d=128, 4 layers: charts {charts:.1f} s, greedy trees {trees:.1f} s, "
          f"optimal trees {optimal:.1f} s  (needed 60 s)", flush=True)  # fmt: skip


def peak(length: int, sender: multiprocessing.connection.Connection) -> None:
    """Send by how many MiB one string of ``length`` tokens raises the peak of a fresh process."""
    torch.set_num_threads(1)
    vocabulary = Vocabulary(TOKENS)
    model = build_model(vocabulary, depth=2, width=64, heads=4)
    tree_projections(model, [dyck_string(10, 0)], vocabulary)
    before = high_water()
    tree_projections(model, [dyck_string(length, 0)], vocabulary)
    sender.send(high_water() - before)


def high_water() -> float:
    """Most memory that this process ever had resident, in MiB (Linux)."""
    (line,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) / 1024


def memory() -> None:
    context = multiprocessing.get_context("spawn")
    for length in (200, 400, 800, 1600):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=peak, args=(length, sender))
        process.start()
        print(
            f"{length:5} tokens: peak + {receiver.recv():6.1f} MiB, its chart {length**2 / 2**18:5.1f} MiB",
            flush=True,
        )
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sources", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} threads; seconds a sentence: suffix passes, a pass a span"
    )
    generator = np.random.default_rng(0)
    words = [[f"w{i}" for i in generator.integers(70, size=10)] for _ in range(64)]
    compare("10 words, d=512, 6 layers", words, 55, options.rounds, 9)
    compare("Dyck, 100 tokens, same model", [dyck_string(100, 0)], 40, options.rounds, 60)
    corpus(options.sources)
    memory()


if __name__ == "__main__":
    main()
