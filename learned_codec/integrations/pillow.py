"""`Image.open("x.lci")` and `image.save("x.lci", quality=60)` in Pillow.

    import learned_codec.integrations.pillow
    from PIL import Image

Importing this module registers the format, as Pillow has no entry points. Pictures of modes L, LA, RGB, RGBA and I;16
can be saved, with their colour profile, EXIF, XMP, texts and resolution; with `max_error=0` also those of modes 1 and
P. Rasters of one band of bool, int32 and float32 open as modes 1, I and F. Pillow has no modes for most others.
"""

from __future__ import annotations

import base64
import io
import warnings
from typing import IO, Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile, ImagePalette, PngImagePlugin

import learned_codec
from learned_codec.errors import CorruptDataError, InputWarning, InvalidInputError, MetadataLostWarning

FORMAT, MIME = "LCI", "image/x-lci"
MAGIC = b"\x89LCI"
FACTORS = (2, 4, 8, 16)
OPTIONS = ("quality", "bpp", "psnr", "max_error", "effort", "model", "nodata", "threads")
BESIDE = ("icc_profile", "exif", "dpi", "xmp", "comment")
"""Options that say what comes along with the pixels."""
_MODES = {("uint8", 1, False): "L", ("uint8", 1, True): "LA", ("uint8", 3, False): "RGB", ("uint8", 3, True): "RGBA",
          ("uint16", 1, False): "I;16", ("int32", 1, False): "I", ("float32", 1, False): "F",
          ("bool", 1, False): "1"}  # fmt: skip
_SAVED = {"L", "LA", "RGB", "RGBA", "I;16", "I;16B"}
_SAVED_EXACTLY = {"1", "P"}
_XMP = "XML:com.adobe.xmp"
"""The keyword of XMP in a PNG."""


