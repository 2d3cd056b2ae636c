"""Slips of initialization planted in models that no table knows, or with latents: how many auxin.check names first.

    python benchmarks/slips.py [--seed 0] [MODEL …]

Writes docs/tables/slips.csv, a row a model and slip: the module that is to be named, and the first finding. Models that
it has are kept, unless they are given.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from auxin.families.table import BY_TYPE
from auxin.probes.check import check
from auxin.probes.inputs import vocabulary_of
from auxin.probes.residual import is_norm
from small_models import of_transformers

TABLE = Path(__file__).resolve().parents[1] / "docs" / "tables" / "slips.csv"
MODELS = {
    "MptForCausalLM": "transformer.blocks",
    "CodeGenForCausalLM": "transformer.h",
    "XGLMForCausalLM": "model.layers",
    "BioGptForCausalLM": "biogpt.layers",
    "ApertusForCausalLM": "model.layers",
    "NemotronForCausalLM": "model.layers",
    "DeepseekV2ForCausalLM": "model.layers",
    "DeepseekV3ForCausalLM": "model.layers",
    "GptOssForCausalLM": "model.layers",
    "Glm4MoeForCausalLM": "model.layers",
    "PhimoeForCausalLM": "model.layers",
    "BitNetForCausalLM": "model.layers",
    "DiffLlamaForCausalLM": "model.layers",
    "Dots1ForCausalLM": "model.layers",
    "EuroBertForMaskedLM": "model.layers",
    "MPNetForMaskedLM": "mpnet.encoder.layer",
    "EsmForMaskedLM": "esm.encoder.layer",
    "T5ForConditionalGeneration": "decoder.block",
    "WhisperForConditionalGeneration": "model.decoder.layers",
    "Wav2Vec2Model": "encoder.layers",
    "VideoMAEModel": "encoder.layer",
}
"""Classes of transformers, and their layers."""
LATENT = ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM")
"""Of known families, whose keys and values are latent."""
OUT = r"(o_proj|out_proj|attn\.o|SelfAttention\.o|attention\.output\.dense|dense_out|attention\.dense)$"
QUERY = r"(q_proj|q_a_proj|\bq|qkv_proj|Wqkv|query)$"
UP = r"(up_proj|fc1|fc_in|wi|intermediate\.dense|intermediate_dense)$"
DOWN = r"(down_proj|fc2|fc_out|wo|(?<!attention\.)output\.dense|output_dense)$"
ROUTER = r"(router|mlp\.gate)$"


class Absent(Exception):
    """The model has nothing that the slip could be planted in."""


class Planted:
    """A model, and where it has what slips are planted in."""

    def __init__(self, model: nn.Module, container: str) -> None:
        self.model = model
        self.layers = {f"{container}.{n}": m for n, m in model.get_submodule(container).named_children()}

    def maps(self, pattern: str, bias: bool = False) -> list[tuple[str, Tensor]]:
        """A matrix, or a bias, by the name of its module, in every layer that has it."""
        found = []
        for layer, module in self.layers.items():
            for name, inner in module.named_modules():
                weight = getattr(inner, "bias" if bias else "weight", None)
                if re.search(pattern, name) and isinstance(weight, Tensor) and not is_norm(inner):
                    found.append((f"{layer}.{name}", weight))
                    break
        if not found:
            raise Absent
        return found

    def one(self, pattern: str) -> tuple[str, Tensor]:
        """That of the last layer but one that has it."""
        return self.maps(pattern)[-2]

    def norms(self) -> list[tuple[str, str, nn.Module]]:
        """A norm of each layer, directly or one step below it, with the module that has it."""
        found = []
        for layer, module in self.layers.items():
            for name, inner in module.named_modules():
                gain = getattr(inner, "weight", None)
                if is_norm(inner) and isinstance(gain, Tensor) and name.count(".") <= 2:
                    found.append((layer, name, inner))
                    break
        return found

    @property
    def head(self) -> nn.Module:
        """The map to the vocabulary, where there is one."""
        get = getattr(self.model, "get_output_embeddings", None)
        found = get() if get else None
        if found is None:
            raise Absent
        return found

    def name(self, module: nn.Module) -> str:
        """A module's."""
        return next(name for name, m in self.model.named_modules() if m is module)


def _times(pattern: str, factor: Callable[[int], float], *, all_layers: bool) -> Callable[[Planted], str]:
    def plant(p: Planted) -> str:
        chosen = p.maps(pattern) if all_layers else [p.one(pattern)]
        for _, weight in chosen:
            weight.mul_(factor(len(p.layers)))
        return chosen[0][0]

    return plant


def _set(
    pattern: str, change: Callable[[Tensor], Any], *, all_layers: bool = False
) -> Callable[[Planted], str]:
    def plant(p: Planted) -> str:
        chosen = p.maps(pattern) if all_layers else [p.one(pattern)]
        for _, weight in chosen:
            change(weight)
        return chosen[0][0]

    return plant


def _embeddings(p: Planted) -> str:
    table = vocabulary_of(p.model)
    if table is None or float(table.weight.square().mean()) > 0.5:
        raise Absent
    table.weight.normal_()
    return p.name(table)


def _positions(p: Planted) -> str:
    for name, parameter in p.model.named_parameters():
        if "pos" in name and "bias" not in name and "conv" not in name and parameter.ndim >= 2:
            parameter.mul_(50)
            return name.removesuffix(".weight")
    raise Absent


def _copied(p: Planted) -> str:
    (_, first), (name, second) = list(p.layers.items())[1:3]
    second.load_state_dict(first.state_dict())
    return name


