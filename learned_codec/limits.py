"""What a decoder accepts from a file it doesn't trust.

A header of 30 bytes can declare a picture of 10^18 pixels. Every declared size is compared with these limits before
anything of that size is allocated.
"""

from dataclasses import dataclass, fields

from learned_codec.errors import InvalidInputError, LimitError

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest file that is accepted; pass one with larger (or smaller) fields where a function takes `limits`.

        learned_codec.decode(data, limits=Limits(max_pixels=2**34))

    Attributes:
        max_pixels: height × width. 2^30 is 32768², 3 GiB as 8-bit RGB: above every camera and most single scenes.
        max_bands: bands. 4096: imaging spectrometers have hundreds, laboratory instruments a few thousand.
        max_samples: height × width × bands, which is what is allocated. 2^32 is 4 GiB of 8-bit values, or 16 GiB of
            float32: admits every RGB picture that `max_pixels` does, and a 4096² scene of 256 bands.
        max_tiles: tiles. 2^18 is `max_pixels` in the smallest tiles of 64².
        max_tile_pixels: height × width of one tile. 2^24 is 4096²: a tile is decoded as a whole, at some 100 bytes a
            pixel.
        max_samples_per_byte: samples per byte of coded tiles. The format can code a constant
            colour in some 20 bytes per tile of 1024² × 3, or 2^17 samples a byte (today's model takes kilobytes); 2^20
            leaves a factor of 8.
        unchecked_samples: pictures up to this size may have any ratio. 2^26 is 64 MiB of 8-bit values, no burden to
            anybody, and lets flat pictures up to 22 megapixels be one tile of a handful of bytes.
        max_metadata_bytes: bytes of a META (or unknown ancillary) chunk. 4 MiB: colour profiles, XMP and RPCs come to
            hundreds of kilobytes; parsed JSON takes up to some 30 times its size.
        max_header_bytes: bytes of the HEAD chunk. 1 MiB: a spectral transform of 512² 16-bit coefficients is half that.
    """

    max_pixels: int = 2**30
    max_bands: int = 4096
    max_samples: int = 2**32
    max_tiles: int = 2**18
    max_tile_pixels: int = 2**24
    max_samples_per_byte: int = 2**20
    unchecked_samples: int = 2**26
    max_metadata_bytes: int = 2**22
    max_header_bytes: int = 2**20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 0:
                raise InvalidInputError(f"Limits.{field.name} must be an integer of 0 or more, not {value!r}")

    def check(self, field: str, value: int, what: str) -> None:
        """Raise `LimitError` if `value`, which the file declares for `what`, is over the limit called `field`."""
        limit: int = getattr(self, field)
        if value > limit:
            raise LimitError(
                f"{what}: {value:,} is over the limit of {limit:,}; if you trust the file, pass Limits({field}=...)",
                field=field,
                value=value,
                limit=limit,
            )

    def check_ratio(self, samples: int, coded_bytes: int) -> None:
        """Raise `LimitError` if so many samples (pixels × bands) can't honestly come from so few coded bytes."""
        allowed = max(self.unchecked_samples, self.max_samples_per_byte * coded_bytes)
        if samples > allowed:
            raise LimitError(
                f"{samples:,} samples from {coded_bytes:,} coded bytes: over the limit of {allowed:,} samples, "
                f"{self.max_samples_per_byte:,} a byte; if you trust the file, pass Limits(max_samples_per_byte=...)",
                field="max_samples_per_byte",
                value=samples,
                limit=allowed,
            )
