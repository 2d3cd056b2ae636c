"""How often auxin.check flags a model that nobody has harmed: python benchmarks/alarms.py [--seeds 10] [--width 64].

Fresh random models of every family that the tests know; prints each false alarm, and the rate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from auxin.config import ModelConfig, preset
from auxin.models.transformer import TransformerLM
from auxin.probes.check import check

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from probes import models, shapes


def builders(depth: int, width: int) -> Iterator[tuple[str, Callable[[int], nn.Module]]]:
    """Every kind of model, as a function of the seed."""
    for kind in models.CLASSES:
        yield kind, partial(models.build, kind, depth=depth, width=width)
    for first in (False, True):
        yield (
            f"torch norm_first={first}",
            partial(models.torch_encoder, depth=depth, width=width, norm_first=first),
        )
    sizes = shapes.GPTConfig(n_layer=depth, n_embd=width)
    yield "nanoGPT", lambda seed: shapes.NanoGPT(sizes, seed)
    for scheme in ("xavier", "gpt2"):
        config = ModelConfig(vocabulary_size=50, width=width, depth=depth, norm="pre", initialization=scheme)
        yield f"auxin {scheme}", partial(_ours, config)
    for name in ("gpt2", "llama", "pythia", "qwen3"):
        config = replace(preset(name).model, vocabulary_size=50, depth=depth, width=width)
        yield f"auxin's preset {name}", partial(_ours, config)


def _ours(config: ModelConfig, seed: int) -> TransformerLM:
    return TransformerLM(config, torch.Generator().manual_seed(seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, default in (("seeds", 10), ("depth", 4), ("width", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    alarms = total = 0
    for kind, build in builders(options.depth, options.width):
        for seed in range(options.seeds):
            found = check(build(seed), n_tokens=32, seed=seed).findings
            total += 1
            alarms += bool(found)
            for finding in found:
                print(f"{kind}, seed {seed}: {finding.sentence}")
    print(f"{alarms} of {total} fresh models were flagged")


if __name__ == "__main__":
    main()
