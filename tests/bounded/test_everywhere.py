"""Whatever instructions and threads a machine has, files with a bounded error decode to the same values."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent.parent / "golden" / "bounded"

DECODE = """
import hashlib, sys
from pathlib import Path
import learned_codec
from learned_codec import selftest
assert all(ok for name, ok in selftest.run_bounded())
found = hashlib.sha256()
for path in sorted(Path(sys.argv[1]).glob("*.lci")):
    found.update(learned_codec.decode(path, threads=int(sys.argv[2])).tobytes())
print(found.hexdigest())
"""


def digest(threads: int, **environment: str) -> str:
    """The digest of all golden files, decoded in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", DECODE, str(GOLDEN), str(threads)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def expected() -> str:
    return digest(1)


def dispatched() -> list[str]:
    """The instruction sets beyond its baseline that NumPy uses here."""
    if hasattr(np, "_core"):
        from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    else:
        from numpy.core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    return [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]


def test_numpy_without_its_faster_instructions(expected: str) -> None:
    if not dispatched():
        pytest.skip("NumPy uses no instructions here that can be switched off")
    assert digest(1, NPY_DISABLE_CPU_FEATURES=" ".join(dispatched())) == expected


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are kernels for x86-64")
@pytest.mark.parametrize("kernels", ["Prescott", "Haswell"])
def test_matrix_products_with_other_instructions(expected: str, kernels: str) -> None:
    assert digest(1, OPENBLAS_CORETYPE=kernels) == expected


def test_several_threads(expected: str) -> None:
    assert digest(4, OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="3") == expected
