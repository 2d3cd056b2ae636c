"""Zero on purpose, dead, or never set: told by the gradients that reach a tensor; norms told by what they do."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auxin.probes.check import check
from auxin.probes.check_report import CheckReport
from auxin.probes.dead import reach_of
from auxin.probes.inputs import Reading
from probes import models, shapes
from probes.shapes import D, V

READING = Reading(n_tokens=16)


def drawn(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A model of torch's own draws; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def found(model: nn.Module) -> CheckReport:
    return check(model, n_tokens=16)


class Gated(shapes.Block):
    """ReZero: branches times a factor that begins at zero."""

    def __init__(self, config: shapes.GPTConfig) -> None:
        super().__init__(config)
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.alpha * self.attn(self.ln_1(x))
        return x + self.alpha * self.mlp(self.ln_2(x))


class Adaptive(nn.Module):
    """DiT's block: shift, scale and gate of every branch from a condition, by a map that begins at zero."""

    def __init__(self) -> None:
        super().__init__()
        config = shapes.GPTConfig()
        self.attn, self.mlp = shapes.CausalSelfAttention(config), shapes.Mlp(config)
        self.condition = nn.Linear(D, 6 * D)
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        a, b, g, a2, b2, g2 = self.condition(F.silu(c))[:, None].chunk(6, -1)
        x = x + g * self.attn(F.layer_norm(x, (D,)) * (1 + b) + a)
        return x + g2 * self.mlp(F.layer_norm(x, (D,)) * (1 + b2) + a2)


class Diffusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(8, D)
        self.blocks = nn.ModuleList(Adaptive() for _ in range(3))
        self.out = nn.Linear(D, 8)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x, c)
        return self.out(x)


class Rezero(shapes.MinGPT):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[Gated(shapes.GPTConfig()) for _ in range(4)])


def zeroed(*ends: str) -> nn.Module:
    model = drawn(shapes.MinGPT)
    for name, p in model.named_parameters():
        if name.endswith(ends):
            nn.init.zeros_(p)
    return model


def test_what_begins_at_zero_in_every_layer_is_a_design() -> None:
    branches = found(zeroed("c_proj.weight", "c_proj.bias"))
    assert not branches.findings
    (note,) = [text for text in branches.notes if "zero by design" in text]
    assert note.startswith(
        "branches begin at zero: the network is the identity at initialization; zero by design"
    )
    # at first the output maps with their biases, the tables, the final norm and the head
    assert "the first update moves 17 of 41 tensors, gradients reach all of them from update 2 on" in note
    both = found(zeroed("c_proj.weight", "c_proj.bias", "head.weight"))
    assert not both.findings
    assert any("the first update moves 1 of 41 tensors" in n and "from update 3 on" in n for n in both.notes)
    rezero = found(drawn(Rezero))
    assert not rezero.findings
    assert any("alpha (4 of 4 layers)" in note and "identity" in note for note in rezero.notes)
    vectors = torch.randn(2, 12, 8), torch.randn(2, D)
    adaptive = check(drawn(Diffusion), vectors, batch_first=True)
    assert not adaptive.findings
    assert any("condition (3 of 3 layers)" in note for note in adaptive.notes)


def test_zero_in_some_layers_is_a_slip() -> None:
    model = drawn(shapes.MinGPT)
    nn.init.zeros_(model.blocks[1].mlp.c_proj.weight)  # pyright: ignore[reportIndexIssue, reportArgumentType]
    (finding,) = found(model).findings
    assert (finding.kind, finding.module, finding.measured) == ("mismatch", "blocks.1.mlp.c_proj", 0.0)
    assert finding.expected == pytest.approx(1 / math.sqrt(3 * 4 * D), rel=0.05)
    model = drawn(Rezero)
    nn.init.ones_(model.blocks[2].alpha)  # pyright: ignore[reportIndexIssue, reportArgumentType]
    (finding,) = found(model).findings
    assert finding.sentence == "blocks.2.alpha has size 1 (rms) where the other layers have 0."
    model = models.build("opt", depth=4, width=64)
    nn.init.normal_(model.model.decoder.layers[2].fc2.bias)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportIndexIssue]
    (finding,) = found(model).findings
    assert finding.module == "model.decoder.layers.2.fc2"
    assert "fc2.bias has size" in finding.sentence
    assert finding.kinds > {"mismatch"}  # what the branch then adds, below it


