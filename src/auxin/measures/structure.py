"""The structural measures of a model: norms, attention entropy, trees, and what it does to signals."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auxin.config import MeasureName
from auxin.errors import ConfigError, DataError
from auxin.measures.projection import NonFiniteStates, tree_projections
from auxin.measures.tokenizers import Tokenizer, evaluating, length_batches, side_by_side, tokenize
from auxin.models.protocol import CausalModel
from auxin.models.transformer import TransformerLM
from auxin.probes.inputs import Reading
from auxin.probes.observe import observe
from auxin.probes.states import NotFinite
from auxin.tasks import Sentence, Task, Vocabulary
from auxin.tasks.sampling import random_sample
from auxin.tasks.trees import Tree, balanced, left_branching, parseval, random_tree, right_branching
from auxin.values import check

TOKENS, SEQUENCES = 24, 16
NEAR_UNIT = 0.9, 1.05
"""Moduli of eigenvalues that count as near 1 (Kim et al. 2026, definition 1)."""
RIDGE = 1e-6
"""Added to the covariance that whitens, relative to its mean variance."""


def signals(model: TransformerLM) -> dict[str, float]:
    """What random tokens meet: totals of the stream, as ``auxin.check`` measures them, and two rivals of them.

    - ``angle_total``: log (1 − c_L)/(1 − c_0) of tokens that begin nearly equal, c their mean cosine.
    - ``gradient_total``: log ‖g_0‖²/‖g_L‖² of random combinations of the last layer's output.
    - ``near_unit_mass``: see there.
    - ``loss_gradient``: L2 norm of the gradient of the next token's loss in all parameters.

    All are NaN where a state is not finite.

    >>> import torch
    >>> config = ModelConfig(depth=4, width=16, heads=2, vocabulary_size=50)
    >>> found = signals(TransformerLM(config, torch.Generator().manual_seed(0)))
    >>> found["angle_total"] < 0  # post-norm: tokens collapse
    True
    """
    names = ("angle_total", "gradient_total", "near_unit_mass", "loss_gradient")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.config.vocabulary_size, (SEQUENCES, TOKENS), generator=generator)
    try:
        profile = observe(model, Reading(tokens[:2]))
        with evaluating(model) as device:
            states = model(tokens.to(device), states=True).states
            with torch.inference_mode(False):
                loss_gradient = _loss_gradient(model, tokens.to(device))
        totals = math.log(profile["gap"][-1] / profile["gap"][0]), math.log(profile["gradient"][0])
        return dict(zip(names, (*totals, near_unit_mass(states), loss_gradient), strict=True))
    except (NotFinite, ValueError):  # a logarithm of 0
        return dict.fromkeys(names, math.nan)


def _loss_gradient(model: TransformerLM, tokens: Tensor) -> float:
    parameters = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}
    logits = torch.func.functional_call(model, parameters, (tokens[:, :-1],)).logits
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return math.sqrt(sum(g.double().square().sum().item() for g in gradients if g is not None))


def near_unit_mass(states: Sequence[Tensor]) -> float:
    """Share of the eigenvalues of the layers' best linear maps whose modulus is near 1, the mean over layers.

    With X, Y [N, d] the centered states of all tokens before and after a layer, a layer's map is
    A = argmin ‖Y − X A‖, taken in coordinates that whiten X (dynamic mode decomposition). From "Residual Koopman
    Spectral Profiling", Kim et al. 2026 (arXiv 2602.22988), section 3.2, without the filter of modes. States are
    [B, n, d] by layer, the input first; N should exceed d. NaN where a state has overflowed.

    >>> import torch
    >>> x = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    >>> near_unit_mass([x, x, 2 * x])
    0.5
    """
    rows = [state.detach().double().flatten(0, -2).cpu() for state in states]
    if not all(x.isfinite().all() for x in rows):
        return math.nan
    rows = [x - x.mean(0) for x in rows]
    low, high = NEAR_UNIT
    shares: list[float] = []
    for x, y in itertools.pairwise(rows):
        covariance = x.mT @ x / len(x)
        variances, axes = torch.linalg.eigh(covariance)
        variances = variances + RIDGE * covariance.diagonal().mean()
        white, after = ((z @ axes) * variances.rsqrt() for z in (x, y))
        moduli = torch.linalg.eigvals(torch.linalg.lstsq(white, after).solution).abs()
        shares.append(((moduli >= low) & (moduli <= high)).double().mean().item())
    return sum(shares) / len(shares)


def attention_entropy(
    model: CausalModel | nn.Module,
    sentences: Sequence[str | Sequence[str]],
    vocabulary: Tokenizer | Any,
    *,
    max_tokens: int = 4096,
) -> NDArray[np.float64]:
    """[layers, heads]: mean entropy in nats of the attention of the positions of <bos> and all sentences.

    With a_ij the attention of position i, H_i = −Σ_j a_ij ln a_ij; every position of every sentence weighs the
    same, <bos>, which sees itself alone, with H = 0. Sentences of one length share a batch, so nothing is
    padding. Memory: max_tokens · longest sentence · layers · heads floats.

    Raises ``DataError`` for no or an empty sentence or an unknown word, ``ConfigError`` for a model that
    returns no attention, is too short, or has another vocabulary.
    """
    check(max_tokens >= 1, "max_tokens", max_tokens, "1 or more")
    if not sentences:
        raise DataError("no sentences; allowed: one or more")
    causal, _, words, bos = tokenize(model, sentences, vocabulary)
    tokens = [sum(sentence, [bos]) for sentence in words]
    lengths = np.array([len(sentence) for sentence in tokens])
    with evaluating(causal) as device:

        def entropies(rows: np.ndarray) -> NDArray[np.float64]:
            """[layers, heads]: summed over the positions of these sentences."""
            ids = torch.tensor([tokens[s] for s in rows], device=device)
            attention = causal(ids, attention=True).attention
            if not attention:
                raise ConfigError("the model returns no attention weights; allowed: those of every layer")
            by_layer = [torch.special.entr(a.float()).sum(-1) for a in attention]  # [B, H, n]
            # summed by numpy: of another model's, torch's sum would depend on the number of threads
            return np.stack([e.double().cpu().numpy().sum((0, 2)) for e in by_layer])

        batches = [rows for _, rows in length_batches(lengths, max_tokens)]
        return sum(side_by_side(causal, entropies, batches), np.zeros(())) / lengths.sum()


def attention_sparsity(entropy: NDArray[np.float64]) -> dict[str, float]:
    """Minus the mean of ``attention_entropy``, over all layers and heads and for each (counted from 0).

    Zero when every position attends to one token (Murty et al. 2023, §4).
    """
    heads = {f"attention_sparsity/{l}/{h}": -float(value) for (l, h), value in np.ndenumerate(entropy)}
    return {"attention_sparsity": -float(entropy.mean())} | heads


GROUPS = ("embedding", "positions", "attention", "mlp", "norms", "output")


def weight_norms(model: nn.Module, depth: int) -> dict[str, float]:
    """L2 norm over the trained parameters divided by the number of layers, in all and by group.

    ``weight_norm`` = ‖θ‖₂ / depth (Murty et al. 2023, §4); ``weight_norm/<group>`` is the same over one of
    ``GROUPS``, so that the squares of the groups add up to the square of the whole. A tied output map counts
    once, as the embedding; groups without parameters are left out. One pass over the parameters, summed in
    float64. Raises ``ConfigError`` for a depth below 1.
    """
    check(depth >= 1, "depth", depth, "1 or more")
    squares: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")  # of a TransformerLM
        group = parts[2] if parts[0] == "layers" else parts[0]
        group = "norms" if any("norm" in part for part in parts) else group
        # summed by numpy: torch's sum depends, in its last bit, on the number of threads
        square = float(np.square(parameter.detach().double().cpu().numpy()).sum())
        squares[group] = squares.get(group, 0.0) + square
    norms = {"weight_norm": sum(squares.values()) ** 0.5 / depth}
    return norms | {f"weight_norm/{g}": squares[g] ** 0.5 / depth for g in GROUPS if g in squares}


MEASURES = ("norms", "entropy", "projection")
KNOWN = get_args(MeasureName)
WITHOUT_SENTENCES = {"norms": "weight_norm", "signals": "angle_total"}
"""Measures that read no sentence, and a number of each."""


def measured_sentences(task: Task, count: int) -> list[Sentence]:
    """``count`` training sentences that the task has measured, a fixed random sample, each sequence of words once.

    Question sources that are only to be copied (``decl``) are left out, as in the published measurements.
    Raises ``DataError`` when there is none of two words or more.
    """
    check(count >= 1, "sentences", count, "1 or more")
    known: dict[tuple[str, ...], Sentence] = {}
    for sentence in task.splits["train"]:
        if task.measured(sentence) and len(sentence.words) > 1:
            known.setdefault(tuple(sentence.words), sentence)
    if not known:
        raise DataError("no training sentence can be measured; allowed: two words or more, not only copied")
    return random_sample(list(known.values()), count)


def structure(
    model: TransformerLM,
    sentences: Sequence[Sentence],
    vocabulary: Vocabulary,
    measures: Sequence[str] = MEASURES,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[str, float]:
    """The structural measures of one model by the names that they have in a run's metrics.

    - norms: ``weight_norm``, and ``weight_norm/<group>``.
    - entropy: ``attention_sparsity`` over the sentences' words, and ``attention_sparsity/<layer>/<head>``.
    - projection: ``t_score``, the mean tree score; ``t_parseval``, pooled unlabeled F1 of the greedy trees
      against gold (Murty et al. 2023, §4); ``parseval_baselines``, on the same sentences.
    - signals: ``angle_total``, ``gradient_total`` and ``near_unit_mass`` on random tokens, see there.

    ``<measure>_sentences`` says how many sentences the last two saw. A diverged model's numbers are NaN.
    Raises ``ConfigError`` for an unknown measure, and what each of them raises.
    """
    check(set(measures) <= set(KNOWN), "measures", tuple(measures), ", ".join(KNOWN))
    values: dict[str, float] = {}
    if "norms" in measures:
        values |= weight_norms(model, model.config.depth)
    if "signals" in measures:
        values |= signals(model)
    if "entropy" in measures:
        values |= attention_sparsity(attention_entropy(model, [s.words for s in sentences], vocabulary))
        values["entropy_sentences"] = len(sentences)
    if "projection" in measures:
        words = [sentence.words for sentence in sentences]
        gold = {number: sentence.gold for number, sentence in enumerate(sentences) if sentence.has_gold}
        values |= {"t_score": math.nan} | ({"t_parseval": math.nan} if gold else {})
        with contextlib.suppress(NonFiniteStates):
            found = tree_projections(model, words, vocabulary, done=progress)
            values["t_score"] = fmean(projection.tree_score for projection in found)
            if gold:
                values["t_parseval"] = parseval([found[i].tree for i in gold], list(gold.values())).f1
        if gold:
            values |= parseval_baselines([words[number] for number in gold], list(gold.values()))
        values["projection_sentences"] = len(sentences)
    return values


def parseval_baselines(
    words: Sequence[Sequence[str]], gold: Sequence[Tree], seed: int = 0
) -> dict[str, float]:
    """Pooled F1 against gold of trees that know nothing of the model, to compare ``t_parseval`` with.

    ``t_parseval/right``, ``/left``, ``/balanced`` and ``/random`` (sentence i's tree drawn from ``seed`` + i).
    """
    trees: dict[str, list[Tree]] = {
        "right": [right_branching(sentence) for sentence in words],
        "left": [left_branching(sentence) for sentence in words],
        "balanced": [balanced(sentence) for sentence in words],
        "random": [random_tree(sentence, seed + i) for i, sentence in enumerate(words)],
    }
    return {f"t_parseval/{name}": parseval(built, gold).f1 for name, built in trees.items()}
