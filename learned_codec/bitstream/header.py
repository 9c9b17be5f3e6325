"""HEAD: the array's shape and dtype, the weights that code it, and its division into tiles."""

from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

from learned_codec.errors import CorruptDataError, InvalidInputError, TruncatedError
from learned_codec.limits import BLOCK, Limits

from . import varint

DType = Literal["uint8", "uint16", "int16", "float32", "int8", "bool", "uint32", "int32"]
Layout = Literal["HW", "HWC", "CHW"]

DTYPES: tuple[DType, ...] = get_args(DType)  # the index is the code in the file
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
MAX_SIDE = 2**31 - 1  # also the most bands
TILE_UNIT = 64  # pixels
WEIGHTS_ID_SIZE = 8  # bytes
LAPPINGS = 4  # strengths of the lapped filters
HAS_PARAMETERS = 0x80  # if this bit of a transform's code is set, parameters follow

# The format byte: the dtype in bits 0 to 2, the shape in bits 3 and 4, then three flags.
_DTYPE = 0b0000_0111
_SHAPE = 0b0001_1000
_HAS_TILES = 0b0010_0000
_HAS_TRANSFORM = 0b0100_0000
_HAS_ADAPTATION = 0b1000_0000
_HW, _RGB, _HWC, _CHW = 0, 1, 2, 3  # (H, W, 3) has a code of its own, which saves a byte


