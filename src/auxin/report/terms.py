"""The words that a reader of neither paper needs: what each means, marked where it first stands in a section."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from markupsafe import Markup, escape

TERMS: dict[str, tuple[str, str]] = {
    "in-domain": (
        r"in[- ]domain",
        "New sentences of the kind that the model was trained on. Both rules give the same answers there.",
    ),
    "generalization": (
        r"generali[sz]\w+",
        "Sentences of a kind that training left out, where only the hierarchical rule gives the right answer.",
    ),
    "hierarchical": (
        r"hierarchical",
        "The rule of English: it goes by the sentence's structure (the verb of the main clause), not by word order.",
    ),
    "linear rule": (
        r"linear rule",
        "The rule that goes by word order alone: the first verb, the nearest noun. It, too, fits all training data.",
    ),
    "grokking": (
        r"grok\w*",
        "A model that has long been right in domain, and wrong on generalization, becomes right there as well.",
    ),
    "early stopping": (
        r"early stopping|stopping early|best in-domain accuracy",
        "The usual practice: keep the model of the first best accuracy in domain, and train no further.",
    ),
    "seed": (
        r"seeds?",
        "A model is trained several times; only random numbers differ (its initial weights, the order of its data).",
    ),
    "interval": (
        r"95% intervals?|intervals?",
        "Where the true number lies, in 95 of 100 such experiments: Student's interval of a mean, "
        "Wilson's of a share of seeds. Few seeds make it wide.",
    ),
    "verdict": (
        r"(?:not )?supported|contradicted",
        "Supported: the whole 95% interval is on the claim's side. Contradicted: all of it is on the other. "
        "Else, or with fewer than five models, these runs cannot tell: not supported.",
    ),
    "angle exponent": (
        r"λ_a|angle exponents?",
        "Before any training, a layer multiplies the small differences between words' vectors by exp(λ_a). "
        "auxin computes λ_a from the settings alone. Over L layers it adds up to L·λ_a.",
    ),
    "gradient exponent": (
        r"λ_g|gradient exponents?",
        "Before any training, a layer multiplies the squared gradient that passes back through it by exp(λ_g). Below 0 "
        "gradients vanish, above 0 they explode.",
    ),
    "exponents": (
        r"exponents",
        "λ_a and λ_g: by what factor, exp(λ), a layer at initialization changes the differences between words and the "
        "gradients. Both are computed from the settings, without training.",
    ),
    "collapse": (
        r"collapse",
        "At a strongly negative L·λ_a the layers map all words to nearly the same vector before training begins.",
    ),
    "norm placement": (
        r"(?:post|pre)-norm",
        "Where a layer normalizes its vectors: after adding a branch's output (post), as in 2017, or before the branch "
        "(pre), as in most models today.",
    ),
    "branch strength": (
        r"branch(?:es)?(?: strengths?)?",
        "Attention and MLP add to a vector; the branch strength is the factor before what they add.",
    ),
    "tree score": (
        r"tree scores?",
        "How well the model's vectors for a sentence are explained by putting it together from parts, as a tree "
        "(Murty et al. 2023).",
    ),
    "tree F1": (
        r"tree F1|F1",
        "How many constituents of the model's tree and of the gold tree are the same: 1 is all, 0 none.",
    ),
    "gold": (
        r"gold tree|gold",
        "The tree that linguists give the sentence.",
    ),
    "weight norm": (r"weight norms?", "The length of all weights as one vector, here divided by the number of layers."),
    "attention sparsity": (
        r"attention sparsity",
        "How unevenly attention is spread over the words: higher means on fewer of them.",
    ),
    "rank correlation": (
        r"rank correlations?",
        "Whether two quantities go up together: 1 always, −1 always opposite, 0 no relation (Spearman).",
    ),
    "R²": (
        r"R²",
        "The share of the differences that a prediction explains: 1 all, 0 none, below 0 worse than the mean.",
    ),
    "p": (r"p(?= [=<] )", "How often chance alone would give so large a difference."),
    "nats": (r"nats", "The unit of the training loss: 0 is certainty; 1 nat is one in e = 2.7."),
    "points": (r"percentage points|points(?= \()", "Percentage points: from 20% to 30% are 10 points."),
}  # fmt: skip
"""Each term's pattern and meaning; where two begin at one place, the first wins."""
_ANY = re.compile(
    "|".join(rf"(?<!\w)(?P<t{i}>{pattern})(?!\w)" for i, (pattern, _) in enumerate(TERMS.values())),
    re.IGNORECASE,
)


def identifier(term: str) -> str:
    """Of the element that explains a term."""
    return "term-" + re.sub(r"\W+", "-", term)


@dataclass
class Glossary:
    """Marks terms where they first stand in a section, and remembers which the page must explain."""

    used: dict[str, str] = field(default_factory=dict)
    """The meanings of all terms marked, by term."""
    _told: set[str] = field(default_factory=set)

    def begin(self) -> str:
        """A new section: terms are marked again."""
        self._told.clear()
        return ""

    def mark(self, text: str) -> Markup:
        """The escaped text, each term a button that opens its meaning where it first stands."""
        parts, done = [], 0
        for found in _ANY.finditer(text):
            name = list(TERMS)[int(str(found.lastgroup)[1:])]
            if name in self._told:
                continue
            self._told.add(name)
            self.used[name] = TERMS[name][1]
            parts += [escape(text[done : found.start()]), self._button(name, found[0])]
            done = found.end()
        return Markup("").join([*parts, escape(text[done:])])

    def _button(self, name: str, word: str) -> Markup:
        return Markup('<button type="button" class="term" popovertarget="{}" title="{}">{}</button>').format(
            identifier(name), self.used[name], word
        )
