"""Disks that are full, as far as the tests may have them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Inside the block, no file of this process can grow beyond `size`: what is too much fails as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class SmallDisk:
    """A mounted file system in memory, whose size can be set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mount("-t", "tmpfs", "-o", "size=4m", "tmpfs")

    def resize(self, pages: int) -> None:
        self._mount("-o", f"remount,size={pages * PAGE}")

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["/bin/mount", *arguments, str(self.folder)], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A `SmallDisk`, where the tests may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        disk = SmallDisk(folder)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems can't be mounted here")
    yield disk
    subprocess.run(["/bin/umount", str(folder)], check=True)