class Adapted(nn.Linear):
    """A frozen map and a trainable product of two thin ones (LoRA)."""

    def __init__(self, *sizes: int, first: float, second: float) -> None:
        super().__init__(*sizes)
        self.requires_grad_(False)
        self.a = nn.Parameter(first * torch.randn(2, sizes[0]))
        self.b = nn.Parameter(second * torch.randn(sizes[1], 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x @ self.a.T @ self.b.T


def adapted(first: float, second: float) -> nn.Module:
    model = drawn(shapes.MinGPT).requires_grad_(False)
    for block in model.blocks:  # pyright: ignore[reportGeneralTypeIssues]
        block.attn.c_attn = Adapted(D, 3 * D, first=first, second=second)
    return model


def test_dead_is_what_no_gradient_reaches() -> None:
    healthy = found(adapted(0.1, 0.0))
    assert not healthy.findings
    assert any("the first update moves 3 of 6 tensors" in note for note in healthy.notes)
    (finding,) = found(adapted(0.0, 0.0)).findings
    assert (finding.kind, finding.module) == ("dead", "blocks.0.attn.c_attn")
    assert (
        "no gradient reaches its weights, now or after the first updates (in 3 of 3 layers"
        in finding.sentence
    )

    class Detached(shapes.Mlp):
        def forward(self, x: Tensor) -> Tensor:
            return self.c_proj(self.gelu(self.c_fc(x)).detach())

    model = drawn(shapes.MinGPT)
    model.blocks[1].mlp = Detached(shapes.GPTConfig())  # pyright: ignore[reportIndexIssue]
    assert [f.module for f in found(model).findings] == ["blocks.1.mlp.c_fc"]
    model = drawn(shapes.MinGPT)
    model.blocks[2].norm = nn.LayerNorm(D)  # pyright: ignore[reportIndexIssue]
    (finding,) = found(model).findings
    assert finding.sentence.startswith("blocks.2.norm is never used: no gradient reaches its weights")


def test_a_norm_outside_the_layers_that_is_never_called_is_dead() -> None:
    class Forgotten(shapes.MinGPT):
        def forward(self, idx: Tensor) -> Tensor:
            return self.head(self.blocks(self.tok_emb(idx) + self.pos_emb[:, : idx.shape[1]]))

    model = drawn(Forgotten)
    (finding,) = found(model).findings
    assert (finding.kind, finding.module) == ("dead", "ln_f")
    assert finding.sentence.startswith("ln_f is never used")
    model.ln_f = nn.Identity()
    model.parts = nn.ModuleDict({"ln_f": nn.LayerNorm(D)})  # in a container that is never called itself
    assert [f.module for f in found(model).findings] == ["parts.ln_f"]
    model = drawn(shapes.MinGPT)
    model.other = nn.Linear(D, V)
    report = found(model)
    assert not report.findings
    assert "other: never used on such inputs" in report.notes
    model.other.requires_grad_(False)
    assert not any("other" in note for note in found(model).notes)


def test_experts_that_no_token_chose_are_not_dead() -> None:
    class Routed(nn.Module):
        def __init__(self, *_: object) -> None:
            super().__init__()
            self.router = nn.Linear(D, 40)
            self.experts = nn.ModuleList(shapes.Mlp(shapes.GPTConfig()) for _ in range(40))

        def forward(self, x: Tensor) -> Tensor:
            weights, chosen = self.router(x).softmax(-1).max(-1)
            y = torch.zeros_like(x)
            for i in chosen.unique():
                y[chosen == i] = self.experts[i](x[chosen == i]) * weights[chosen == i][:, None]
            return y

    model = drawn(shapes.MinGPT)
    for block in model.blocks:  # pyright: ignore[reportGeneralTypeIssues]
        block.mlp = drawn(Routed)
    reach = reach_of(model, READING, {n for n, _ in model.named_parameters()})
    assert any("experts" in name for name in reach.unused)
    assert not [f for f in found(model).findings if f.kind == "dead"]


def test_a_model_is_left_as_it_was() -> None:
    model = zeroed("c_proj.weight")
    grown = model.head.weight
    grown.grad = torch.ones_like(grown)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    before = {name: (p, p.clone(), p.requires_grad) for name, p in model.named_parameters()}
    assert len(reach_of(model, READING, set(before)).updates) == len(before)
    for name, p in model.named_parameters():
        assert p is before[name][0]
        assert torch.equal(p, before[name][1])
        assert p.requires_grad == before[name][2]
        assert (p.grad is None) == (p is not grown)
    assert torch.equal(grown.grad, torch.ones_like(grown))  # pyright: ignore[reportArgumentType]
    assert not any(module._forward_hooks for module in model.modules())
    checkpointed = drawn(shapes.Checkpointed)
    trainable = {name for name, _ in checkpointed.named_parameters()}
    assert reach_of(checkpointed, READING, trainable).updates.keys() == trainable


class OffsetNorm(nn.RMSNorm):
    """Multiplies by 1 + weight, as Gemma's norms."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], 1 + self.weight, self.eps)


def test_norms_that_begin_at_weight_zero_are_no_finding() -> None:
    def offset() -> nn.Module:
        model = shapes.MinGPT()
        for block in model.blocks:
            for name in ("ln_1", "ln_2"):
                setattr(block, name, OffsetNorm(D, eps=1e-5))
                nn.init.zeros_(getattr(block, name).weight)
        return model

    model = drawn(offset)
    assert not found(model).findings
    nn.init.constant_(model.blocks[1].ln_2.weight, 1.0)  # pyright: ignore[reportIndexIssue, reportArgumentType]
    (finding,) = found(model).findings
    assert (finding.module, finding.measured) == ("blocks.1.ln_2", pytest.approx(2.0, abs=1e-4))


def test_one_gain_is_one_finding_with_its_consequences_below() -> None:
    model = models.build("opt", depth=4, width=128)
    model.model.decoder.layers[1].self_attn_layer_norm.weight.data.mul_(0.5)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportIndexIssue]
    (finding,) = check(model, n_tokens=64).findings
    assert finding.module == "model.decoder.layers.1.self_attn_layer_norm"
    assert "multiplies by 0.5 where norms begin at 1" in finding.sentence
    assert [effect.module for effect in finding.consequences] == ["model.decoder.layers.1.self_attn"] * 2


def test_a_size_that_follows_the_layers_number_is_a_design() -> None:
    def torchtitan() -> nn.Module:
        model = shapes.MinGPT(shapes.GPTConfig(n_layer=8))
        for name, p in model.named_parameters():
            if name.endswith("weight") and p.ndim == 2:
                nn.init.normal_(p, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        for i, block in enumerate(model.blocks):
            for part in (block.attn.c_proj, block.mlp.c_proj):  # pyright: ignore[reportAttributeAccessIssue]
                nn.init.normal_(part.weight, std=0.02 / math.sqrt(2 * (i + 1)))  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        return model

    model = drawn(torchtitan)
    assert not found(model).findings
    model.blocks[5].mlp.c_proj.weight.data.mul_(2)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportIndexIssue]
    (finding,) = found(model).findings
    assert finding.module == "blocks.5.mlp.c_proj"
    assert finding.expected == pytest.approx(0.02 / math.sqrt(12), rel=0.2)


def test_a_head_may_follow_the_law_of_the_maps() -> None:
    def lazy() -> nn.Module:
        model = shapes.NanoGPT()
        model.lm_head = nn.Linear(D, V, bias=False)
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                module.reset_parameters()
        return model

    assert not found(drawn(lazy)).findings


def test_buffers_that_were_never_set_are_named() -> None:
    model = models.build("llama")
    model.model.rotary_emb.inv_freq.fill_(math.nan)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportCallIssue]
    (finding,) = found(model).findings
    assert (finding.kind, finding.module) == ("dead", "model.rotary_emb")
    assert "inv_freq, a buffer, has 12 of 12 entries NaN or infinite" in finding.sentence
