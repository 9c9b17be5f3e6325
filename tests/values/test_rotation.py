"""Rotations of colours as three small integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learned_codec.bitstream import Header
from learned_codec.errors import CorruptDataError, UnsupportedVersionError
from learned_codec.values.rotation import ONE, matrix_of, vector_of
from learned_codec.values.transform import PLAIN, ValueTransform

VECTORS = st.tuples(*[st.integers(-ONE, ONE)] * 3).filter(lambda v: sum(x * x for x in v) <= ONE**2)


@given(VECTORS)
def test_each_vector_is_a_rotation_that_leads_back_to_it(vector: tuple[int, int, int]) -> None:
    matrix = matrix_of(vector)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) > 0
    np.testing.assert_allclose(matrix_of(vector_of(matrix)), matrix, atol=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_the_integers_are_near_any_rotation(quaternion: list[float]) -> None:
    w, *vector = np.array(quaternion) / np.linalg.norm(quaternion) * (1 if quaternion[0] >= 0 else -1)
    cross = np.cross(np.eye(3), vector).T
    matrix = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    # A half turn is the worst: its w is 0, which must be the rest of a root.
    assert np.abs(matrix_of(vector_of(matrix)) - matrix).max() < (0.06 if w > 0.3 else 0.3)


def test_a_vector_of_more_than_one_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 127"):
        matrix_of((127, 2, 0))
    parameters = bytes([127, 2, 0])
    header = Header(width=64, height=64, weights_id=bytes(8), quality_step=0, transform=132, parameters=parameters)
    with pytest.raises(CorruptDataError, match="longer than 127"):
        ValueTransform.of_header(header, 3)


@given(VECTORS, st.booleans())
def test_headers_hold_rotations(vector: tuple[int, int, int], narrow: bool) -> None:
    bounds = np.array([[3, 4, 5], [100, 90, 200]], np.uint8) if narrow else None
    transform = ValueTransform(PLAIN, np.dtype(np.uint8), 3, rotation=vector, bounds=bounds)
    code, parameters = transform.in_header()
    header = Header(width=64, height=64, weights_id=bytes(8), quality_step=0, transform=code, parameters=parameters)
    found = ValueTransform.of_header(header, 3)
    assert found.rotation == vector
    np.testing.assert_equal(found.bounds, bounds)


@given(VECTORS, st.integers(0, 2**32 - 1))
def test_rotated_colours_come_back(vector: tuple[int, int, int], seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (3, 5, 7), np.uint8)
    transform = ValueTransform(PLAIN, np.dtype(np.uint8), 3, rotation=vector)
    planes = transform.to_model(values, None, 3)
    np.testing.assert_array_equal(transform.from_model(planes), values)
    assert np.square(planes - 0.5).sum() == pytest.approx(np.square(values / 255 - 0.5).sum(), rel=1e-4)


@pytest.mark.parametrize("fields", [{"bands": 1}, {"bands": 4}, {"bands": 3, "dtype": "uint16"}])
def test_other_images_are_refused(fields: dict[str, object]) -> None:
    header = Header(
        width=64, height=64, weights_id=bytes(8), quality_step=0, transform=132, parameters=bytes(3), **fields
    )
    for model_bands in (1, 3):
        with pytest.raises(UnsupportedVersionError):
            ValueTransform.of_header(header, model_bands)


@given(
    VECTORS,
    st.one_of(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.sampled_from([(1, 40000), (300, 257), (40000, 1)])),
    st.integers(0, 2**32 - 1),
)
def test_bytes_are_those_of_the_format(vector: tuple[int, int, int], size: tuple[int, int], seed: int) -> None:
    planes = np.random.default_rng(seed).uniform(-0.2, 1.2, (3, *size)).astype(np.float32)
    transform = ValueTransform(PLAIN, np.dtype(np.uint8), 3, rotation=vector)
    found = transform.from_model(planes)
    levels = 255 * (np.tensordot(matrix_of(vector).T, planes.astype(np.float64) - 0.5, 1) + 0.5)
    assert np.abs(found - levels.clip(0, 255)).max() < 0.5001