class TileBox(NamedTuple):
    """A tile's place in the image, in pixels; tiles at the right and lower edge may be smaller than the others."""

    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Everything that a decoder needs before the first tile.

    Attributes:
        width: in pixels, 1 to 2^31 - 1.
        height: in pixels, 1 to 2^31 - 1.
        bands: 1 to 2^31 - 1; 1 in layout "HW".
        dtype: that of the encoded array.
        layout: the axes of the encoded array: "HW", "HWC" or (planar) "CHW".
        weights_id: the first 8 bytes of the SHA-256 of the weights file. It alone names the model.
        quality_step: how finely latents are quantised; the model defines what a step is.
        lapping: how weak the lapped filters are, 0 to 3; 0: as strong as the model has them.
        tile_code: the side of a tile in units of 64 pixels, 1 to 255; 0: the whole image is one tile.
        transform: the code of the value transform, 0 to 255 (`learned_codec.values.transform`).
        parameters: the parameters of the transform; only if bit 7 of its code is set.
        adaptation: the model's adaptation to this image (see `payload`). It doesn't end with a zero byte.

    Raises:
        InvalidInputError: a field is out of its range.
    """

    width: int
    height: int
    bands: int = 3
    dtype: DType = "uint8"
    layout: Layout = "HWC"
    weights_id: bytes
    quality_step: int
    lapping: int = 0
    tile_code: int = 0
    transform: int = 0
    parameters: bytes = b""
    adaptation: bytes = b""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("width", 1, MAX_SIDE),
            ("height", 1, MAX_SIDE),
            ("bands", 1, MAX_SIDE),
            ("quality_step", 0, varint.MAX // LAPPINGS),
            ("lapping", 0, LAPPINGS - 1),
            ("tile_code", 0, 255),
            ("transform", 0, 255),
        ):
            if not low <= getattr(self, name) <= high:
                raise InvalidInputError(f"{name} must be from {low} to {high}, not {getattr(self, name)}")
        if self.dtype not in DTYPES or self.layout not in LAYOUTS:
            raise InvalidInputError(f"a {self.dtype!r} array of layout {self.layout!r} can't be described")
        if self.layout == "HW" and self.bands != 1:
            raise InvalidInputError(f"an array (H, W) has one band, not {self.bands}")
        if len(self.weights_id) != WEIGHTS_ID_SIZE:
            raise InvalidInputError(f"a weights id is {WEIGHTS_ID_SIZE} bytes, not {len(self.weights_id)}")
        if self.parameters and not self.transform & HAS_PARAMETERS:
            raise InvalidInputError(f"transform {self.transform} has no parameters, as its bit 7 isn't set")
        if self.adaptation.endswith(b"\0"):
            raise InvalidInputError("an adaptation's last byte must not be 0")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the encoded array."""
        if self.layout == "HW":
            return self.height, self.width
        if self.layout == "CHW":
            return self.bands, self.height, self.width
        return self.height, self.width, self.bands

    @property
    def pixels(self) -> int:
        """Height × width."""
        return self.height * self.width

    @property
    def padded_samples(self) -> int:
        """Height × width rounded up to whole blocks, × bands: the samples that a decoder computes."""
        return _padded(self.height, self.width) * self.bands

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of a tile that the image's edge doesn't cut. If the image is one tile, its own size."""
        side = self.tile_code * TILE_UNIT
        return (side, side) if side else (self.height, self.width)

    @property
    def tile_grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        height, width = self.tile_size
        return -(-self.height // height), -(-self.width // width)

    @property
    def tile_count(self) -> int:
        """How many tiles there are."""
        rows, cols = self.tile_grid
        return rows * cols

    def tile_box(self, index: int) -> TileBox:
        """The place of tile `index`. Tiles are counted row by row. Raises `IndexError` if there is no such tile."""
        if not 0 <= index < self.tile_count:
            raise IndexError(f"tile {index} of {self.tile_count}")
        height, width = self.tile_size
        tile_row, tile_col = divmod(index, self.tile_grid[1])
        row, col = tile_row * height, tile_col * width
        return TileBox(row, col, min(height, self.height - row), min(width, self.width - col))

    def validate(self, limits: Limits) -> None:
        """Raise `LimitError` if the image is larger than `limits` allow."""
        size = f"{self.width} × {self.height}"
        limits.check("max_pixels", self.pixels, f"an image of {size} pixels")
        limits.check("max_bands", self.bands, "bands")
        limits.check("max_samples", self.padded_samples, f"samples in an image of {size} pixels and {self.bands} bands")
        limits.check("max_tiles", self.tile_count, "tiles")
        tile = self.tile_box(0)
        padded, size = _padded(tile.height, tile.width), f"{tile.width} × {tile.height}"
        limits.check("max_tile_pixels", padded, f"a tile of {size} pixels")
        limits.check("max_tile_samples", padded * self.bands, f"a tile of {size} pixels and {self.bands} bands")
        limits.check_padding(self.pixels * self.bands, self.padded_samples)

    def to_bytes(self) -> bytes:
        """The payload of HEAD."""
        shape = {"HW": _HW, "HWC": _RGB if self.bands == 3 else _HWC, "CHW": _CHW}[self.layout]
        flags = (_HAS_TILES if self.tile_code else 0) | (_HAS_TRANSFORM if self.transform else 0)
        flags |= _HAS_ADAPTATION if self.adaptation else 0
        out = bytearray([DTYPES.index(self.dtype) | shape << 3 | flags])
        out += varint.encode(self.width - 1) + varint.encode(self.height - 1)
        if shape in (_HWC, _CHW):
            out += varint.encode(self.bands - 1)
        out += self.weights_id + varint.encode(LAPPINGS * self.quality_step + self.lapping)
        if self.tile_code:
            out.append(self.tile_code)
        if self.transform:
            out.append(self.transform)
        if self.transform & HAS_PARAMETERS:
            out += varint.encode(len(self.parameters)) + self.parameters
        if self.adaptation:
            out += varint.encode(len(self.adaptation)) + self.adaptation
        return bytes(out)

    @classmethod
    def from_bytes(cls, payload: bytes) -> "Header":
        """The header in the payload of HEAD.

        Raises:
            CorruptDataError: it is too short or too long, a field is out of range, or one should have been left out.
            UnsupportedVersionError: a reserved bit or value is used.
        """
        try:
            header = cls._parse(payload)
        except (InvalidInputError, TruncatedError, IndexError) as error:
            raise CorruptDataError(f"HEAD is invalid: {error}") from error
        # One header has one encoding: this finds trailing bytes, and fields that should have been left out.
        if header.to_bytes() != payload:
            raise CorruptDataError("HEAD is invalid: it isn't in its shortest form")
        return header

    @classmethod
    def _parse(cls, payload: bytes) -> "Header":
        form = payload[0]
        shape = (form & _SHAPE) >> 3
        width, at = varint.decode(payload, 1)
        height, at = varint.decode(payload, at)
        bands = {_HW: 0, _RGB: 2}.get(shape, -1)
        if bands < 0:
            bands, at = varint.decode(payload, at)
        weights_id = payload[at : at + WEIGHTS_ID_SIZE]
        quantisation, at = varint.decode(payload, at + WEIGHTS_ID_SIZE)
        quality_step, lapping = divmod(quantisation, LAPPINGS)
        tile_code = transform = 0
        parameters = adaptation = b""
        if form & _HAS_TILES:
            tile_code, at = payload[at], at + 1
        if form & _HAS_TRANSFORM:
            transform, at = payload[at], at + 1
        if transform & HAS_PARAMETERS:
            parameters, at = _counted(payload, at)
        if form & _HAS_ADAPTATION:
            adaptation, at = _counted(payload, at)
        return cls(
            width=width + 1,
            height=height + 1,
            bands=bands + 1,
            dtype=DTYPES[form & _DTYPE],
            layout={_HW: "HW", _CHW: "CHW"}.get(shape, "HWC"),  # type: ignore[arg-type] # the dict's values are str
            weights_id=weights_id,
            quality_step=quality_step,
            lapping=lapping,
            tile_code=tile_code,
            transform=transform,
            parameters=parameters,
            adaptation=adaptation,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; bytes become hexadecimal digits."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def _padded(height: int, width: int) -> int:
    """The pixels of a rectangle in whole blocks."""
    return -(-height // BLOCK) * BLOCK * (-(-width // BLOCK) * BLOCK)


def _counted(payload: bytes, at: int) -> tuple[bytes, int]:
    """The bytes after their number, and the position after them.

    If bytes are missing, the check for the shortest form fails.
    """
    length, at = varint.decode(payload, at)
    return payload[at : at + length], at + length
