"""Files in, files out: what joins picture files, the codec and the file system.

    learned_codec.encode_file("photo.png", "photo.lci", quality=60)
    learned_codec.decode_file("photo.lci", "photo.png")

A destination appears whole or not at all, and an existing one is only replaced where `overwrite=True` says so. Sources
and destinations may be binary file objects, such as `sys.stdin.buffer`; those get nothing before there is everything,
and aren't closed.
"""

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from learned_codec.errors import FileError, LearnedCodecError

if TYPE_CHECKING:
    from learned_codec.codec import Info

Source: TypeAlias = str | os.PathLike[str] | BinaryIO
Destination: TypeAlias = str | os.PathLike[str] | BinaryIO


def encode_file(src: Source, dst: Destination, *, overwrite: bool = False, **options: Any) -> "Info":
    """Encode a picture file.

    Args:
        src: a PNG, JPEG, WebP, AVIF, TIFF … of 8-bit grey or RGB (see `learned_codec.raster.images`).
        dst: where the LCI file goes.
        overwrite: replace an existing destination.
        options: as for `encode`.

    Returns:
        What `inspect` says of the file.

    Raises:
        FileError: something can't be read or written, or the destination exists.
        InvalidInputError: the source isn't a picture that can be coded without converting it.
    """
    from learned_codec import codec
    from learned_codec.raster.images import read_image

    with atomic_write(dst, overwrite=overwrite) as stream:  # first: a refusal should come before the work
        data = codec.encode(read_image(Path(src) if isinstance(src, os.PathLike) else src), **options)
        stream.write(data)
    return codec.inspect(data)


def decode_file(
    src: Source, dst: Destination, *, overwrite: bool = False, format: str | None = None, **options: Any
) -> None:
    """Decode an LCI file into a picture file.

    Args:
        src: the LCI file.
        dst: where the picture goes; its extension chooses the format.
        overwrite: replace an existing destination.
        format: the format ("png", "tif", …) where the extension shouldn't choose; "png" if `dst` is a file object.
        options: as for `decode`.

    Raises:
        FileError: something can't be read or written, or the destination exists.
        BitstreamError: the source isn't an LCI file, or is damaged.
        InvalidInputError: no picture of that format can be written.
    """
    from learned_codec import codec
    from learned_codec.raster.images import output_format, write_image

    named = isinstance(dst, (str, os.PathLike))
    chosen = output_format(Path(dst) if named else "", format if named else format or "png")  # type: ignore[arg-type]
    with atomic_write(dst, overwrite=overwrite) as stream:
        write_image(codec.decode(read_bytes(src), **options), stream, chosen)


def read_bytes(src: Source) -> bytes:
    """All bytes of a path or a binary file object."""
    if not isinstance(src, (str, os.PathLike)):
        return src.read()
    try:
        return Path(src).read_bytes()
    except OSError as error:
        raise FileError(f"{os.fspath(src)}: {error.strerror or error}") from error


@contextmanager
def atomic_write(dst: Destination, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A binary stream whose content becomes `dst` when the block ends well, and vanishes when it doesn't.

    A path is written beside itself under another name and then renamed, so no reader ever sees half of it. A file
    object, or a path that is a device or a pipe, gets everything at the end.

    Raises:
        FileError: `dst` exists and `overwrite` is false, or can't be written.
    """
    if not isinstance(dst, (str, os.PathLike)):
        buffer = io.BytesIO()
        yield buffer
        dst.write(buffer.getvalue())
        dst.flush()
        return

    path = Path(os.path.realpath(dst))  # a symbolic link stays one
    if path.is_dir():
        raise FileError(f"{path}: is a directory")
    if path.exists() and not path.is_file():  # renaming onto /dev/stdout or a named pipe would destroy it
        with path.open("wb") as special, atomic_write(special) as stream:
            yield stream
        return
    if path.exists() and not overwrite:
        raise FileError(f"{path}: exists; say overwrite to replace it")

    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        # O_EXCL and the usual mode: `tempfile` would leave the file readable to its owner alone.
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error
    try:
        with os.fdopen(number, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(number)  # or a power cut could leave the name with nothing behind it
        _publish(temporary, path, overwrite=overwrite)
    except LearnedCodecError:
        raise
    except OSError as error:  # a full disk
        raise FileError(f"{path}: {error.strerror or error}") from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _publish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give the finished file its name; without `overwrite`, even a file that appeared meanwhile is left alone."""
    if not overwrite:
        try:
            os.link(temporary, path)  # fails where `path` exists, which a rename wouldn't
            return
        except FileExistsError:
            raise FileError(f"{path}: exists; say overwrite to replace it") from None
        except OSError:  # a file system without hard links
            pass
    temporary.replace(path)
