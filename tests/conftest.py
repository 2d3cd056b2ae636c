"""For every test: one thread a process (pytest runs one process a core), and no deadline on a busy machine."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("auxin", deadline=None)
settings.load_profile("auxin")
