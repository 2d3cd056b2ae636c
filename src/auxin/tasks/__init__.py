"""Tasks: splits, vocabulary, gold trees, and the scorer that knows what is right."""

from auxin.tasks.registry import load_task
from auxin.tasks.sentence import Annotation, Answers, Brackets, Choices, Contrast, Sentence, Structure
from auxin.tasks.task import DataSource, Dials, Task
from auxin.tasks.vocabulary import Vocabulary

__all__ = [
    "Annotation",
    "Answers",
    "Brackets",
    "Choices",
    "Contrast",
    "DataSource",
    "Dials",
    "Sentence",
    "Structure",
    "Task",
    "Vocabulary",
    "load_task",
]
