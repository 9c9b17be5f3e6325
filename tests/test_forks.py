"""Processes that are forked after the codec was used, at rest or at work: nothing hangs, and all comes out the same."""

import gc
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import learned_codec
from learned_codec.caching import cached_property
from learned_codec.forks import gate
from learned_codec.models import registry
from learned_codec.models.engine import Input, Operations, Tensor
from learned_codec.models.engine.openvino import OpenVino

pytestmark = [
    pytest.mark.skipif("fork" not in get_all_start_methods(), reason="processes aren't forked here"),
    # Python 3.12 and later warn of what is tested here.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

PATIENCE = 120


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 120, (140, 200, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def coded(picture: np.ndarray) -> bytes:
    return learned_codec.encode(picture, tile_size=64)


def in_a_fork(function: Callable[[], Any]) -> Any:
    """What a function gives in a process that is forked now."""
    context = get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=lambda: there.send(function()), daemon=True)
    process.start()
    try:
        assert here.poll(PATIENCE), "it hangs"
        return here.recv()
    finally:
        process.kill()
        process.join()


def test_after_use(picture: np.ndarray, coded: bytes) -> None:
    whole = learned_codec.decode(coded)
    decoded, again = in_a_fork(lambda: (learned_codec.decode(coded), learned_codec.encode(picture, tile_size=64)))
    np.testing.assert_array_equal(decoded, whole)
    assert again == coded


def test_after_models_were_freed(coded: bytes) -> None:
    """OpenVINO keeps the threads of freed models to use them again; a new process doesn't have them."""
    whole = learned_codec.decode(coded)
    registry.forget()
    gc.collect()
    np.testing.assert_array_equal(in_a_fork(lambda: learned_codec.decode(coded)), whole)


def test_in_the_middle_of_use(coded: bytes) -> None:
    whole, stop = learned_codec.decode(coded), threading.Event()

    def work() -> None:
        while not stop.is_set():
            learned_codec.decode(coded)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            np.testing.assert_array_equal(in_a_fork(lambda: learned_codec.decode(coded)), whole)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_with_effort(picture: np.ndarray) -> None:
    part = picture[:64, :64]
    coded = learned_codec.encode(part, effort=1)
    assert in_a_fork(lambda: learned_codec.encode(part, effort=1)) == coded


def test_while_another_thread_encodes_with_effort(picture: np.ndarray, coded: bytes) -> None:
    whole, stop, calls = learned_codec.decode(coded), threading.Event(), threading.Semaphore(0)
    part = picture[:64, :64]
    optimised = learned_codec.encode(part, effort=1)

    def work() -> None:
        while not stop.is_set():
            learned_codec.encode(picture, effort=2, tile_size=64, progress=lambda *_: calls.release())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        calls.acquire()  # it is at work
        for _ in range(8):
            decoded, again = in_a_fork(lambda: (learned_codec.decode(coded), learned_codec.encode(part, effort=1)))
            np.testing.assert_array_equal(decoded, whole)
            assert again == optimised
    finally:
        stop.set()
        thread.join()


class Waiting:
    """Has a value that takes until an event."""

    def __init__(self, begun: threading.Event, end: threading.Event) -> None:
        self.begun, self.end = begun, end

    @cached_property
    def value(self) -> int:
        self.begun.set()
        self.end.wait()
        return 7


def test_while_another_thread_computes_a_cached_property() -> None:
    begun, end, over = threading.Event(), threading.Event(), threading.Event()
    over.set()
    slow = Waiting(begun, end)
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    try:
        begun.wait()
        assert in_a_fork(lambda: Waiting(threading.Event(), over).value) == 7
    finally:
        end.set()
        thread.join()
    assert slow.value == 7
    assert vars(slow)["value"] == 7


def test_threads_that_compute_a_cached_property_at_once_get_the_same_object() -> None:
    class Slow:
        meeting = threading.Barrier(2, timeout=20)

        @cached_property
        def value(self) -> object:
            self.meeting.wait()
            return object()

    slow = Slow()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: slow.value, range(2))
    assert first is second is slow.value


def test_no_cached_property_has_a_lock() -> None:
    for path in Path(learned_codec.__file__).parent.rglob("*.py"):
        assert not re.search(r"^from functools import .*cached_property", path.read_text("utf-8"), re.MULTILINE), path


