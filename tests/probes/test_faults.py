"""Models and inputs of everyday kinds: the right numbers, or one line that names what is in the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import auxin
from auxin.cli import main
from auxin.errors import ConfigError
from auxin.probes.check import check
from auxin.probes.inputs import Reading
from auxin.probes.observe import observe
from auxin.probes.states import NotFinite
from probes import models, shapes

D, V = shapes.D, shapes.V


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Layers that are built here are drawn the same every time."""
    torch.manual_seed(0)


def encoder(depth: int = 2, **more: object) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(D, 4, 64, batch_first=True, **more)  # pyright: ignore[reportArgumentType]
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# logits


class Headed(shapes.MinGPT):
    """What is done to logits after the head belongs to them."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.change = change
        self.dense = nn.Linear(D, 4 * V)  # a head's own first map may be wider than the vocabulary
        nn.init.normal_(self.head.weight, std=1.0)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.ln_f(self.blocks(self.tok_emb(idx)))
        logits = self.head(x + 0 * self.dense(x)[..., :D])
        if self.change == "cap":
            return 5 * torch.tanh(logits / 5)
        if self.change == "pad":
            return logits.index_fill(-1, torch.arange(10), -torch.inf)
        return logits / 8


@pytest.mark.parametrize("change", ["cap", "scale", "pad"])
def test_the_loss_is_that_of_the_models_own_logits(change: str) -> None:
    model = Headed(change).eval()
    tokens = torch.randint(V, (2, 9), generator=torch.Generator().manual_seed(1))
    seen = observe(model, Reading(tokens))
    logits = model(tokens).detach()[..., 10 if change == "pad" else 0 :]
    assert seen.logit_std == pytest.approx(logits.var(-1, correction=0).mean().sqrt().item(), rel=1e-4)
    assert seen.excess_loss == pytest.approx(
        -logits.log_softmax(-1).mean().item() - np.log(logits.shape[-1]), rel=1e-3
    )
    assert (seen.vocabulary, seen.output_map) == (logits.shape[-1], "head")


def test_a_head_with_a_map_of_its_own_and_a_pooler_are_told_from_logits() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**models.settings("bert", width=64, vocab_size=40))
    seen = observe(transformers.BertForMaskedLM(config), Reading(n_tokens=8))
    assert seen.vocabulary == 40
    assert observe(transformers.BertModel(config), Reading(n_tokens=8)).vocabulary is None  # a pooler
    assert observe(encoder()).vocabulary is None


@pytest.mark.parametrize("kind", ["granite", "cohere"])
def test_logit_scales_of_families_are_in_the_loss(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    own = {"granite": {"logits_scaling": 8.0}, "cohere": {"logit_scale": 0.125}}[kind]
    config = transformers.AutoConfig.for_model(kind, **models.settings("llama", width=64), **own)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    tokens = torch.randint(1, 200, (2, 8), generator=torch.Generator().manual_seed(1))
    logits = model(tokens).logits.detach()
    assert observe(model, Reading(tokens)).logit_std == pytest.approx(logits.std(-1).mean().item(), rel=0.05)


# tokens


def test_token_ids_are_those_that_the_table_reads() -> None:
    model = models.build("bert", depth=2, width=64)
    ids = torch.randint(3, 200, (2, 12), generator=torch.Generator().manual_seed(1))
    ids[:, ::2] = 7
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    usual = observe(model, Reading({"input_ids": ids, "attention_mask": mask}))
    assert usual.equal is not None
    assert usual.equal[0, 0, 2]
    for inputs in (
        {"attention_mask": mask, "input_ids": ids},
        {"token_type_ids": types, "input_ids": ids, "attention_mask": mask},
        {"input_ids": ids.tolist(), "attention_mask": mask.numpy()},
        (ids.numpy(), mask),
        ids.tolist(),
    ):
        np.testing.assert_array_equal(observe(model, Reading(inputs)).cosine, usual.cosine)
    embedded = {"inputs_embeds": vectors(2, 12, 64), "token_type_ids": types, "attention_mask": mask}
    seen = observe(model, Reading(embedded))
    assert seen.equal is None
    assert np.isfinite(seen.cosine).all()


def test_whole_numbers_that_are_no_tokens_are_let_through() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.DecisionTransformerConfig(
        state_dim=7, act_dim=3, hidden_size=32, n_layer=2, n_head=4, max_ep_len=100
    )
    one = vectors(2, 6, 1)
    inputs = {
        "states": vectors(2, 6, 7), "actions": vectors(2, 6, 3), "rewards": one, "returns_to_go": one,
        "timesteps": torch.arange(6).repeat(2, 1), "attention_mask": torch.ones(2, 6),
    }  # fmt: skip
    assert observe(transformers.DecisionTransformerModel(config), Reading(inputs)).grams.shape[-1] == 18


def test_padding_is_left_out_of_torchs_own_encoder() -> None:
    x, padding = vectors(2, 9, D), torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 6:] = True
    nested = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 4, 64, batch_first=True), 2)
    seen = observe(nested, Reading({"src": x, "src_key_padding_mask": padding}))
    assert seen.kept.sum() == 15
    nested.eval()
    y = nested.layers[0](x, src_key_padding_mask=padding)[~padding].detach()
    assert seen.norm[1] == pytest.approx(y.square().mean().item(), rel=1e-5)


def test_an_encoder_and_its_decoder_are_both_run_on_made_up_inputs() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 64, "d_kv": 8, "vocab_size": 50}
    t5 = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes))
    decoder = observe(t5, Reading(layers="decoder.block", n_tokens=8))
    assert [b.kind for b in decoder.branches] == ["attention", "cross", "mlp"] * 2
    assert decoder.causal
    assert not observe(t5, Reading(layers="encoder.block", n_tokens=8)).causal
    both = observe(
        nn.Transformer(D, 4, 2, 2, 64, batch_first=True), Reading(layers="decoder.layers", n_tokens=8)
    )
    assert [b.kind for b in both.branches] == ["attention", "cross", "mlp"] * 2


# attention


@pytest.mark.parametrize("n", [8, 11])  # 8: as many as a head has dimensions, and as there are tokens
def test_cross_attention_is_neither_attention_nor_an_mlp(n: int) -> None:
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(D, 4, 64, batch_first=True), 2).eval()
    x, memory = vectors(2, 8, D), vectors(2, n, D, seed=1)
    report = auxin.check(model, (x, memory))
    seen = report.observation
    assert seen is not None
    assert [b.kind for b in seen.branches] == ["attention", "cross", "mlp"] * 2
    layer = model.layers[0]
    shares = [b.share for b in seen.branches[:2]]
    added = layer.self_attn(x, x, x)[0]
    assert shares[0] == pytest.approx((added.square().mean() / (x + added).square().mean()).item(), rel=1e-4)
    assert report.layers["attention_share"][1] == shares[0]
    assert report.layers["cross_share"][1] == shares[1]
    assert "cross" in report.summary()


class Routed(nn.Module):
    """A mixture of experts whose router takes a softmax over as many experts as there are tokens."""

    def __init__(self, experts: int, einsum: bool) -> None:
        super().__init__()
        self.router = nn.Parameter(torch.randn(D, experts))
        self.experts = nn.Parameter(torch.randn(experts, D, D) / D)
        self.einsum = einsum

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.einsum("bnd,de->bne", x, self.router) if self.einsum else x @ self.router
        return torch.einsum("bne,bnd,edf->bnf", logits.softmax(-1), x, self.experts)


class Mixture(shapes.MinGPT):
    def __init__(self, experts: int, einsum: bool) -> None:
        super().__init__()
        for block in self.blocks:
            block.mlp = Routed(experts, einsum)


@pytest.mark.parametrize("einsum", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_router_is_no_attention(einsum: bool, batch: int) -> None:
    seen = observe(Mixture(8, einsum), Reading(n_tokens=8, batch=batch))
    assert [b.kind for b in seen.branches] == ["attention", "mlp"] * 3
    assert seen.causal


# the stream


class Pair(nn.Module):
    """As in flash-attn, mamba_ssm and vLLM: a layer returns its last branch and the residual, to be added later."""

    def __init__(self) -> None:
        super().__init__()
        config = shapes.GPTConfig()
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.attn, self.mlp = shapes.CausalSelfAttention(config), shapes.Mlp(config)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        residual = x if residual is None else x + residual
        x = self.attn(self.norm1(residual))
        residual = x + residual
        return self.mlp(self.norm2(residual)), residual


class Fused(nn.LayerNorm):
    def forward(self, input: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(input + residual), input + residual


class FusedPair(Pair):
    """The same where norms add the residual themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = Fused(D), Fused(D)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, residual = self.norm1(x, torch.zeros_like(x) if residual is None else residual)
        x, residual = self.norm2(self.attn(x), residual)
        return self.mlp(x), residual


