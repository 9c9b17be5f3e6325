"""Varints: unsigned integers as LEB128, seven bits in each byte, the lowest first.

Bit 7 of a byte is set if another byte follows. Numbers are below 2^63, so they take at most nine bytes and fit a signed
64-bit integer. Each number has exactly one encoding (the last byte is not zero, except for the number 0), so equal
headers are equal bytes.
"""

from learned_codec.errors import CorruptDataError, InvalidInputError, TruncatedError

MAX = 2**63 - 1
MAX_BYTES = 9


def encode(value: int) -> bytes:
    """`value` as 1 to 9 bytes. Raises `InvalidInputError` outside 0 to 2^63 - 1."""
    if not 0 <= value <= MAX:
        raise InvalidInputError(f"{value} must be from 0 to 2^63 - 1")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes, start: int = 0) -> tuple[int, int]:
    """The number at `data[start:]` and the position after it.

    Raises:
        TruncatedError: the data ends inside the number.
        CorruptDataError: the number is 2^63 or more, or isn't written in the fewest bytes.
    """
    value = 0
    for position in range(start, start + MAX_BYTES):
        if position >= len(data):
            raise TruncatedError("the data ends inside a number")
        byte = data[position]
        value |= (byte & 0x7F) << 7 * (position - start)
        if byte < 0x80:
            if byte == 0 and position > start:
                raise CorruptDataError("a number has a superfluous byte")
            return value, position + 1
    raise CorruptDataError("a number is 2^63 or more")
