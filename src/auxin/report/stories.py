"""What the page says before a study's own words: the question in plain ones, and what was done to answer it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Story:
    """A study for a reader who has read neither paper."""

    question: str
    setting: str


STORIES = {
    "grokking": Story(
        "Should training go on after a model has stopped improving?",
        "Models are trained far past the point where they are right in domain, each from several seeds. If they grok "
        "later, early stopping keeps a model that has learned the wrong rule.",
    ),
    "depth": Story(
        "Do deeper models find the rule of English more often?",
        "The same model with more and more layers. The published answer is an inverted U: too few layers do not "
        "suffice, too many hurt.",
    ),
    "dynamics": Story(
        "Can one see in a model's computation that it is about to find the rule?",
        "Numbers are taken from inside the models while they train. The published answer is the tree score: it is "
        "highest at the depth that generalizes, and other measures tell nothing.",
    ),
    "trainability": Story(
        "Can one tell before training how well a model will train?",
        "Two exponents are computed from the settings of a model alone, and compared with the loss that it reaches. "
        "The published answer is that they predict it.",
    ),
    "joint": Story(
        "Does a model's initialization decide which of the two rules it learns?",
        "Depth and initialization change together in published models. Here they are varied apart: the strength of the "
        "branches sets how near to collapse a model is at initialization, L·λ_a, at every depth.",
    ),
    "repair": Story(
        "Do deep models fail because they are deep, or because of their initialization?",
        "Deep models are nearer to collapse at initialization. Here they are trained as published, and with weaker "
        "branches that keep L·λ_a where a shallower model trains well.",
    ),
    "totals": Story(
        "Do the two exponents predict the loss when every setting varies?",
        "Depth and four strengths are drawn at random, and the exponents of all layers together compared with the loss "
        "reached.",
    ),
    "architectures": Story(
        "Can one tell before training which of today's architectures will train, and mend the others?",
        "Deep stacks as people use them, with their own initialization, and with stronger and weaker branches. What "
        "the theory and auxin check say of each initialization is compared with the loss reached.",
    ),
}  # fmt: skip

SCALES = {
    "minutes": "A trial of a few minutes: it shows that the machinery works, and decides nothing.",
    "laptop": "Small models, trained on a laptop.",
    "paper": "Models of the published sizes.",
}
