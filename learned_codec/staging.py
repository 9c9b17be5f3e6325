"""The place of a file until it is whole: a hidden folder beside its destination, from which it is renamed.

    FOLDER/.learned-codec-HOST-USER.part/TOKEN/content
    FOLDER/.learned-codec-HOST-USER.part/TOKEN/lock

A writing process holds a lock on `lock`. The system releases it however the process ends. So the next process that
writes into FOLDER can find and remove what killed processes left. Hidden names don't contain the file's name, which may
be as long as the file system allows.

On some network file systems, locks don't reach other hosts, so each host removes only its own files. Windows has no
such locks: there, files of killed processes stay.
"""

import atexit
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """The path of a new empty file. If it still exists after the block, it is removed. Raises `OSError`."""
    staging = folder / _name()
    _remove_abandoned(staging)
    places: list[Path] = []
    # A signal handler may raise anywhere, even in the lines that clean up. Then the end of the program does it.
    remove = partial(_remove, places, os.getpid())
    atexit.register(remove)
    lock = None
    try:
        lock = _claim(staging, places)
        content = places[-1] / "content"
        # The usual mode: `tempfile` would leave the file readable to its owner alone.
        os.close(os.open(content, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield content
    finally:
        remove()
        if lock is not None:
            os.close(lock)
        atexit.unregister(remove)


def _name() -> str:
    if sys.platform == "win32":
        return ".learned-codec.part"
    return f".learned-codec-{os.uname().nodename}-{os.getuid()}.part"


def _claim(staging: Path, places: list[Path]) -> int:
    """Make a folder in `staging`. Returns the lock that is held on it.

    Each folder is appended to `places` before it is made; the last one is the locked one.
    """
    while True:
        place = staging / secrets.token_hex(8)
        places.append(place)
        with suppress(FileExistsError):
            staging.mkdir()
        try:
            place.mkdir()
            lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:  # another process removed it before it was locked
            continue
        if _hold(lock) and (place / "lock").exists():
            return lock
        os.close(lock)


def _remove(places: list[Path], owner: int) -> None:
    """Remove the folders, unless this is a fork of the process `owner` that made them."""
    if os.getpid() != owner:
        return
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
        with suppress(OSError):  # other processes use the folder
            place.parent.rmdir()


def _hold(lock: int) -> bool:
    """Lock the file, unless another process has locked it.

    Without locks the result is true: then nothing is removed either.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _remove_abandoned(staging: Path) -> None:
    if sys.platform == "win32":
        return
    with suppress(OSError):
        for place in staging.iterdir():
            with suppress(OSError):
                _remove_if_abandoned(place)


def _remove_if_abandoned(place: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        lock = os.open(place / "lock", os.O_RDWR)
    except FileNotFoundError:
        place.rmdir()  # the process that made it was killed at once, or makes another one
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where a living process holds it
        shutil.rmtree(place)
    finally:
        os.close(lock)
