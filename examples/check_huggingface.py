"""Check a model of transformers before training it: python examples/check_huggingface.py [config.json].

Without a file, a GPT-2 of 6 layers whose MLPs were drawn again by somebody who forgot the depth scaling.
"""

from __future__ import annotations

import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config

import auxin


def main(path: str | None = None) -> int:
    torch.manual_seed(0)
    config = (
        AutoConfig.from_pretrained(path)
        if path
        else GPT2Config(n_layer=6, n_embd=128, n_head=4, vocab_size=500)
    )
    model = AutoModelForCausalLM.from_config(config)
    if path is None:
        for block in model.transformer.h:
            torch.nn.init.normal_(block.mlp.c_proj.weight, std=config.initializer_range)
    report = auxin.check(model)
    print(report)
    report.to_html("check.html")
    return 0 if report.ok else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
