"""What auxin.transfer says of sound set-ups and of slips: python benchmarks/transfer.py [--sound 100] [--slips 40].

Set-ups drawn at random (tests/probes/recipes.py): μP over width, CompleteP over depth, with AdamW. A slip is named
where the first finding is about the quantity that it is in.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import auxin

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from probes.recipes import slipped, sound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, default in (("sound", 100), ("slips", 40), ("first", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--large", action="store_true", help="time the default widths and depths once")
    options = parser.parse_args()
    sizes = {"widths": (32, 64, 128), "depths": (2, 4, 8)}
    flagged = 0
    for seed in range(options.first, options.first + options.sound):
        report = auxin.transfer(sound(seed).build, **sizes)
        flagged += not report.ok
        for slope in report.findings:
            print(f"sound {seed}: {slope.sentence}", flush=True)
    print(f"{flagged} of {options.sound} sound set-ups were flagged")
    named = Counter[str]()
    for seed in range(options.first, options.first + options.slips):
        setup, quantity = slipped(seed)
        found = [slope.quantity for slope in auxin.transfer(setup.build, **sizes).findings]
        named[quantity] += found[:1] == [quantity]
        if found[:1] != [quantity]:
            print(f"slip {seed}: {quantity} is not the first of {found}", flush=True)
    print(f"{named.total()} of {options.slips} slips were named: {dict(named)}")
    if options.large:
        begun = time.perf_counter(), time.process_time()
        report = auxin.transfer(sound(1).build)
        seconds = time.perf_counter() - begun[0], time.process_time() - begun[1]
        print(f"{report}\nwidths 64 to 512, depths 2 to 32: {seconds[0]:.0f} s, {seconds[1]:.0f} s of a core")


if __name__ == "__main__":
    main()
