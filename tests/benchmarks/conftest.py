"""A registry that holds nothing but two toys."""

import pytest

pytest.importorskip("scipy")

from benchmarks import codecs
from tests.benchmarks.toys import Toy


@pytest.fixture
def toys(monkeypatch):
    """A registry with two toys, the worse one standing in for the anchor."""
    found = {"ours": Toy("ours", 1.0), "jpeg2000": Toy("jpeg2000", 1.3)}
    monkeypatch.setattr(codecs, "_build", lambda: found)
    Toy.calls.clear()
    return found
