"""What tiles' payloads are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learned_codec.bitstream.payload import join_parts, split_parts
from learned_codec.errors import BitstreamError, CorruptDataError


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.binary(max_size=9))
def test_parts_come_back_from_what_is_there(parts: list[bytes], other: bytes) -> None:
    payload = join_parts(parts)
    end = len(payload) - sum(map(len, parts))
    for wanted in range(1, len(parts) + 1):
        assert split_parts(payload, len(parts), wanted) == parts[:wanted]
        end += len(parts[wanted - 1])
        if wanted < len(parts):
            assert split_parts(payload[:end] + other, len(parts), wanted) == parts[:wanted]
            if parts[wanted - 1]:
                with pytest.raises(CorruptDataError, match="beyond"):
                    split_parts(payload[: end - 1], len(parts), wanted)


@given(st.binary(max_size=20), st.integers(1, 4))
def test_anything_is_taken_apart_or_refused(payload: bytes, count: int) -> None:
    try:
        parts = split_parts(payload, count, count)
    except BitstreamError:
        return
    assert payload.endswith(b"".join(parts))
