"""What the two papers say, word for word, and where they say it: the sources of the claims that studies judge.

Murty et al. 2023 are arXiv 2305.18741v1. Of Cowsik et al. 2024, arXiv 2403.02579v1, the abstract is quoted.
"""

from __future__ import annotations

from typing import Final


def _says(place: str, words: str) -> str:
    return f"{place}: “{words}”"


LATE: Final = _says(
    "Murty et al. 2023, §3.1, Fig. 2",
    "generalization improves many training steps after in-distribution accuracy has saturated",
)
EARLY_STOPPING: Final = _says(
    "Murty et al. 2023, §3.1, Fig. 2", "Early stopping leads to vastly underestimating generalization."
)
INVERTED_U: Final = _says(
    "Murty et al. 2023, §3.1, Fig. 3a",
    "very shallow and very deep models are unsuccessful, while most seeds generalize in models of intermediate depth",
)
SAME_LOSS: Final = _says(
    "Murty et al. 2023, appendix D, Fig. 5",
    "all models, regardless of whether they grok or not, eventually get to comparable training losses",
)
MOST_TREE_STRUCTURED: Final = _says(
    "Murty et al. 2023, §4.1, Fig. 3b",
    "the “optimal” model learns the most tree-structured solution compared to both deep and shallow models",
)
TREES_GENERALIZE: Final = _says(
    "Murty et al. 2023, §4.1", "only the ones that are the most tree-structured generalize best"
)
NEAR_GOLD: Final = _says(
    "Murty et al. 2023, §4.1, Fig. 4",
    "all models are effective at learning computations whose closest tree structures progressively evolve towards "
    "ground truth syntax, matching or outperforming a right branching baseline",
)
COINCIDES: Final = _says(
    "asked here; Murty et al. 2023, §4.1",
    "structural grokking coincides with the emergence of tree structured internal computations",
)
NORMS_DO_NOT_TELL: Final = _says(
    "Murty et al. 2023, §4.1, Fig. 3b",
    "weight norms and attention sparsity increase for all models and do not differentiate between different sizes",
)
TWO_EXPONENTS: Final = _says(
    "Cowsik et al. 2024, abstract",
    "the final test loss at the end of training is well predicted just by these two exponents at the beginning of "
    "training",
)
