"""auxin.watch: faults are seen while a model trains, and training does not notice."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from auxin.errors import ConfigError
from auxin.probes.bands import Bands, Gradients, Updates
from auxin.probes.glance import Glance
from auxin.probes.inputs import Reading
from auxin.probes.observe import observe
from auxin.probes.watch import Watch, json_lines, tensorboard, wandb, watch
from auxin.theory.profile import Profile
from probes import models


class Language(nn.Module):
    """torch's own encoder between a table and a map to words."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Embedding(20, 32)
            self.output = nn.Linear(32, 20)
        self.encoder = models.torch_encoder(seed, depth=2, width=32, norm_first=True, batch_first=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        return self.output(self.encoder(self.embed(ids), mask=mask, is_causal=True))


def trained(
    model: nn.Module, steps: int, watcher: Watch | None, fault: int = 0, corrupted: int = 0
) -> dict[str, torch.Tensor]:
    """The weights after so many steps on random words, the rate thirtyfold at the step of the fault; a corrupted
    batch has sentences of one word each."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for step in range(1, steps + 1):
        ids = torch.randint(20, (4, 8), generator=generator)
        ids = ids[:, :1].expand_as(ids) if step == corrupted else ids
        optimizer.param_groups[0]["lr"] = 0.03 if step == fault else 1e-3
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if watcher is not None:
            watcher.step(step)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_training_has_the_same_bits_with_and_without() -> None:
    """In training mode with dropout: weights, gradients, modes and the global random state."""
    found = []
    for watched in (False, True):
        with torch.random.fork_rng(devices=[]):
            model = Language().train()
            torch.manual_seed(1)
            weights = trained(model, 12, watch(model, 3) if watched else None)
            gradients = {name: p.grad for name, p in model.named_parameters()}
            found.append((weights, gradients, torch.get_rng_state(), [m.training for m in model.modules()]))
    for one, other in zip(*(part[:2] for part in found), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(found[0][2], found[1][2])
    assert found[0][3] == found[1][3]


def test_a_rate_that_is_thirtyfold_for_a_step_is_seen_at_that_step(caplog: pytest.LogCaptureFixture) -> None:
    model = Language()
    watcher = watch(model, 1000)
    with caplog.at_level(logging.WARNING, "auxin"):
        trained(model, 26, watcher, fault=25)
    assert [(alarm.step, alarm.kind) for alarm in watcher.alarms] == [(25, "update")]
    assert caplog.text == ""  # who takes steps prints what they return


def test_a_batch_whose_sentences_are_one_word_each_is_seen_at_that_step() -> None:
    """Behind clipping: attention's queries and keys then have no gradient."""
    inner = models.build("llama", vocab_size=20, width=32, depth=2)
    model = nn.Module()
    model.inner, model.forward = inner, lambda ids: inner(input_ids=ids, use_cache=False).logits
    watcher = watch(inner, 1000)
    trained(model, 26, watcher, corrupted=25)
    ((step, kind, module),) = [(alarm.step, alarm.kind, alarm.module) for alarm in watcher.alarms]
    assert (step, kind) == (25, "batch")
    assert module.endswith(("q_proj.weight", "k_proj.weight"))


def test_a_gradient_is_unlike_its_past_by_its_size_or_by_that_of_many_tensors_beside_the_others() -> None:
    def kinds(sizes: np.ndarray, past: np.ndarray) -> bool:
        gradients = Gradients([f"tensor {i}" for i in range(10)])
        judged = [gradients.judge(step, row) for step, row in enumerate(past)]
        assert judged == [None] * len(past)
        return gradients.judge(40, sizes) is not None

    noise = np.exp(0.1 * np.random.default_rng(0).standard_normal((40, 10)))
    assert not kinds(2 * noise[0], noise[1:])  # as where the loss of half precision is scaled anew
    assert kinds(5 * noise[0], noise[1:])
    odd = np.where(np.arange(10) < 3, 1e-6, 1.0)
    assert kinds(0.5 * odd, noise[1:])
    assert not kinds(np.where(np.arange(10) < 1, 0.0, 1.0), noise[1:])  # an expert that no token has chosen
    idle = noise[1:] * np.where(np.arange(39)[:, None] % 13 == 5, odd, 1.0)
    assert not kinds(odd, idle)  # as happens from time to time


def test_the_first_module_that_makes_nan_is_named_once() -> None:
    model = Language()
    watcher = watch(model, 1)
    with torch.no_grad():
        model.encoder.layers[1].linear1.weight[0, 0] = torch.nan
    (alarm,) = watcher.step(1)
    assert (alarm.kind, alarm.module) == ("nan", "encoder.layers.1.linear1")
    assert watcher.step(2) == []


@torch.no_grad()
def test_collapse_logits_and_attention_that_sees_one_token_leave_their_limits() -> None:
    model = Language()
    watcher = watch(model, 1, n_tokens=16)
    attention = model.encoder.layers[0].self_attn
    attention.in_proj_weight[:64].mul_(20)
    kinds = {alarm.kind: alarm for alarm in watcher.step(1)}
    assert set(kinds) == {"logits", "entropy"}
    assert kinds["logits"].module == "encoder.layers.0"
    model.embed.weight.copy_(model.embed.weight[:1] + 1e-3 * model.embed.weight)
    model.encoder.layers[0].self_attn.in_proj_weight[:64].div_(20)
    assert {alarm.kind for alarm in watcher.step(2)} == {"collapse"}
    assert watcher.step(3) == []


@torch.no_grad()
def test_a_router_that_sends_all_tokens_to_one_expert_is_seen() -> None:
    model = models.build("mixtral", width=32, depth=2, num_local_experts=16)
    watcher = watch(model, 1)
    assert 0.5 < watcher.summary["experts"] <= 1
    next(p for n, p in model.named_parameters() if ".1." in n and n.endswith(".gate.weight")).zero_()
    (alarm,) = watcher.step(1)
    assert (alarm.kind, alarm.module) == ("experts", "model.layers.1")
    assert alarm.value < 0.3


def test_a_glance_measures_what_an_observation_does() -> None:
    rows, columns = Reading(n_tokens=16), Reading(n_tokens=16, batch_first=False)
    for model, reading in ((models.build("llama"), rows), (models.torch_encoder(), columns)):
        seen, profile = observe(model, reading), Glance(model, reading).profile()
        for name in ("norm", "cosine", "entropy", "spread"):
            assert np.allclose(profile[name], seen[name], rtol=1e-3, atol=1e-5, equal_nan=True), name
        assert np.allclose(np.log(profile.gradient), np.log(seen.gradient), atol=1)
        last = [branch for branch in seen.branches if branch.kind == "mlp"]
        assert np.allclose(profile["mlp_share"][1:], [b.norm for b in last] / profile.norm[1:], rtol=1e-3)


def test_a_change_is_judged_by_those_of_the_past() -> None:
    """Doubling at every look is no alarm; after slow looks it is beyond the margin that a tenfold change is."""
    columns = ("cosine", "entropy", "spread", "norm", "gradient", "attention_share", "mlp_share", "experts")

    def kinds(norms: list[float]) -> list[list[str]]:
        profiles = [Profile({n: np.full(2, 0.5) for n in columns} | {"norm": np.full(2, x)}) for x in norms]
        bands = Bands(["layer"], profiles[0])
        return [[alarm.kind for alarm in bands.judge(i, p)] for i, p in enumerate(profiles[1:])]

    assert kinds([2.0**i for i in range(8)]) == [[]] * 7
    assert kinds([1, 1.1, 1.2, 1.3, 1.5, 30]) == [[], [], [], [], ["norm"]]
    assert kinds([1, 30, 1, 30]) == [[]] * 3  # too few to judge by


def test_updates_that_grow_with_a_warm_up_are_no_jump_and_a_single_tensor_may_jump() -> None:
    updates, ones = Updates(["a", "b", "c"]), np.ones(3)
    assert all(updates.judge(step, 0.01 * step * ones, ones) is None for step in range(1, 60))
    jump = updates.judge(60, 0.6 * np.array([1, 1, 20]), ones)
    assert jump is not None
    assert jump.module == "c"
    apart = Updates(["a", "b", "c"])  # the median jumps, but one tensor alone does
    assert all(apart.judge(step, np.array([0.1, 0.02, 0.01]), ones) is None for step in range(30))
    assert apart.judge(30, np.array([0.1, 0.09, 0.01]), ones) is None


def test_sinks_get_every_look(tmp_path: Path) -> None:
    summary = pytest.importorskip("torch.utils.tensorboard").SummaryWriter
    model, rows = Language(), []

    class Run:
        """What is used of a run of W&B."""

        log = staticmethod(rows.append)

    writer = summary(str(tmp_path / "board"))
    sinks = (json_lines(tmp_path / "watch.jsonl"), tensorboard(writer), wandb(Run))
    trained(model, 4, watch(model, 2, sinks=sinks))
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "watch.jsonl").read_text().splitlines()]
    assert [(line["step"], len(line["norm"]), line["alarms"]) for line in lines] == [(2, 3, []), (4, 3, [])]
    assert [row["watch/norm"] for row in rows] == pytest.approx([line["norm"][-1] for line in lines])
    assert list((tmp_path / "board").iterdir())


