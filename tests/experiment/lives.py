"""Trains a run in one life after another: ``python -m experiment.lives PATH CONFIG SEED LIVES``.

Lives are forks of a process that has only imported, so that one takes a tenth of a second. A life ends killed at
an operation on the disk, or half-way through a write; killed at a moment after one; or with a disk that is full
from one on. Prints how many ended how.
"""

import json
import os
import random
import signal
import sys
from collections import Counter

from auxin.config import RunConfig
from auxin.errors import RunError
from auxin.experiment.train import settled, train
from auxin.measures.accuracy import Evaluator
from auxin.tasks import load_task
from auxin.training.loop import Trainer
from auxin.values import from_json
from runs.faults import At, fill_disk, in_child, kill, watched

OPERATIONS = 60  # of a life, at most; a checkpoint takes 38, and the run must not be over too soon
SECONDS = 0.005
KINDS = ("killed", "killed at a moment", "killed", "killed at a moment", "disk full")
DISK_FULL = 3  # the exit status


def kill_at_a_moment(moments: random.Random) -> None:
    """As SIGKILL does, a little later, whatever the process is doing then; without another process to do it."""
    if signal.getitimer(signal.ITIMER_REAL)[0] == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-4, SECONDS))


def live(config: RunConfig, path: str, kind: str, moments: random.Random) -> None:
    acts = {"killed": kill, "killed at a moment": lambda _: kill_at_a_moment(moments), "disk full": fill_disk}
    try:
        with watched(At(moments.randrange(OPERATIONS), acts[kind])):
            train(config, path)
    except RunError as error:
        if "No space left on device" in str(error):
            os._exit(DISK_FULL)
        raise


def import_everything(config: RunConfig) -> None:
    """What training imports when it begins; nothing is differentiated, which a fork must not inherit."""
    task = load_task(config.task, data_dir=config.data_dir)
    trainer = Trainer(
        settled(config, task), [next(t for t in task.encoded("train") if len(t) > 9)[:9]] * config.batch_size
    )
    Evaluator(task, "val")(trainer.ensemble.member(0))


def main(path: str, text: str, seed: str, lives: str) -> None:
    config, moments = from_json(RunConfig, text), random.Random(int(seed))
    import_everything(config)
    ends: Counter[str] = Counter()
    for index in range(int(lives)):
        kind = KINDS[index % len(KINDS)]
        moment = random.Random(moments.random())
        status = in_child(lambda: live(config, path, kind, moment))  # noqa: B023
        assert status in (DISK_FULL, -signal.SIGKILL, -signal.SIGALRM, 0)
        ends[kind if status else "finished"] += 1
    print(json.dumps(ends))


main(*sys.argv[1:])