class LciImageFile(ImageFile.ImageFile):
    """An LCI file as a Pillow image. Pixels are decoded when they are first needed; threads must not share it."""

    format = FORMAT
    format_description = "learned_codec image"

    # Also of copies and of images from other processes, which have their pixels.
    _scale = 1.0
    _data: bytes | None = None

    def _open(self) -> None:
        self._data = self.fp.read() if self.fp is not None else b""
        if not _accept(self._data):
            raise SyntaxError("not an LCI file")  # tells Pillow to try other plug-ins
        with learned_codec.open(self._data) as reader:
            kind = reader.dtype.name, reader.bands, reader.plane is not None
            if kind not in _MODES:
                raise InvalidInputError(
                    f"Pillow has no mode for {reader.bands} × {reader.dtype}; use learned_codec.decode"
                )
            self._mode, self._size = _MODES[kind], (reader.width, reader.height)
            metadata = reader.metadata
            if self._mode in ("L", "I;16") and reader.nodata is not None:
                self.info["transparency"] = int(reader.nodata)
        for key, name in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp")):
            if isinstance(metadata.get(key), str):
                self.info[name] = base64.b64decode(metadata[key])
        if "exif" in self.info:
            self.info["exif"] = b"Exif\0\0" + self.info["exif"]
        if isinstance(metadata.get("dpi"), list):
            self.info["dpi"] = tuple(metadata["dpi"])
        self.text = _texts(metadata)
        if self._mode == "L" and isinstance(metadata.get("colormap"), str):
            self._colour(base64.b64decode(metadata["colormap"]))
        self.tile = []

    def _colour(self, table: bytes) -> None:
        """Pixels are indices into a table of red, green, blue and opacity."""
        colours = np.frombuffer(table[: 4 * 256], np.uint8).reshape(-1, 4)
        self._mode, self.palette = "P", ImagePalette.raw("RGB", colours[:, :3].tobytes())
        if (colours[:, 3] < 255).any():
            self.info["transparency"] = colours[:, 3].tobytes()

    def verify(self) -> None:
        """Check the whole file without decoding it. Raises `CorruptDataError`."""
        if self._data is not None and not (report := learned_codec.check(self._data)).ok:
            raise CorruptDataError(report.message, tiles=report.damaged_tiles)
        super().verify()

    def draft(
        self,
        mode: str | None,  # noqa: ARG002 - Pillow's
        size: tuple[int, int] | None,
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Decode at 1/2 … 1/16 of the size: the smallest that is at least `size`. `thumbnail` calls this.

        Returns the mode, which never changes, and the box of the whole image; None if nothing changes.
        """
        if self._data is None or size is None or self._scale != 1:
            return None
        width, height = self.size
        factors = [factor for factor in FACTORS if factor * size[0] <= width and factor * size[1] <= height]
        if not factors:
            return None
        factor = max(factors)
        self._scale = 1 / factor
        self._size = -(-width // factor), -(-height // factor)
        return self.mode, (0, 0, width / factor, height / factor)

    def load(self) -> Any:
        """Decode the pixels. Raises the errors of `learned_codec.decode`."""
        if self._data is not None:
            with learned_codec.open(self._data) as reader:
                values = reader.read(scale=self._scale)
                if reader.plane is not None:
                    planes = values[..., None] if values.ndim == 2 else values
                    values = np.concatenate([planes, reader.read_plane(scale=self._scale)[..., None]], 2)
            self.im = Image.fromarray(np.ascontiguousarray(values)).im
            self._data = None
            if self.fp is not None and self._exclusive_fp:  # Pillow opened it
                self.fp.close()
                self.fp = None
        return super().load()


def save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:  # noqa: ARG001 - Pillow's
    """What `image.save("x.lci", …)` does; its options are those in `OPTIONS`, of `encode_file`.

    Raises `InvalidInputError` for other modes and for `lossless`, and the errors of `learned_codec.encode_file`. Warns
    (`InputWarning`) of options that it doesn't know, such as those of other formats, and (`MetadataLostWarning`) of
    frames other than the current one.
    """
    if not image.width * image.height:
        raise InvalidInputError(f"the picture has no pixels: {image.width} × {image.height}")
    if (count := _frames(image)) > 1:
        warnings.warn(f"only one of {count} frames is kept: save each to its own file", MetadataLostWarning, 3)
    options = {key: value for key, value in image.encoderinfo.items() if key in OPTIONS}
    if image.encoderinfo.get("lossless"):
        raise InvalidInputError("lossless is not an option of LCI files: pass max_error=0")
    if unknown := sorted(image.encoderinfo.keys() - {*OPTIONS, *BESIDE, "lossless"}):
        warnings.warn(f"options without a meaning for LCI files: {', '.join(unknown)}", InputWarning, stacklevel=3)
    exact = options.get("max_error") == 0
    if image.mode not in (_SAVED | _SAVED_EXACTLY if exact else _SAVED):
        lossless = ", or save it with max_error=0" if image.mode in _SAVED_EXACTLY else ""
        raise InvalidInputError(
            f"a picture of mode {image.mode}; modes L, LA, RGB, RGBA and I;16 are saved: convert it first, "
            f"such as by image.convert('RGB'){lossless}"
        )
    beside = {key: image.encoderinfo.get(key, image.info.get(key)) for key in ("icc_profile", "exif", "dpi")}
    stream = io.BytesIO()
    # `encode_file` keeps metadata, so the picture goes to it as a PNG, which can hold all of it.
    given = {key: value for key, value in beside.items() if value}
    image.save(stream, "PNG", compress_level=0, pnginfo=_png_texts(image), **given)
    learned_codec.encode_file(io.BytesIO(stream.getvalue()), cast(BinaryIO, file), **options)


def save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """What `image.save("x.lci", save_all=True)` does, as `save`. Raises `InvalidInputError` for several frames."""
    others = list(image.encoderinfo.pop("append_images", None) or ())
    count = _frames(image) + len(others)
    if count > 1:
        raise InvalidInputError(f"an LCI file has one picture, not {count} frames: save each to its own file")
    save(image, file, filename)


def _frames(image: Image.Image) -> int:
    """How many frames it has; one if it can't tell, as its file is closed."""
    try:
        return int(getattr(image, "n_frames", 1))
    except (OSError, ValueError):
        return 1


def _png_texts(image: Image.Image) -> PngImagePlugin.PngInfo:
    """The XMP and the texts of an image, for a PNG."""
    found = PngImagePlugin.PngInfo()
    xmp = image.encoderinfo.get("xmp", image.info.get("xmp"))
    texts = {key: str(text) for key, text in getattr(image, "text", {}).items() if key != _XMP}
    if comment := image.encoderinfo.get("comment", image.info.get("comment")):
        texts["Comment"] = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    for key, text in texts.items():
        found.add_text(key, text)
    if xmp := xmp or image.info.get(_XMP):
        found.add_itxt(_XMP, xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp))
    return found


def _texts(metadata: dict[str, Any]) -> dict[str, str]:
    """The texts of a picture by their keywords, from metadata that may be wrong."""
    listed = metadata.get("text")
    pairs = [pair for pair in listed if isinstance(pair, list) and len(pair) == 2] if isinstance(listed, list) else []
    return {key: text for key, text in pairs if isinstance(key, str) and isinstance(text, str)}


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


Image.register_open(FORMAT, LciImageFile, _accept)
Image.register_save(FORMAT, save)
Image.register_save_all(FORMAT, save_all)
Image.register_extension(FORMAT, ".lci")
Image.register_mime(FORMAT, MIME)