class Paired(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.layers = nn.ModuleList(kind() for _ in range(3))
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, V)

    def forward(self, idx: Tensor) -> Tensor:
        x, residual = self.embed(idx), None
        for layer in self.layers:
            x, residual = layer(x, residual)
        return self.head(self.norm(x + residual))


@pytest.mark.parametrize("kind", [Pair, FusedPair])
def test_a_pair_of_branch_and_residual_is_added_up(kind: type[nn.Module]) -> None:
    plain = shapes.MinGPT()
    model = Paired(kind)
    with torch.no_grad():
        for ours, theirs in zip(model.layers, plain.blocks, strict=True):
            for a, b in (("norm1", "ln_1"), ("norm2", "ln_2"), ("attn", "attn"), ("mlp", "mlp")):
                ours.get_submodule(a).load_state_dict(theirs.get_submodule(b).state_dict())
        model.embed.weight.copy_(plain.tok_emb.weight)
    tokens = torch.randint(V, (2, 9), generator=torch.Generator().manual_seed(1))
    expected, seen = observe(plain, Reading(tokens)), observe(model, Reading(tokens))
    assert seen.closed
    np.testing.assert_allclose(seen.norm, expected.norm, rtol=1e-4)
    np.testing.assert_allclose(seen.gradient, expected.gradient, rtol=1e-3)
    np.testing.assert_allclose(seen["gap"], expected["gap"], rtol=0.02)
    if kind is Pair:
        assert [b.share for b in seen.branches] == pytest.approx(
            [b.share for b in expected.branches], rel=1e-3
        )


