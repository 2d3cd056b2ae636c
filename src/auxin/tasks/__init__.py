"""The tasks: question formation, tense reinflection and bounded Dyck strings, with gold trees."""

from auxin.tasks.sentence import Sentence, Structure
from auxin.tasks.task import Encoded, Task, load_task
from auxin.tasks.vocabulary import Vocabulary

__all__ = ["Encoded", "Sentence", "Structure", "Task", "Vocabulary", "load_task"]
