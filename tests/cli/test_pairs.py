"""Minimal pairs scored on a run's checkpoints: printed, kept among its metrics, drawn on its page."""

from pathlib import Path

import pytest

from auxin.cli import main
from auxin.config import ModelConfig, RunConfig
from auxin.experiment.train import train
from auxin.report.training_figures import run_figures


def test_a_run_keeps_what_it_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ModelConfig(depth=1, width=8, heads=2)
    config = RunConfig(
        train_size=40, steps=2, eval_size=2, final_size=2, checkpoint_every=1, seeds=(0, 1), model=tiny
    )
    run = train(config, tmp_path / "run")
    sentence = run.config.load_task().splits["train"][0].words
    good, bad = " ".join(sentence), " ".join(reversed(sentence))
    (tmp_path / "p.tsv").write_text(f"{good}\t{bad}\torder\n{bad}\t{good}\tother\n")
    given = ["pairs", str(run.path), str(tmp_path / "p.tsv")]
    assert main([*given, "--checkpoint", "1", "2", "--out", str(tmp_path / "s.csv")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("order") == 4
    assert (tmp_path / "s.csv").read_text().count("\n") == 1 + 2 * 2 * 2
    assert (run.path / "pairs-p.png").stat().st_size > 5000
    metrics = type(run)(run.path, run.config).metrics
    rows = {
        (r["step"], r["member"], r["name"]): r["value"] for r in metrics.filter(split="pairs:p").to_dicts()
    }
    assert {name for *_, name in rows} == {
        f"{k}/{p}" for k in ("accuracy", "pairs") for p in ("order", "other", "all")
    }
    assert all(
        rows[step, seed, "accuracy/all"] == 0.5 for step in (1, 2) for seed in (0, 1)
    )  # a pair and its opposite
    assert "pairs-p" in [figure.name for figure in run_figures(metrics)]
    (tmp_path / "p.tsv").write_text("no such words\tat all\n")
    assert main(given) == 1
    assert "sentence 'no such words': word " in capsys.readouterr().err
