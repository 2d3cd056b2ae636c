"""A study's declaration becomes an answer: one finding decides a statement, and what answers is named."""

import polars as pl
import pytest

from auxin.studies.analysis import FEWEST, Found, Statement, Study, finding
from auxin.studies.statistics import Estimate, written

GAIN = finding("gain", Estimate(0.3, 0.1, 0.5), "It gains 0.3 (0.1 to 0.5).", models=FEWEST)


@pytest.mark.parametrize(
    ("above", "below", "verdict"),
    [
        (0.0, None, "supported"),
        (0.2, None, "not supported"),
        (0.6, None, "contradicted"),
        (0.0, 0.6, "supported"),
        (0.0, 0.4, "not supported"),
        (0.0, 0.05, "contradicted"),
    ],
)
def test_a_whole_interval_on_one_side_of_the_mark_decides(
    above: float, below: float | None, verdict: str
) -> None:
    claim = Statement("It gains.", "us", "gain", above, below).judged(GAIN)
    assert (claim.verdict, claim.evidence, claim.finding) == (verdict, GAIN.sentence, "gain")


def test_few_models_or_none_decide_nothing() -> None:
    few = finding("gain", Estimate(0.3, 0.1, 0.5), "It gains.", models=FEWEST - 1)
    claim = Statement("It gains.", "us", "gain").judged(few)
    assert claim.verdict == "not supported"
    assert claim.evidence == "It gains. Fewer than 5 models are no test."
    assert Statement("It gains.", "us", "gain").judged(None).verdict == "not supported"
    unknown = finding("gain", Estimate(0.3, float("nan"), float("nan")), "It gains.", models=9)
    assert Statement("It gains.", "us", "gain").judged(unknown).verdict == "not supported"


def test_the_answer_is_the_sentences_of_the_findings_that_answer() -> None:
    lost = finding("loss", Estimate(1.0, 1.0, 1.0), "It loses 1.")
    study = Study(
        question="Does it gain?",
        configs=lambda scale: [],
        models=lambda metrics: metrics.filter(name="a"),
        estimates=lambda models, metrics: Found(
            [GAIN, lost], {"models": models}, answered=["loss", "absent"]
        ),
        claims=[Statement("It gains.", "us", "gain")],
        answered=["gain"],
    )
    analysis = study.analyse(pl.DataFrame({"name": ["a", "b"]}))
    assert (analysis.answer, analysis.more) == (GAIN.sentence, lost.sentence)
    assert analysis.text == "It gains 0.3 (0.1 to 0.5). It loses 1."
    assert analysis.answered == ("gain", "loss")
    assert [claim.verdict for claim in analysis.claims] == ["supported"]
    assert analysis.tables["models"].height == 1


def test_numbers_have_true_minus_signs_and_no_negative_zero() -> None:
    assert [written(-0.04, 1), written(-2.5, 1), written(-7.0, "g")] == ["0.0", "−2.5", "−7"]
    assert f"{Estimate(-0.1, -0.2, 0.0):%}" == "−10% (−20 to 0)"
    assert Estimate(0.3, 0.1, 0.5).columns("r2") == {"r2": 0.3, "r2_low": 0.1, "r2_high": 0.5}
