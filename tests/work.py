"""What tests of `jobs` have done in processes of their own: light, and importable there."""

import os
import signal
import sys
import time
from pathlib import Path

from learned_codec.atomic import atomic_path
from learned_codec.errors import CorruptDataError


def square(x: int) -> tuple[int, int]:
    return x * x, os.getpid()


def trouble(x: int) -> int:
    """Does well for even numbers alone."""
    match x:
        case 1:
            raise CorruptDataError("damaged", tiles=(3,))
        case 3:
            raise KeyError("nobody thought of it")
        case 5:
            os.kill(os.getpid(), signal.SIGKILL)
        case 7:
            sys.exit(4)
    return x


def blocked(_: int) -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def slow_file(path: str) -> None:
    """Is at it for a minute; says so in a file beside it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        Path(f"{path}.pid").write_text(str(os.getpid()))
        time.sleep(60)
