"""For every test: one thread a process (pytest runs one process a core), and the same random examples every time.

``HYPOTHESIS_PROFILE=search`` looks for new failures instead: other examples every time, and many more.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from hypothesis import settings

settings.register_profile("auxin", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=3600)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "auxin"))
