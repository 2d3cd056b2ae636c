"""A process that trains one run after another: jobs come as JSON lines on stdin, results leave by a descriptor.

``python -m auxin.lab.worker THREADS DESCRIPTOR``. The end of its input means: finish the step, save, and go. So a
worker never outlives the process that started it, however that one ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from queue import SimpleQueue
from typing import Any, Literal, TextIO

import torch

from auxin.config import RunConfig
from auxin.errors import AuxinError, Interrupted
from auxin.experiment.train import train
from auxin.files import Busy
from auxin.runs.store import is_held
from auxin.values import from_dict


def train_one(config: RunConfig, path: str) -> tuple[Literal["finished", "failed", "stopped", "again"], str]:
    """Train a run; how it ended, and for a failure why in one line. Only a kill or a Ctrl-C gets out of here.

    ``again``: another process is at it.
    """
    try:
        if is_held(path):
            return "again", ""
        train(config, path)
    except Busy:  # it has just begun
        return "again", ""
    except Interrupted as error:
        return "stopped", str(error)
    except AuxinError as error:
        return "failed", str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever it is, a library's panic too, the study's other runs must go on
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}".splitlines()[0]
    return "finished", ""


def serve(threads: int, results: TextIO) -> None:
    """Train what comes in until the input ends."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # except inside a run, which saves and stops
    jobs: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while (job := jobs.get()) is not None:
        since = time.monotonic()
        status, detail = train_one(from_dict(RunConfig, job["config"]), job["path"])
        result = {"status": status, "detail": detail, "seconds": time.monotonic() - since}
        results.write(json.dumps(result) + "\n")
        results.flush()


def _listen(jobs: SimpleQueue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    jobs.put(None)
    while True:  # again and again: a run that is still loading its data does not hear the first
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[2]), "w") as out:
        serve(int(sys.argv[1]), out)
