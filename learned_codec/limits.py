"""Limits on what a file may declare, for files that can't be trusted.

A header of 30 bytes can declare an image of 10^18 pixels. So every declared size is checked against these limits before
memory of that size is allocated.
"""

from dataclasses import dataclass, fields

from learned_codec.errors import InvalidInputError, LimitError, shown

__all__ = ["Limits"]


BLOCK = 16
"""Pixels: tiles are coded in whole blocks of 16 × 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest file that is accepted.

    For other limits, pass one with other fields to a function that takes `limits`.

        learned_codec.decode(data, limits=Limits(max_pixels=2**34))

    A *sample* is one value of one band. Decoding works on whole blocks of 16 × 16 pixels, so *padded* samples cost
    memory and time: an image of 1 × 1000 pixels is coded as one of 16 × 1008.

    Attributes:
        max_pixels: height × width. 2^30 is 32768², or 3 GiB of 8-bit RGB: more than any camera and most satellite
            scenes have.
        max_bands: bands. 4096: imaging spectrometers have hundreds, laboratory instruments a few thousand.
        max_samples: padded height × width × bands. 2^32 is 4 GiB of 8-bit values, or 16 GiB of float32: every RGB
            picture that `max_pixels` admits, a 4096² scene of 256 bands, and Sentinel-2's 10980² of 13 bands.
        max_tiles: tiles. 2^18 is `max_pixels` in the smallest tiles of 64².
        max_tile_pixels: padded height × width of one tile. 2^24 is 4096²: a tile is decoded as a whole, at up to 35
            bytes a sample.
        max_tile_samples: padded height × width × bands of one tile. 2^26 is 4096² of 4 bands, or 1024² of 64.
        max_padding: padded samples per sample, in images of more than `unchecked_samples`. 4: only very long and thin
            images have more.
        max_samples_per_byte: samples per byte of tiles. 2^20: a tile of 1024² × 13 without a single value takes some
            12 bytes.
        max_coded_samples_per_byte: padded samples per byte of a tile that has coded values, each of which costs about
            a microsecond in the networks. 2^17: flat pictures have some 1,000 samples a byte, at the lowest quality
            5,000.
        unchecked_samples: images up to this size may have any `max_padding` and `max_samples_per_byte`. 2^22 decode in
            a few seconds and 150 MiB at worst.
        max_chunks: chunks before the first tile. 256: three kinds are known today.
        max_metadata_bytes: bytes of META and unknown chunks together. 4 MiB: colour profiles, XMP and RPCs come to
            hundreds of kilobytes; parsed JSON takes up to some 30 times its size.
        max_header_bytes: bytes of HEAD, and of MASK. 1 MiB: a spectral transform of 512² 16-bit coefficients is half
            that.
    """

    max_pixels: int = 2**30
    max_bands: int = 4096
    max_samples: int = 2**32
    max_tiles: int = 2**18
    max_tile_pixels: int = 2**24
    max_tile_samples: int = 2**26
    max_padding: int = 4
    max_samples_per_byte: int = 2**20
    max_coded_samples_per_byte: int = 2**17
    unchecked_samples: int = 2**22
    max_chunks: int = 256
    max_metadata_bytes: int = 2**22
    max_header_bytes: int = 2**20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InvalidInputError(f"Limits.{field.name} must be an integer of 0 or more, not {shown(value)}")

    def check(self, field: str, value: int, what: str) -> None:
        """Raise `LimitError` if `value`, declared by the file for `what`, is over the limit `field`."""
        self._check(field, value, getattr(self, field), what)

    def check_padding(self, samples: int, padded: int) -> None:
        """Raise `LimitError` if whole blocks hold far more samples (pixels × bands) than the image."""
        allowed = max(self.unchecked_samples, self.max_padding * samples)
        self._check("max_padding", padded, allowed, f"{samples:,} samples in blocks of {BLOCK} × {BLOCK} pixels")

    def check_ratio(self, samples: int, tile_bytes: int) -> None:
        """Raise `LimitError` if there are far more samples than `tile_bytes` bytes can hold."""
        allowed = max(self.unchecked_samples, self.max_samples_per_byte * tile_bytes)
        self._check("max_samples_per_byte", samples, allowed, f"samples from {tile_bytes:,} bytes of tiles")

    def check_coded(self, padded: int, tile_bytes: int) -> None:
        """Raise `LimitError` if there are far more padded samples than a tile of `tile_bytes` bytes can hold."""
        allowed = self.max_coded_samples_per_byte * tile_bytes
        self._check("max_coded_samples_per_byte", padded, allowed, f"coded samples in a tile of {tile_bytes:,} bytes")

    def _check(self, field: str, value: int, allowed: int, what: str) -> None:
        if value > allowed:
            option = " (--max-pixels)" if field == "max_pixels" else ""
            raise LimitError(
                f"{what}: {value:,} is over the limit of {allowed:,}; "
                f"if you trust the file, pass Limits({field}=...){option}",
                field=field,
                value=value,
                limit=allowed,
            )
