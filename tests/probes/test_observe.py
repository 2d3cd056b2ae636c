"""Any model observed: against numbers computed by hand, and found without being told in many people's code."""

import numpy as np
import pytest
import torch
from torch import nn

from auxin.errors import ConfigError
from auxin.probes.inputs import Reading
from auxin.probes.observe import observe
from probes import shapes

TOKENS = torch.randint(shapes.V, (2, 7), generator=torch.Generator().manual_seed(1))


def encoder(batch_first: bool, norm_first: bool = False, seed: int = 0) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(24, 4, 48, batch_first=batch_first, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                p.normal_(0, p.shape[1] ** -0.5, generator=generator)
            elif name.endswith("bias"):
                p.zero_()
    return model


def test_numbers_are_those_computed_by_hand() -> None:
    model = shapes.NanoGPT()
    seen = observe(model, Reading(TOKENS))
    model.eval()
    x = (
        (model.transformer["wte"](TOKENS) + model.transformer["wpe"](torch.arange(7)))
        .detach()
        .requires_grad_()
    )
    states, shares = [x], []
    for block in model.transformer["h"]:
        a = block.attn(block.ln_1(x))
        m = block.mlp(block.ln_2(x + a))
        shares += [
            a.square().mean() / (x + a).square().mean(),
            m.square().mean() / (x + a + m).square().mean(),
        ]
        x = x + a + m
        states.append(x)
    for i, state in enumerate(states):
        assert seen.norm[i] == pytest.approx(state.square().mean().item(), rel=1e-5)
    different = ~(TOKENS[:, :, None] == TOKENS[:, None])
    cosines = torch.cosine_similarity(x[:, :, None], x[:, None], dim=-1)[different]
    assert seen.cosine[-1] == pytest.approx(cosines.mean().item(), rel=1e-4)
    assert [b.share for b in seen.branches] == pytest.approx([s.item() for s in shares], rel=1e-4)
    logits = model.lm_head(model.transformer["ln_f"](x))[:, -1]
    assert seen.logit_std == pytest.approx(logits.var(-1, correction=0).mean().sqrt().item(), rel=1e-4)
    loss = torch.stack(
        [nn.functional.cross_entropy(logits, torch.full((2,), v)) for v in range(shapes.V)]
    ).mean()
    assert seen.excess_loss == pytest.approx(loss.item() - np.log(shapes.V), abs=1e-5)
    # the mean gradient over many random combinations is the squared norm of the Jacobian
    probes = [observe(model, Reading(TOKENS, seed=s)).gradient[0] for s in range(6)]
    jacobian = torch.autograd.functional.jacobian(lambda x: _layers(model, x), states[0])
    assert np.mean(probes) == pytest.approx(jacobian.square().sum().item() / x.numel(), rel=0.1)


def _layers(model: shapes.NanoGPT, x: torch.Tensor) -> torch.Tensor:
    for block in model.transformer["h"]:  # pyright: ignore[reportGeneralTypeIssues]
        x = block(x)
    return x


FOUND = {
    shapes.NanoGPT: ("transformer.h", "transformer.h.0.attn", "transformer.h.0.mlp.c_proj"),
    shapes.MinGPT: ("blocks", "blocks.0.attn", "blocks.0.mlp.c_proj"),
    shapes.ListOfLists: ("layers", "layers.0.0", "layers.0.1.fn.c_proj"),
    shapes.Scaled: ("", "block1.attn", "block1.mlp.c_proj"),
    shapes.Checkpointed: ("blocks", "blocks.0.attn", "blocks.0.mlp.c_proj"),
    shapes.Looped: ("blocks", "blocks.0.attn", "blocks.0.mlp.c_proj"),
}


@pytest.mark.parametrize("kind", FOUND, ids=lambda kind: kind.__name__)
def test_many_peoples_code_is_found_without_being_told(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    seen = observe(kind())
    stack, attention, writer = FOUND[kind]
    assert (seen.stack, seen.branches[0].module, seen.branches[1].writer) == (stack, attention, writer)
    assert [b.kind for b in seen.branches] == ["attention", "mlp"] * seen.depth
    assert seen.causal
    assert seen.depth == {shapes.Looped: 4, shapes.Scaled: 2}.get(kind, 3)
    assert not any("not found" in note for note in seen.notes)


def test_skips_and_strengths_are_read_off_the_sums() -> None:
    torch.manual_seed(0)
    attention, mlp, *_ = observe(shapes.Scaled(alpha=1.5, gamma=0.01)).branches
    assert (attention.skip, attention.strength) == pytest.approx((1.5, 1), rel=1e-4)
    assert (mlp.skip, mlp.strength) == pytest.approx((1, 0.01), rel=1e-3)


@pytest.mark.parametrize("norm_first", [False, True])
def test_tokens_are_told_from_sequences(norm_first: bool) -> None:
    x = torch.randn(5, 5, 24, generator=torch.Generator().manual_seed(2))  # the shape does not tell
    rows = observe(encoder(True, norm_first), Reading(x))
    columns = observe(encoder(False, norm_first), Reading(x.transpose(0, 1)))
    assert "the stream is [tokens, batch, d]" in columns.notes
    np.testing.assert_allclose(rows.cosine, columns.cosine, rtol=1e-4)
    np.testing.assert_allclose(rows.norm, columns.norm, rtol=1e-4)
    assert not rows.causal


def test_the_callers_state_does_not_matter_and_is_restored() -> None:
    model = shapes.NanoGPT().train()
    model.transformer["ln_f"].eval()
    model.lm_head.weight.requires_grad_(False)
    modes = [m.training for m in model.modules()]
    needing = [p.requires_grad for p in model.parameters()]
    state = torch.get_rng_state()
    with torch.no_grad():
        seen = observe(model, Reading(TOKENS))
    assert modes == [m.training for m in model.modules()]
    assert needing == [p.requires_grad for p in model.parameters()]
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with torch.inference_mode():
        again = observe(model.eval(), Reading(TOKENS))
    np.testing.assert_array_equal(seen.gradient, again.gradient)


def test_small_differences_grow_as_those_of_two_close_inputs() -> None:
    model = shapes.MinGPT()
    seen = observe(model)
    assert seen["gap"][0] == pytest.approx(1e-5, rel=0.3)
    assert np.isfinite(seen["gap"]).all()


def test_half_precision_and_a_dropout_that_is_always_on() -> None:
    seen = observe(shapes.NanoGPT().bfloat16(), Reading(TOKENS))
    assert "gap" not in seen.columns
    assert [b.kind for b in seen.branches] == ["attention", "mlp"] * 3
    model = shapes.MinGPT()
    model.ln_f.register_forward_hook(lambda module, args, output: nn.functional.dropout(output, 0.1))
    assert any("random numbers" in note for note in observe(model).notes)


def test_what_cannot_be_measured_is_named() -> None:
    with pytest.raises(ConfigError, match="Linear has no repeated layers that can be found"):
        observe(nn.Linear(3, 3))
    with torch.device("meta"):
        model = shapes.MinGPT()
    with pytest.raises(ConfigError, match="parameter pos_emb is on device 'meta'"):
        observe(model)
    model = shapes.MinGPT()
    with pytest.raises(ConfigError, match="does not run on float32"):
        observe(model, Reading(torch.randn(2, 3)))
    with pytest.raises(
        ConfigError, match="largest token id is 60; allowed: below the model's vocabulary of 60"
    ):
        observe(model, Reading(TOKENS.clamp(min=60)))
    with pytest.raises(ConfigError, match="tokens of a sequence is 1; allowed: 2 or more"):
        observe(model, Reading(TOKENS[:, :1]))
    with pytest.raises(ConfigError, match=r"inputs is \(0, 7\); allowed: one token or more"):
        observe(model, Reading(TOKENS[:0]))
    with pytest.raises(ConfigError, match="layers is 'blocs'; allowed: the name of one of blocks"):
        observe(model, Reading(layers="blocs"))
    model.blocks[1] = shapes.InPlace(shapes.GPTConfig())
    with pytest.raises(ConfigError, match="inplace"):
        observe(model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
