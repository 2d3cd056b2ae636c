"""Hugging Face's models with random weights beside the prediction from their config alone: largest errors over layers.

    python benchmarks/real_models.py [--draws 24] [--width 512] [--depth 8] [FAMILY …]

Cosine (absolute), norm², squared gradient (relative), means over draws against the Gram engine on what the config says,
from the embeddings' mean Gram matrix; the gradient of the input, which scatters most, apart. Needs ``auxin[hf]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

import auxin

VOCABULARY, TOKENS, HEADS = 1000, 32, 8
SIZES: dict[str, Any] = {"vocab_size": VOCABULARY, "num_attention_heads": HEADS}


def configs(d: int, depth: int) -> dict[str, transformers.PretrainedConfig]:
    common: dict[str, Any] = SIZES | {
        "hidden_size": d,
        "num_hidden_layers": depth,
        "intermediate_size": 4 * d,
    }
    gated: dict[str, Any] = common | {"intermediate_size": 11 * d // 4, "num_key_value_heads": 2}
    per_head: dict[str, Any] = gated | {"head_dim": d // HEADS}
    quiet: dict[str, Any] = {"hidden_dropout": 0.0, "attention_dropout": 0.0}
    return {
        "GPT-2": transformers.GPT2Config(n_embd=d, n_layer=depth, n_head=HEADS, vocab_size=VOCABULARY),
        "Llama": transformers.LlamaConfig(**gated),
        "Qwen 3": transformers.Qwen3Config(**per_head),
        "GPT-NeoX": transformers.GPTNeoXConfig(**common, **quiet),
        "Gemma 2": transformers.Gemma2Config(**per_head, query_pre_attn_scalar=d // HEADS),
        "OLMo 2": transformers.Olmo2Config(**gated),
        "OPT": transformers.OPTConfig(
            hidden_size=d,
            num_hidden_layers=depth,
            ffn_dim=4 * d,
            word_embed_proj_dim=d,
            max_position_embeddings=64,
            **SIZES,
        ),
        "BERT": transformers.BertConfig(**common),
    }


def states(model: nn.Module, tokens: Tensor) -> list[Tensor]:
    """The stream before the first layer and behind every one."""
    layers = max((m for m in model.modules() if isinstance(m, nn.ModuleList)), key=len)
    seen: list[Tensor] = []

    def entering(_: nn.Module, arguments: tuple, named: dict) -> None:
        seen.append(arguments[0] if arguments else named["hidden_states"])

    def leaving(_: nn.Module, __: tuple, output: Tensor | tuple) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    layers[0].register_forward_pre_hook(entering, with_kwargs=True)
    for layer in layers:
        layer.register_forward_hook(leaving)
    model(tokens)
    return seen


def drawn(config: transformers.PretrainedConfig, draws: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gram matrices of states and gradients, [depth + 1, n, n] each, of one random network after the other."""
    generator = torch.Generator().manual_seed(0)
    for seed in range(draws):
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
            model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
        # not the first few words: some families' padding, whose embedding is zero, is among them
        x = states(model, 4 + torch.randperm(VOCABULARY - 4, generator=generator)[None, :TOKENS])
        probe = torch.randn(x[-1].shape, generator=generator)
        found = torch.autograd.grad(x[-1], x, probe)
        stacks = (torch.stack([t.detach()[0] for t in tensors]).double() for tensors in (x, found))
        gram, gradient = ((stack @ stack.mT / stack.shape[-1]).numpy() for stack in stacks)
        yield gram, gradient


def summary(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean norm² and cosine of every layer."""
    norm = np.diagonal(gram, axis1=1, axis2=2)
    root, n = np.sqrt(norm), gram.shape[1]
    cosines = gram / (root[:, :, None] * root[:, None, :])
    return norm.mean(1), (cosines.sum((1, 2)) - n) / (n * (n - 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {arguments}")
    print("family      cosine   norm²   gradient   at the input   seconds")
    for name, config in configs(arguments.width, arguments.depth).items():
        if arguments.families and name not in arguments.families:
            continue
        start = time.perf_counter()
        gram, gradient = (np.mean(each, 0) for each in zip(*drawn(config, arguments.draws), strict=True))
        causal = name != "BERT"
        found = auxin.propagate_gram(auxin.network_of(config), gram[0], causal=causal, draws=1024)
        (norm, cosine), (norm2, cosine2) = summary(gram), summary(found["gram"])
        slopes, slopes2 = summary(gradient)[0], summary(found["gradient_gram"])[0]
        ratio = (slopes2 / slopes2[-1]) / (slopes / slopes[-1]) - 1
        print(
            f"{name:10} {np.abs(cosine - cosine2).max():7.3f} {np.abs(norm2 / norm - 1).max():7.1%} "
            f"{np.abs(ratio[1:]).max():9.1%} {ratio[0]:+13.1%} {time.perf_counter() - start:10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
