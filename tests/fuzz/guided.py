"""Fuzzing that is led by coverage, with the same mutations and checks: `python -m tests.fuzz.guided --help`.

Needs `pip install atheris`. Every input that fails is kept in `regressions/`, and ends the run.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path


def guide(seconds: int, seed: int) -> None:
    """Run libFuzzer over the library; it ends the process."""
    import atheris

    parts = [
        f"learned_codec.{name}" for name in ("bitstream", "values", "tiling", "raster", "reader", "codec", "files")
    ]
    with atheris.instrument_imports(include=parts):  # whatever was imported before isn't
        from .__main__ import keep
        from .mutate import mutated
        from .seeds import seeds
        from .target import check
    good = seeds()

    def mutate(data: bytes, max_size: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.3:
            return atheris.Mutate(data, max_size)
        try:
            return mutated(data, rng, good)[1][:max_size]
        except Exception:  # noqa: BLE001 - what was mutated before needn't be a file any more
            return mutated(rng.choice(good), rng, good)[1][:max_size]

    def once(data: bytes) -> None:
        try:
            check(data)
        except BaseException:
            keep(data)
            raise

    corpus = Path(tempfile.mkdtemp())
    for number, data in enumerate(good):
        (corpus / str(number)).write_bytes(data)
    limits = [f"-max_total_time={seconds}", "-max_len=65536", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], str(corpus), f"-seed={seed + 1}", *limits], once, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    guide(options.seconds, options.seed)