FORKED_DURING_PRODUCTS = """
import os, sys, threading, warnings
import numpy as np
import learned_codec
from learned_codec.models.engine.numpy import build
from learned_codec.models.engine import probe

warnings.simplefilter("ignore")  # Python 3.12 and later warn of what is tried here
rng, stop = np.random.default_rng(0), threading.Event()
steep = np.linspace(0, 9000, 128 * 128 * 24).reshape(128, 128, 24) + rng.normal(0, 300, (128, 128, 24))
bands = steep.clip(0).astype(np.uint16)
holes = np.ma.masked_array(bands, rng.random(bands.shape) < 0.5)
coded = learned_codec.encode(bands)
calls = {
    "probe": lambda: (probe._case.cache_clear(), probe.sums_are_exact(build)),
    "encode": lambda: learned_codec.encode(bands),
    "holes": lambda: learned_codec.encode(holes),
    "decode": lambda: learned_codec.decode(coded),
    "bounded": lambda: learned_codec.encode(bands, max_error=20),
}

def work():
    while not stop.is_set():
        calls[sys.argv[1]]()

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(60):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
stop.set()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("call", ["probe", "encode", "holes", "decode", "bounded"])
def test_while_another_thread_computes_large_products(call: str) -> None:
    """A fork ends OpenBLAS's threads. With more than one thread, a product that they were at work on never ended."""
    several = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "4")
    command = [sys.executable, "-c", FORKED_DURING_PRODUCTS, call]
    assert subprocess.run(command, check=False, env=os.environ | several, timeout=PATIENCE).returncode == 0


@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_a_reader_has_a_file_of_its_own_in_each_process(coded: bytes, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.lci"
    path.write_bytes(coded)
    with learned_codec.open(path if kind == "path" else coded) as reader:
        expected = reader.read(window=(64, 64, 64, 64))

        def elsewhere() -> tuple[np.ndarray, int]:
            found = reader.read(window=(64, 64, 64, 64))
            return found, -1 if reader._file is None else os.fstat(reader._file.fileno()).st_ino

        before = None if reader._file is None else os.lseek(reader._file.fileno(), 0, os.SEEK_CUR)
        found, _ = in_a_fork(elsewhere)
        np.testing.assert_array_equal(found, expected)
        if reader._file is not None:
            assert os.lseek(reader._file.fileno(), 0, os.SEEK_CUR) == before
        np.testing.assert_array_equal(reader.read(window=(64, 64, 64, 64)), expected)


def test_threads_of_a_fork(coded: bytes) -> None:
    whole = learned_codec.decode(coded)
    np.testing.assert_array_equal(in_a_fork(lambda: (learned_codec.decode(coded), in_a_thread(coded))[1]), whole)


def in_a_thread(coded: bytes) -> np.ndarray:
    """Decoded beside the main thread, with a number of threads that nobody used before."""
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.append(learned_codec.decode(coded, threads=3)))
    thread.start()
    thread.join()
    return found[0]


def test_threads_of_a_fork_begin_on_a_network_at_the_same_time() -> None:
    """One of them begins with nothing compiled; the others don't begin again what it has compiled."""

    def network(ops: Operations, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [ops.pointwise(tensors[0], np.eye(4, dtype=np.float32))]

    programs: list[Any] = [OpenVino(1).build(network, [Input(4)], exact=True) for _ in range(20)]
    x = np.ones((4, 8, 8), np.float32)
    for program in programs:
        program(x)

    def elsewhere() -> list[int]:
        sys.setswitchinterval(1e-6)
        meeting = threading.Barrier(4, timeout=60)

        def work(_: int) -> list[int]:
            found = []
            for program in programs:
                meeting.wait()
                program.prepare(8, 8)
                np.testing.assert_array_equal(program(x)[0], x)
                found.append(id(program._compiled))
            return found

        with ThreadPoolExecutor(4) as pool:
            return [len(set(found)) for found in zip(*pool.map(work, range(4)), strict=True)]

    assert in_a_fork(elsewhere) == [1] * len(programs)


def test_subprocesses_are_not_kept_waiting(coded: bytes) -> None:
    """They are new programs, which have nothing to fear."""
    learned_codec.decode(coded)
    with gate().working():
        assert subprocess.run([sys.executable, "-c", ""], check=False, timeout=PATIENCE).returncode == 0