def _biases(p: Planted) -> str:
    chosen = p.maps(UP, bias=True)
    for _, bias in chosen:
        bias.normal_()
    return chosen[0][0]


def _skipped(module: nn.Module, instead: Callable[..., Any]) -> None:
    """The module stands there, and what runs in its place is something else."""
    module.__class__ = type(type(module).__name__, (type(module),), {"__call__": instead})


def _skipped_norm(p: Planted) -> str:
    layer, name, norm = p.norms()[1]
    _skipped(norm, lambda self, x, *_, **__: x)
    return f"{layer}.{name}"


def _missing_norm(p: Planted) -> str:
    layer, name, _ = p.norms()[1]
    parent, _, last = name.rpartition(".")
    setattr(p.model.get_submodule(f"{layer}.{parent}".removesuffix(".")), last, nn.Identity())
    return f"{layer}.{name}"


def _gain(p: Planted) -> str:
    layer, name, norm = p.norms()[1]
    norm.weight.fill_(0.1)  # pyright: ignore[reportCallIssue]
    return f"{layer}.{name}"


def _unused(p: Planted) -> str:
    name, weight = p.one(OUT)
    other = weight.detach().clone()
    _skipped(p.model.get_submodule(name), lambda self, x: nn.functional.linear(x, other))
    return name


def _tie(p: Planted) -> str:
    """Broken where there is one, made where there is none."""
    table, head = vocabulary_of(p.model), p.head
    if table is None or getattr(head, "weight", torch.empty(0)).shape != table.weight.shape:
        raise Absent
    same = head.weight is table.weight
    head.weight = (
        nn.Parameter(table.weight.detach().clone().normal_(0, float(table.weight.std())))
        if same
        else table.weight
    )
    return p.name(head)


def _head(p: Planted) -> str:
    table, head = vocabulary_of(p.model), p.head
    if table is not None and head.weight is table.weight:
        raise Absent
    head.weight.mul_(10)  # pyright: ignore[reportCallIssue]
    return p.name(head)


def _value_of_keys(p: Planted) -> str:
    """Values that are the keys' matrix."""
    keys, values = p.maps(r"(k_proj|key|\bk)$")[1], p.maps(r"(v_proj|value|\bv)$")[1]
    values[1].copy_(keys[1])
    return values[0]


def _buffer(p: Planted) -> str:
    for name, buffer in p.model.named_buffers():
        if buffer.is_floating_point() and buffer.ndim and "original" not in name and bool(buffer.any()):
            buffer.mul_(2)
            return name.rpartition(".")[0]
    raise Absent


def _uniform(weight: Tensor) -> None:
    weight.uniform_(-1, 1).mul_(0.02 * math.sqrt(3))


SLIPS: dict[str, Callable[[Planted], str]] = {
    "output maps × 3.5 in all layers": _times(OUT, lambda _: 3.5, all_layers=True),
    "output maps / √(2·layers) in all": _times(OUT, lambda n: (2 * n) ** -0.5, all_layers=True),
    "embeddings of std 1": _embeddings,
    "router × 20": _times(ROUTER, lambda _: 20, all_layers=True),
    "1/√fan_out for fan_in": _set(UP, lambda w: w.normal_(0, w.shape[0] ** -0.5), all_layers=True),
    "positions × 50": _positions,
    "a layer copied to the next": _copied,
    "biases N(0, 1)": _biases,
    "never set: NaN": _set(DOWN, lambda w: w.fill_(math.nan)),
    "never set: tiny numbers": _set(DOWN, lambda w: w.fill_(1e-30)),
    "never set: zeros": _set(DOWN, lambda w: w.zero_()),
    "a norm never called": _skipped_norm,
    "a norm missing": _missing_norm,
    "a module never used": _unused,
    "a tie broken or made": _tie,
    "head × 10": _head,
    "one layer × 2": _times(UP, lambda _: 2, all_layers=False),
    "queries × 3": _times(QUERY, lambda _: 3, all_layers=True),
    "one gain .1": _gain,
    "torch's default in one layer": _set(UP, lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5))),
    "values that copy keys": _value_of_keys,
    "a buffer × 2": _buffer,
}


def rows(model: str, seed: int) -> Iterator[dict[str, Any]]:
    """Each slip in a fresh model: the module to be named, and the first finding."""
    for slip, plant in SLIPS.items():
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            fresh = of_transformers(model)
            try:
                name = plant(Planted(fresh, MODELS[model]))
            except Absent:
                continue
        findings = check(fresh, n_tokens=16, layers=MODELS[model], seed=seed).findings
        first = findings[0] if findings else None
        named = None if first is None else first.module
        sentence = None if first is None else first.sentence
        yield {
            "model": model,
            "slip": slip,
            "planted": name,
            "first": named,
            "named": named == name,
            "finding": sentence,
        }


def main() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    options = parser.parse_args()
    kinds = {model: getattr(transformers, model).config_class.model_type for model in MODELS}
    chosen = [model for model, kind in kinds.items() if kind not in BY_TYPE or model in LATENT]
    kept = pl.read_csv(TABLE).filter(pl.col("model").is_in(chosen)).to_dicts() if TABLE.exists() else []
    found: list[dict[str, Any]] = [row for row in kept if row["model"] not in options.models]
    for model in chosen:
        if not any(row["model"] == model for row in found):
            found += rows(model, options.seed)
    table = pl.DataFrame(found)
    table.write_csv(TABLE)
    for row in table.filter(~pl.col("named")).to_dicts():
        print(row)
    print(f"{table['named'].sum()} of {len(table)} named first")


if __name__ == "__main__":
    main()