class Streams(nn.Module):
    """Hyper-connections: a layer reads a mixture of several streams, and writes to all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(V, D), nn.LayerNorm(D)
        self.layers = nn.ModuleList(shapes.Block(shapes.GPTConfig()) for _ in range(3))
        self.mix = nn.Parameter(torch.randn(3, 2))

    def forward(self, idx: Tensor) -> Tensor:
        x = self.embed(idx)
        streams = torch.stack([x, x])
        for layer, mix in zip(self.layers, self.mix, strict=True):
            read = torch.einsum("s,sbnd->bnd", mix, streams)
            streams = streams + (layer(read) - read)
        return self.norm(streams.sum(0))


class Gated(shapes.MinGPT):
    """A gate of every token mixes the stream with the branch: no sum with one skip and one strength."""

    class Block(shapes.Block):
        def forward(self, x: Tensor) -> Tensor:
            gate = torch.sigmoid(x)
            x = gate * x + (1 - gate) * self.attn(self.ln_1(x))
            return gate * x + (1 - gate) * self.mlp(self.ln_2(x))

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[self.Block(shapes.GPTConfig()) for _ in range(3)])


@pytest.mark.parametrize("kind", [Streams, Gated])
def test_there_is_no_verdict_where_the_stream_is_not_accounted_for(kind: type[nn.Module]) -> None:
    report = auxin.check(kind())
    assert report.observation is not None
    assert not report.observation.closed
    assert report.predicted is None
    assert "No verdict" in report.summary()
    assert not report.findings


def test_a_subclass_with_a_forward_of_its_own_is_of_no_family() -> None:
    class Pre(nn.TransformerEncoderLayer):
        def forward(self, src: Tensor, *args: object, **kwargs: object) -> Tensor:
            x = src + self._sa_block(self.norm1(src), None, None)
            return x + self._ff_block(self.norm2(x))

    class Scaled(nn.TransformerEncoderLayer):
        def _ff_block(self, x: Tensor) -> Tensor:
            return 3 * super()._ff_block(x)

    for kind in (Pre, Scaled):
        found = check(nn.TransformerEncoder(kind(D, 4, 64, batch_first=True), 3, enable_nested_tensor=False))
        assert "recognized" in found.notes[0]
        assert found.intended is not None
        (first, second) = found.intended.layers[0].sublayers
        assert (first.before is not None) == (kind is Pre)
        assert second.branch == pytest.approx(1 if kind is Pre else 3)
        assert not found.findings
    transformers = pytest.importorskip("transformers")

    class Doubled(transformers.models.llama.modeling_llama.LlamaDecoderLayer):
        def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> object:
            return hidden_states + super().forward(hidden_states, *args, **kwargs)

    model = models.build("llama", depth=2, width=64)
    for i in range(2):
        model.model.layers[i] = Doubled(model.config, i)  # pyright: ignore
    assert check(model).predicted is None


def test_tokens_that_are_one_from_the_beginning_are_flagged() -> None:
    model = shapes.MinGPT()
    with torch.no_grad():
        model.tok_emb.weight.mul_(0.02).add_(vectors(D))
    (finding,) = [f for f in check(model).findings if f.kind == "collapse"]
    assert "before the first layer" in finding.sentence


def test_the_gradient_is_a_mean_over_random_combinations_with_its_error() -> None:
    model = shapes.MinGPT()
    tokens = torch.randint(V, (2, 9), generator=torch.Generator().manual_seed(1))
    found = [observe(model, Reading(tokens, seed=s)) for s in range(12)]
    scatter = np.std([seen.gradient[0] for seen in found], ddof=1)
    assert np.mean([seen.errors["gradient"][0] for seen in found]) == pytest.approx(scatter, rel=0.5)
    report = auxin.check(model, tokens)
    assert report.layers["gradient_error"][0] > 0
    assert "gradient at the input: ±" in report.summary()


# what is not finite


class Overflowing(shapes.MinGPT):
    class Block(shapes.Block):
        factor = 1.0

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.attn(self.ln_1(x))
            return x + self.factor * self.mlp(self.ln_2(x))

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[self.Block(shapes.GPTConfig()) for _ in range(3)])
        self.register_buffer("mask", torch.full((2, 2), -torch.inf))  # as many models keep one


def test_the_first_module_that_is_not_finite_is_named() -> None:
    model = Overflowing()
    assert not check(model).findings
    model.blocks[1].factor = 1e6
    (finding,) = check(model.half()).findings
    assert finding.module == "blocks.1"
    assert "overflows float16" in finding.sentence
    with pytest.raises(NotFinite, match=r"blocks\.1 is the first module to give"):
        observe(model)
    model = models.build("llama", depth=2, width=64)
    model.model.rotary_emb.inv_freq.fill_(torch.nan)  # pyright: ignore
    (finding,) = check(model).findings
    assert finding.module == "model.rotary_emb"
    assert "model.rotary_emb.inv_freq, a buffer" in finding.sentence
    model = Overflowing()
    model.head.register_forward_hook(lambda module, args, output: output / 0)
    (finding,) = check(model).findings
    assert finding.module == "head"


# what cannot be read or run


class Undifferentiable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)


class ListsOfParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.up = nn.ModuleList(nn.Linear(D, 4 * D) for _ in range(3))
        self.down = nn.ModuleList(nn.Linear(4 * D, D) for _ in range(3))

    def forward(self, idx: Tensor) -> Tensor:
        x = self.embed(idx)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(F.relu(up(x)))
        return x


def unread(change: str) -> nn.Module:
    model = encoder()
    if change == "meta":
        return encoder(device="meta")
    if change == "meta buffer":
        model.register_buffer("table", torch.empty(2, device="meta"))
    elif change == "lazy":
        model.head = nn.LazyLinear(3)
    elif change == "float8":
        model.scale = nn.Parameter(torch.ones(3).to(torch.float8_e4m3fn), requires_grad=False)
    elif change == "whole":
        model.packed = nn.Parameter(torch.ones(3, 3, dtype=torch.uint8), requires_grad=False)
    elif change == "scripted":
        return torch.jit.script(model)
    elif change == "scripted layer":
        model.layers[1] = torch.jit.script(model.layers[1])
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("meta", "parameter layers.0.self_attn.in_proj_weight is on device 'meta'"),
        ("meta buffer", "buffer table is on device 'meta'"),
        ("lazy", "parameter head.weight has no shape yet"),
        ("float8", "parameter scale is torch.float8_e4m3fn; allowed: torch.float32"),
        ("whole", "parameter packed is torch.uint8; allowed: torch.float32"),
        ("scripted", "is scripted"),
        ("scripted layer", "layers.1 is scripted"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_weights_that_cannot_be_read_are_named(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        auxin.check(unread(change), vectors(2, 8, D))


def test_what_cannot_be_measured_is_refused_in_one_line() -> None:
    for model, inputs, said in (
        (Undifferentiable(), vectors(2, 8, D), "no gradient passes from the last layer to the first"),
        (encoder(), torch.zeros(0, 8, D), r"inputs is \(0, 8, 32\); allowed: one token or more"),
        (encoder(), torch.full((2, 8, D), torch.nan), "not finite"),
        (encoder(), [[1.0, 2.0], [3.0]], "lists of unlike lengths"),
        (ListsOfParts(), None, r"stand in lists side by side \(up, down\)"),
        (shapes.MinGPT(), torch.ones(2, 8, dtype=torch.int64), "different tokens of a sequence is 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            auxin.check(model, inputs)
    with pytest.raises(ConfigError, match="activation_function"):
        auxin.check(
            {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "activation_function": ["gelu"]}
        )


class DictOfDicts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(V, D), nn.LayerNorm(D)
        parts = lambda: {"norm": nn.LayerNorm(D), "attn": shapes.CausalSelfAttention(shapes.GPTConfig())}
        self.layers = nn.ModuleDict({f"layer_{i}": nn.ModuleDict(parts()) for i in range(3)})
        self.adapters = nn.ModuleList([None, nn.Linear(D, D), None])  # pyright: ignore[reportArgumentType]

    def forward(self, idx: Tensor) -> Tensor:
        x = self.embed(idx)
        for layer in self.layers.values():
            x = x + layer["attn"](layer["norm"](x))  # pyright: ignore[reportIndexIssue]
        return self.norm(x)


class Add(nn.Module):
    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return x + residual


class ListsWithSums(nn.Module):
    """As x-transformers': a layer is a list of norms, some of them None, a branch, and a module that adds."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(V, D), nn.LayerNorm(D)
        self.layers = nn.ModuleList()
        for i in range(4):
            branch = (shapes.Mlp if i % 2 else shapes.CausalSelfAttention)(shapes.GPTConfig())
            norms = nn.ModuleList([nn.LayerNorm(D), None])  # pyright: ignore[reportArgumentType]
            self.layers.append(nn.ModuleList([norms, branch, Add()]))

    def forward(self, idx: Tensor) -> Tensor:
        x = self.embed(idx)
        for norms, branch, add in self.layers:  # pyright: ignore[reportGeneralTypeIssues]
            x = add(branch(norms[0](x)), x)
        return self.norm(x)


