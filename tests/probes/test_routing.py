"""Experts that tokens share, compared with random routers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auxin.probes.check import check
from auxin.probes.inputs import Reading
from auxin.probes.observe import observe
from probes import models, own


def test_fresh_routers_choose_as_gaussian_ones_do() -> None:
    found = []
    for seed in range(3):
        for routing in observe(models.build("mixtral", seed), Reading(n_tokens=16)).routings:
            chance = routing.by_chance(None)
            assert chance is not None
            found.append((routing.shared, chance[0]))
    assert len(found) == 3 * 3
    measured, expected = np.mean(found, 0)
    assert 0.5 < expected < 0.75  # two of four experts, and tokens become alike
    assert measured == pytest.approx(expected, abs=0.06)


def test_a_share_is_of_pairs_and_of_chosen_experts() -> None:
    (routing, *_) = observe(models.build("mixtral"), Reading(batch=1, n_tokens=5)).routings
    sets = [set(row.tolist()) for row in routing.chosen]
    pairs = [len(sets[i] & sets[j]) / 2 for i in range(5) for j in range(5) if i != j]
    assert routing.shared == pytest.approx(np.mean(pairs))


def test_a_router_that_sends_all_tokens_to_few_experts_is_named() -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = own.SmallMoE()
        del model.depth  # so that it is not compared with fresh draws
        report = check(model, n_tokens=16)
        assert report.ok, report.findings
        assert "of their experts" in " ".join(report.notes)
        for block in model.blocks:
            block.router.bias[:2] = 5.0  # pyright: ignore[reportIndexIssue]
    (finding,) = check(model, n_tokens=16).findings
    assert finding.module == "blocks.0.router"
    assert "two tokens share 100% of their experts where a random router would" in finding.sentence
