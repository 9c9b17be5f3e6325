"""`.lci` files in imageio (version 3 of its interface).

import imageio.v3 as iio
from learned_codec.integrations.imageio import register

register()
image = iio.imread("x.lci")
iio.imwrite("y.lci", image, quality=60)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from imageio.config import extension_list, known_extensions, known_plugins
from imageio.config.extensions import FileExtension
from imageio.config.plugins import PluginConfig
from imageio.core.request import InitializationError, IOMode, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3
from numpy.typing import NDArray
from PIL import Image

import learned_codec
from learned_codec.errors import NotLCIError, OutOfBoundsError

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

        `options` are those of `learned_codec.decode`. An image decoded at another `scale` comes without its opacity.
        Raises `OutOfBoundsError`, an `IndexError`, for an index other than 0: there is one image.
        """
        if isinstance(index, int) and index not in (0, -1):
            raise OutOfBoundsError(f"an LCI file has one image, not one of index {index}")
        image = learned_codec.decode(self._data, **options)
        with learned_codec.open(self._data, errors=options.get("errors", "raise")) as reader:
            if reader.plane != "alpha" or image.shape[:2] != (reader.height, reader.width):
                return image
            opacity = reader.read_plane()
        return np.concatenate([image if image.ndim == 3 else image[..., None], opacity[..., None]], 2)

    def iter(self, **options: Any) -> Iterator[NDArray[Any]]:
        """Yield the only image."""
        yield self.read(**options)

    def write(self, ndimage: Any, **options: Any) -> bytes | None:
        """Encode an array. `options` are those of `learned_codec.encode`.

        As everywhere in imageio, the last of 2 or 4 bands of uint8 is opacity. It is kept exactly.
        """
        image = np.asarray(ndimage)
        opaque = image.ndim == 3 and image.dtype == np.uint8 and image.shape[2] in (2, 4)
        data = learned_codec.encode(Image.fromarray(image) if opaque else image, **options)
        self.request.get_file().write(data)
        return data if self.request.raw_uri == "<bytes>" else None

    def properties(self, index: Any = 0) -> ImageProperties:  # noqa: ARG002 - there is one image
        """Shape and dtype, from the header alone."""
        with learned_codec.open(self._data) as reader:
            shape = reader.shape
            if reader.plane == "alpha":
                shape = (reader.height, reader.width, reader.bands + 1)
            return ImageProperties(shape, reader.dtype)

    def metadata(self, index: Any = 0, exclude_applied: bool = True) -> dict[str, Any]:  # noqa: ARG002 - imageio's
        """The values of `learned_codec.inspect`."""
        return learned_codec.inspect(self._data).to_dict()