class Repeated(nn.Module):
    def __init__(self, times: int) -> None:
        super().__init__()
        self.layers, self.times = encoder().layers, times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            for layer in self.layers:
                x = layer(x)
        return x


def test_shapes_of_models_that_are_measured() -> None:
    seen = observe(DictOfDicts())
    assert [b.module for b in seen.branches] == [f"layers.layer_{i}.attn" for i in range(3)]
    seen = observe(ListsWithSums())
    assert seen.closed
    assert [(b.kind, b.module) for b in seen.branches[:2]] == [
        ("attention", "layers.0.1"),
        ("mlp", "layers.1.1"),
    ]
    assert auxin.check(Repeated(3), n_tokens=8).depth == 6
    gated = encoder(2, norm_first=True)
    with torch.no_grad():
        for layer in gated.layers:
            for last in (layer.self_attn.out_proj, layer.linear2):
                last.weight.zero_()
                last.bias.zero_()
    seen = observe(gated, Reading(vectors(2, 9, D)))  # zero gates: no token depends on another
    assert seen.kept.shape == (2, 9)
    shared = encoder(4)
    shared.layers[2], shared.layers[3] = shared.layers[0], shared.layers[1]
    assert auxin.check(shared, n_tokens=8).depth == 4


# wrappers


class Wrapper(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner, self.loss = model, nn.CrossEntropyLoss()

    def forward(self, ids: Tensor) -> Tensor:
        return self.inner(ids).logits


class LightningModule(nn.Module):
    """As Lightning's, whose forward its user need not write."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.net = model

    def forward(self, *args: object) -> None:
        raise NotImplementedError


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, where its compiler is imported
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, Wrapper, LightningModule])
def test_a_family_is_known_through_its_wrapper(wrap: type[nn.Module]) -> None:
    model = models.build("gpt2", depth=2, width=64)
    plain, report = auxin.check(model, n_tokens=8), auxin.check(wrap(model), n_tokens=8)
    for name in ("norm", "predicted_norm"):
        np.testing.assert_allclose(report.layers[name], plain.layers[name], rtol=1e-6)
    assert report.ok


# what is left


def test_nothing_is_left_changed() -> None:
    x = vectors(2, 8, D)

    class Latent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder()
            self.register_buffer("latents", vectors(2, 8, D))
            self.frozen = nn.Parameter(vectors(2, 8, D), requires_grad=False)
            self.kind = "latents"

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(getattr(self, self.kind))

    model = Latent()
    for model.kind in ("latents", "frozen"):
        auxin.check(model, x)
    auxin.check(encoder(), x)
    assert not x.requires_grad
    assert not model.latents.requires_grad
    assert not model.frozen.requires_grad
    spectral = encoder().train()
    for layer in spectral.layers:
        nn.utils.parametrizations.spectral_norm(layer.linear1)
    before = {name: value.clone() for name, value in spectral.state_dict().items()}
    auxin.check(spectral, n_tokens=8)
    assert all(torch.equal(value, before[name]) for name, value in spectral.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_interrupt_leaves_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder().train()
    needing = [p.requires_grad for p in model.parameters()]
    last = list(model.modules())[-1]

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    for name in ("register_forward_hook", "register_forward_pre_hook"):
        with monkeypatch.context() as patched:
            patched.setattr(last, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                auxin.check(model, n_tokens=8)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert all(m.training for m in model.modules())
        assert needing == [p.requires_grad for p in model.parameters()]


# from a shell


def test_a_file_runs_as_python_would_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(tmp_path)
    (project / "neighbour_parts.py").write_text(
        "from torch import nn\ndef block(): return nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)\n"
    )
    (project / "with_neighbour.py").write_text(
        "from torch import nn\ndef build():\n    from neighbour_parts import block\n"
        "    return nn.TransformerEncoder(block(), 2)\n"
    )
    assert main(["check", "project/with_neighbour.py:build", "--n-tokens", "8"]) == 0
    for text, said in (
        ("import sys; sys.exit(0)", "SystemExit(0)"),
        ("raise SystemExit('no GPU here')", "no GPU here"),
        ("def build(): exit(3)", "raised: SystemExit(3)"),
        ("from .parts import block", "package.module:function"),
    ):
        (project / "ends.py").write_text(text)
        capsys.readouterr()
        assert main(["check", "project/ends.py:build"]) in (1, 2)
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for name in ("pipe.json", "zero.json"):
        assert main(["check", str(tmp_path / name)]) == 2
        assert f"{name} is no file; allowed: a config.json" in capsys.readouterr().err
