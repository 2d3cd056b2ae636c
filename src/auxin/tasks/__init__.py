"""Tasks: splits, vocabulary, gold trees, and the scorer that knows what is right."""

from auxin.tasks.dials import Dials
from auxin.tasks.registry import load_task, register, task_names
from auxin.tasks.request import Request
from auxin.tasks.scorers import Answers, Brackets, Choices, Telling
from auxin.tasks.sentence import Annotation, Sentence, Structure
from auxin.tasks.task import Encoded, Task
from auxin.tasks.vocabulary import Vocabulary

__all__ = [
    "Annotation",
    "Answers",
    "Brackets",
    "Choices",
    "Dials",
    "Encoded",
    "Request",
    "Sentence",
    "Structure",
    "Task",
    "Telling",
    "Vocabulary",
    "load_task",
    "register",
    "task_names",
]
