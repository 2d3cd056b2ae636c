"""What half precision loses is named: layers that change nothing, and tables that were exact."""

import torch
from torch import Tensor, nn

from auxin.probes.check import check
from probes import models, shapes


class Scaled(shapes.MinGPT):
    """Both branches times a factor that is trained."""

    class Block(shapes.Block):
        def __init__(self, factor: float) -> None:
            super().__init__(shapes.GPTConfig())
            self.factor = nn.Parameter(torch.tensor(factor))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.factor * self.attn(self.ln_1(x))
            return x + self.factor * self.mlp(self.ln_2(x))

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[self.Block(factor) for _ in range(3)])


def test_layers_whose_additions_round_away_are_named() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small, zero = Scaled(1e-5), Scaled(0.0)
        assert check(small, n_tokens=16).ok
        assert check(Scaled(1.0).bfloat16(), n_tokens=16).ok
    (finding,) = check(small.bfloat16(), n_tokens=16).findings
    assert (finding.kind, finding.module) == ("dead", "blocks.0")
    assert "too small for the resolution of bfloat16" in finding.sentence
    assert "in 3 of 3 layers" in finding.sentence
    assert check(zero.bfloat16(), n_tokens=16).ok  # on purpose


def test_a_rounded_table_of_rotations_is_a_note() -> None:
    model = models.build("llama", depth=2, width=64)
    assert not any("rounded" in note for note in check(model, n_tokens=16).notes)
    report = check(model.bfloat16(), n_tokens=16)
    assert report.ok
    assert any("model.rotary_emb.inv_freq is rounded to bfloat16" in note for note in report.notes)
