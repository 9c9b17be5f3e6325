"""Arrays of all kinds handed to `encode`: what is valid stays valid, and what has no value stays so."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import learned_codec
from learned_codec.errors import InputWarning, InvalidInputError, MetadataLostWarning
from learned_codec.values.mask import rounded

FEW = settings(max_examples=20, deadline=None, derandomize=True)
VALUES = np.add.outer(np.arange(30), 2 * np.arange(20)).astype(np.float32)
HIDDEN = VALUES % 7 == 3


class Lazy:
    """An array of another library, which NumPy asks for its values."""

    def __init__(self, values: np.ndarray, **attributes: Any) -> None:
        self.values, self.attrs, self.shape = values, attributes, values.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values


class Covered(np.ndarray):
    """A kind of masked array that isn't NumPy's."""

    mask: Any = False


# -- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lazy", "list", "tuple", "half of a list"])
@pytest.mark.parametrize("dtype", ["float32", "uint16", "int16"])
def test_masked_arrays_stay_masked_inside_others(kind: str, dtype: str) -> None:
    one = np.ma.masked_array(VALUES.astype(dtype), HIDDEN)
    if kind == "lazy":
        image, hidden = Lazy(np.ma.stack([one, one])), np.stack([HIDDEN, HIDDEN])
    elif kind == "half of a list":
        image, hidden = [one, VALUES.astype(dtype)], np.stack([HIDDEN, HIDDEN & False])
    else:
        image, hidden = {"list": list, "tuple": tuple}[kind]([one, one]), np.stack([HIDDEN, HIDDEN])
    decoded = learned_codec.decode(learned_codec.encode(image, planar=True, max_error=0), masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), hidden)
    np.testing.assert_array_equal(decoded.data[~hidden], np.stack([VALUES, VALUES]).astype(dtype)[~hidden])


def test_masks_of_other_libraries_are_refused() -> None:
    covered = VALUES.view(Covered)
    learned_codec.encode(covered)  # nothing is masked
    covered.mask = HIDDEN
    with pytest.raises(InvalidInputError, match="Covered has a mask"):
        learned_codec.encode(covered)
    apart = Lazy(VALUES)
    apart.mask = HIDDEN  # type: ignore[attr-defined]
    with pytest.raises(InvalidInputError, match="Lazy has a mask"):
        learned_codec.encode(apart)


def test_a_mask_is_known_everywhere() -> None:
    learned_codec.encode(VALUES, mask=np.ma.masked_array(~HIDDEN, HIDDEN & False))
    with pytest.raises(InvalidInputError, match="itself masked"):
        learned_codec.encode(VALUES, mask=np.ma.masked_array(~HIDDEN, HIDDEN))


# -- attributes -------------------------------------------------------------------------------------------------------


@FEW
@given(
    name=st.sampled_from(["_FillValue", "missing_value"]),
    fill=st.integers(-3, 60),
    boxed=st.booleans(),
    scale=st.sampled_from([None, 1, 0.01]),
    offset=st.sampled_from([None, 0, np.float32(-5)]),
)
def test_attributes_of_other_libraries(name: str, fill: int, boxed: bool, scale: Any, offset: Any) -> None:
    """As HDF5 has them in NetCDF files, numbers are arrays of one."""
    values = VALUES.astype(np.int16)
    given = {name: np.int16(fill), "scale_factor": scale, "add_offset": offset}
    attributes = {key: np.array([value]) if boxed else value for key, value in given.items() if value is not None}
    with learned_codec.open(learned_codec.encode(Lazy(values, **attributes), max_error=0)) as reader:
        np.testing.assert_array_equal(np.ma.getmaskarray(reader.read(masked=True)), values == fill)
        assert (reader.nodata, reader.scales, reader.offsets) == (fill, (scale or 1,), (offset or 0,))


def test_what_is_said_precedes_attributes() -> None:
    data = learned_codec.encode(Lazy(VALUES, _FillValue=[1, 2]), nodata=5)
    assert learned_codec.inspect(data).nodata == 5
    with pytest.raises(InvalidInputError, match="scale_factor must be one number"):
        learned_codec.encode(Lazy(VALUES, scale_factor=[1, 2]))


def test_coordinates_are_named_in_a_warning() -> None:
    xarray = pytest.importorskip("xarray")
    array = xarray.DataArray(VALUES[None], dims=("band", "y", "x"), coords={"band": [1]})
    learned_codec.encode(array, planar=True)
    placed = array.assign_coords(x=np.arange(20.0), spatial_ref=0)
    with pytest.warns(MetadataLostWarning, match="the coordinates x, spatial_ref; .*to_lci keeps them") as caught:
        learned_codec.encode(placed, planar=True)
    assert caught[0].filename == __file__


# -- float64 ----------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    nodata=st.sampled_from([0.0, -9999.0, 0.1, 3.4028234663852886e38, -3.4028234663852886e38, 4294967295.0]),
    steps=st.integers(-3, 3),
    factor=st.sampled_from([1e-30, 1e-17, 2.0**-52, 2.0**-30, 2.0**-22]),
)
def test_no_value_becomes_nodata_by_rounding(nodata: float, steps: int, factor: float) -> None:
    value = nodata + steps * factor * (abs(nodata) or 1e-30)
    assume(abs(value) < 3.40282356e38)  # larger ones are refused
    single = np.float32(nodata)
    (found,) = rounded(np.array([value]), np.dtype(np.float32), nodata)
    assert (found == single) == (value in (nodata, float(single)))
    np.testing.assert_allclose(found, value, rtol=2.0**-22, atol=2e-45)


@pytest.mark.parametrize("nodata", [-1.7976931348623157e308, -3.4028234663852886e38, 1e300])
def test_nodata_of_float64_may_be_larger_than_float32(nodata: float) -> None:
    with pytest.warns(InputWarning, match="float64 is stored as float32") as caught:
        data = learned_codec.encode(np.where(HIDDEN, nodata, VALUES.astype(float)), nodata=nodata)
    assert caught[0].filename == __file__
    decoded = learned_codec.decode(data, masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), HIDDEN)


def test_float64_that_float32_would_lose_is_refused() -> None:
    small = VALUES.astype(float) * 1e-46
    with pytest.raises(InvalidInputError, match="has only smaller values"):
        learned_codec.encode(small)
    with pytest.raises(InvalidInputError, match="has only smaller values"):
        learned_codec.encode(np.where(HIDDEN, -9999, small), nodata=-9999)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1.7e9, -1e12])
def test_detail_that_float32_loses_is_told(offset: float, planar: bool) -> None:
    """Times in seconds, say, beside another band that float32 does hold."""
    bands = np.stack([VALUES, VALUES.astype(float) + offset])
    bands[1, 0, 0] = -9999
    image = bands if planar else bands.transpose(1, 2, 0)
    with pytest.warns(InputWarning, match="float64 is stored as float32") as caught:
        learned_codec.encode(image, planar=planar, nodata=-9999)
    told = "large beside the deviation of band 2" in str(caught[0].message)
    assert told == (abs(offset) > 1e6)


@pytest.mark.parametrize("factor", [1e-300, 1e-46, 1e-40, 1.0])
def test_a_band_that_float32_loses_is_told(factor: float) -> None:
    bands = np.stack([VALUES.astype(float), (VALUES.astype(float) + 1) * factor])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learned_codec.encode(bands, planar=True)
    assert ("band 2 has only smaller values" in str(caught[0].message)) == (factor < 1)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    hidden=st.sampled_from([1e300, -1e39, 1.7976931348623157e308, np.inf, np.nan, -9999.0, 3.3e38]),
    bands=st.integers(1, 3),
    planar=st.booleans(),
    masked=st.booleans(),
    nodata=st.sampled_from([None, -9999.0]),
)
def test_what_a_mask_hides_need_not_fit_float32(
    hidden: float, bands: int, planar: bool, masked: bool, nodata: float | None
) -> None:
    plain = np.stack([VALUES.astype(float)] * bands)
    values = np.where(HIDDEN, hidden, plain)
    (image, mask) = (values, np.broadcast_to(HIDDEN, values.shape))
    if not planar:
        image, mask = (x.transpose(1, 2, 0) for x in (image, mask))
    given_mask = {} if masked else {"mask": ~HIDDEN}
    with pytest.warns(InputWarning, match="float64 is stored as float32$"):
        data = learned_codec.encode(
            np.ma.masked_array(image, mask) if masked else image, planar=planar, nodata=nodata, **given_mask
        )
    decoded = learned_codec.decode(data, masked=True)
    np.testing.assert_array_equal(np.ma.getmaskarray(decoded), mask)
    assert np.abs(decoded - (plain if planar else plain.transpose(1, 2, 0))).max() < 0.5 * VALUES.std()


def test_true_is_no_number() -> None:
    with pytest.raises(InvalidInputError, match="nodata must be a number, not True"):
        learned_codec.encode(VALUES, nodata=True)
    data = learned_codec.encode(VALUES)
    with learned_codec.open(data) as reader, pytest.raises(InvalidInputError, match="fill_value"):
        reader.read(window=(-1, 0, 3, 3), boundless=True, fill_value=True)


# -- what looks like an array -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_lists_of_pillow_images_are_refused(mode: str) -> None:
    """The values of a palette picture, above all, aren't what they seem."""
    image = pytest.importorskip("PIL.Image").new(mode, (20, 30))
    with pytest.raises(InvalidInputError, match="one by one"):
        learned_codec.encode([image, image], planar=True, max_error=0)


def test_open_files_keep_what_they_have_or_it_is_told() -> None:
    values = VALUES.astype(np.int16)
    with learned_codec.open(learned_codec.encode(values, nodata=7, max_error=0)) as reader:
        again = learned_codec.decode(learned_codec.encode(reader, max_error=0), masked=True)
        np.testing.assert_array_equal(np.ma.getmaskarray(again), values == 7)
        np.testing.assert_array_equal(again.data, values)
    with learned_codec.open(learned_codec.encode(values, mask=~HIDDEN)) as reader:
        with pytest.raises(InvalidInputError, match="has a mask beside its bands"):
            learned_codec.encode(reader)
        learned_codec.encode(reader.read(), mask=reader.read_plane() > 0)
    with learned_codec.open(learned_codec.encode(values, metadata={"mine": 1})) as reader:
        with pytest.warns(MetadataLostWarning, match="not kept of the file: mine") as caught:
            learned_codec.encode(reader)
        assert caught[0].filename == __file__
