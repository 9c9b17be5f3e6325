"""`.lci` files in imageio (version 3 of its interface).

import imageio.v3 as iio
from learned_codec.integrations.imageio import register

register()
image = iio.imread("x.lci")
iio.imwrite("y.lci", image, quality=60)
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from imageio.config import extension_list, known_extensions, known_plugins
from imageio.config.extensions import FileExtension
from imageio.config.plugins import PluginConfig
from imageio.core.request import InitializationError, IOMode, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3
from numpy.typing import NDArray
from PIL import Image

import learned_codec
from learned_codec.errors import InvalidInputError, NotLCIError, OutOfBoundsError

NAME = "LCI"


def register() -> None:
    """Register this plug-in for `.lci` with imageio, once in each process. A second call changes nothing."""
    known_plugins[NAME] = PluginConfig(NAME, "LciPlugin", __name__)
    extension = FileExtension(name="learned_codec image", extension=".lci", priority=[NAME])
    if ".lci" not in known_extensions:
        extension_list.append(extension)
        known_extensions[".lci"] = [extension]


class LciPlugin(PluginV3):
    """Reads and writes `.lci` files of one image."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._data = b""
        if request.mode.io_mode == IOMode.read:
            self._data = request.get_file().read()
            try:
                learned_codec.inspect(self._data)
            except NotLCIError as error:  # tells imageio to try other plug-ins
                raise InitializationError(str(error)) from None

    def read(self, *, index: Any = 0, **options: Any) -> NDArray[Any]:
        """Decode the image, with its opacity, if it has one, as the last band.

        `options` are those of `learned_codec.decode`. An image decoded at another `scale` comes without its opacity. An
        `index` of ... gives all images: an array of one.

        Raises `OutOfBoundsError`, an `IndexError`, for an index other than 0: there is one image.
        """
        _check_index(index)
        image = self._read(options)
        return image[None] if index is ... else image

    def _read(self, options: dict[str, Any]) -> NDArray[Any]:
        image = learned_codec.decode(self._data, **options)
        with learned_codec.open(self._data, errors=options.get("errors", "raise")) as reader:
            if reader.plane != "alpha" or image.shape[:2] != (reader.height, reader.width):
                return image
            opacity = reader.read_plane()
        join = np.ma.concatenate if isinstance(image, np.ma.MaskedArray) else np.concatenate
        found: NDArray[Any] = join([image if image.ndim == 3 else image[..., None], opacity[..., None]], 2)
        return found

    def iter(self, **options: Any) -> Iterator[NDArray[Any]]:
        """Yield the only image."""
        yield self.read(**options)

    def write(self, ndimage: Any, *, is_batch: bool = False, **options: Any) -> bytes | None:
        """Encode an array, or the only one of a list or a batch. `options` are those of `learned_codec.encode`.

        As everywhere in imageio, the last of 2 or 4 bands of uint8 or uint16 is opacity. It is kept exactly. For
        uint16, `options` are those of `learned_codec.encode_file`.

        Raises `InvalidInputError` for several images.
        """
        if is_batch or isinstance(ndimage, list):
            if len(ndimage) != 1:
                raise InvalidInputError(f"an LCI file has one image, not {len(ndimage)}: write each to its own file")
            ndimage = ndimage[0]
        image = np.asarray(ndimage)
        opaque = image.ndim == 3 and image.shape[2] in (2, 4)
        if opaque and image.dtype.newbyteorder("=") == np.uint16:
            stream = io.BytesIO()
            learned_codec.encode_file(_Picture(image.astype(np.uint16, copy=False)), stream, **options)
            data = stream.getvalue()
        else:
            picture = Image.fromarray(image) if opaque and image.dtype == np.uint8 else image
            data = learned_codec.encode(picture, **options)
        self.request.get_file().write(data)
        return data if self.request.raw_uri == "<bytes>" else None

    def properties(self, index: Any = 0) -> ImageProperties:
        """Shape and dtype, from the header alone. Raises `OutOfBoundsError` as `read` does."""
        _check_index(index)
        with learned_codec.open(self._data) as reader:
            shape = reader.shape
            if reader.plane == "alpha":
                shape = (reader.height, reader.width, reader.bands + 1)
            if index is ...:
                return ImageProperties((1, *shape), reader.dtype, n_images=1, is_batch=True)
            return ImageProperties(shape, reader.dtype)

    def metadata(self, index: Any = 0, exclude_applied: bool = True) -> dict[str, Any]:  # noqa: ARG002 - imageio's
        """The values of `learned_codec.inspect`. Raises `OutOfBoundsError` as `read` does."""
        _check_index(index)
        return learned_codec.inspect(self._data).to_dict()


def _check_index(index: Any) -> None:
    if index is not None and index is not ... and index not in (0, -1):
        raise OutOfBoundsError(f"an LCI file has one image, not one of index {index}")


class _Picture:
    """A `PixelSource` over an array (H, W, bands), of which the last band is opacity."""

    def __init__(self, image: NDArray[Any]) -> None:
        self.plane: Literal["mask", "alpha"] | None = "alpha"
        self.nodata: float | None = None
        self.unit: Literal["power", "amplitude", "db"] | None = None
        self._planes, self.dtype = np.moveaxis(image, 2, 0), image.dtype
        self.height, self.width, self.bands = image.shape[0], image.shape[1], image.shape[2] - 1
        self.metadata: dict[str, Any] = {}

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(bands, h, w) values."""
        return np.ascontiguousarray(self._planes[:-1, rows, columns])

    def read_plane(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(h, w) values of the opacity."""
        return np.ascontiguousarray(self._planes[-1, rows, columns])