def test_transformers_calls_it_after_every_step_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    callbacks = pytest.importorskip("transformers.trainer_callback")
    arguments = pytest.importorskip("transformers").TrainingArguments
    model = Language()
    watcher = watch(model, 5)
    handler = callbacks.CallbackHandler([watcher.trainer_callback()], model, None, None, None)
    state, control = callbacks.TrainerState(global_step=4), callbacks.TrainerControl()
    assert handler.on_optimizer_step(arguments.__new__(arguments), state, control) is control
    assert "update" in watcher.profile.columns
    with torch.no_grad():
        model.encoder.layers[0].linear1.weight[0, 0] = torch.nan
    handler.on_optimizer_step(arguments.__new__(arguments), callbacks.TrainerState(global_step=5), control)
    assert caplog.messages[-1:] == [str(alarm) for alarm in watcher.alarms]


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_calls_it_after_every_step_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Training(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = Language()

        def training_step(self, ids: torch.Tensor, index: int) -> torch.Tensor:
            if index == 12:  # of the seventh step, since two batches make one
                self.model.embed.weight.data[:] = torch.nan
            return nn.functional.cross_entropy(self.model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-3)

    training, looks = Training(), []
    watcher = watch(training, 2, sinks=[lambda step, *_: looks.append(step)])
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=8,
        accumulate_grad_batches=2,
        callbacks=[watcher.lightning_callback()],
        **quiet,
    )
    ids = torch.randint(20, (64, 8), generator=torch.Generator().manual_seed(0))
    with caplog.at_level(logging.WARNING, "auxin"):
        trainer.fit(training, torch.utils.data.DataLoader(ids, batch_size=4))
    assert looks == [0, 2, 4, 6, 7, 8]
    assert [(alarm.step, alarm.kind) for alarm in watcher.alarms] == [(7, "nan")]
    assert [r.getMessage() for r in caplog.records if r.name == "auxin"] == [str(watcher.alarms[0])]


def test_what_cannot_be_watched_is_refused() -> None:
    with pytest.raises(ConfigError, match="every is 0"):
        watch(Language(), 0)
    with pytest.raises(ConfigError, match="no repeated layers"):
        watch(nn.Linear(2, 2))
