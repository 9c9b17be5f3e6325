"""Fuzz: `python -m tests.fuzz --seconds 60 --seed 0`.

Every input that fails is kept in `regressions/`, where the tests find it from then on. `--bound N` stops after N files.
`python -m tests.fuzz.guided` is led by coverage.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path

from .mutate import mutated
from .seeds import seeds
from .target import check

REGRESSIONS = Path(__file__).parent / "regressions"


def run(seconds: float, seed: int, bound: int | None = None) -> tuple[Counter[tuple[str, str]], list[Path]]:
    """How many files of each kind had which outcome, and the files that failed. The same for the same seed."""
    rng, good, outcomes, failed = random.Random(seed), seeds(), Counter(), []
    start = time.monotonic()
    while time.monotonic() - start < seconds and (bound is None or outcomes.total() < bound):
        kind, data = mutated(rng.choice(good), rng, good)
        try:
            outcomes[kind, check(data)] += 1
        except Exception:  # noqa: BLE001 - this is what is looked for
            outcomes[kind, "FAILED"] += 1
            failed.append(keep(data))
            traceback.print_exc()
    return outcomes, failed


def keep(data: bytes) -> Path:
    """Write a file that failed, named by its contents."""
    path = REGRESSIONS / f"{zlib.crc32(data):08x}.lci"
    path.write_bytes(data)
    return path


def table(outcomes: Counter[tuple[str, str]]) -> str:
    """Outcomes by kind, as Markdown. Errors are named without the "Error"."""
    names = sorted({outcome for _, outcome in outcomes})
    rows = [["changed", *(name.removesuffix("Error") for name in names)], ["---"] + ["--:"] * len(names)]
    rows += [
        [kind, *(f"{outcomes[kind, name]:,}" for name in names)] for kind in sorted({kind for kind, _ in outcomes})
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bound", type=int)
    options = parser.parse_args()
    outcomes, failed = run(options.seconds, options.seed, options.bound)
    print(table(outcomes))
    print(f"{outcomes.total():,} files, seed {options.seed}; failed: {', '.join(map(str, failed)) or 'none'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
