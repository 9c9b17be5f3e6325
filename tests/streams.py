"""File objects for tests, which note what is read from them, or aren't as good as a file on disk."""

import io


class CountingFile(io.BytesIO):
    """Notes what is read: `reads` are the offset and the size of each."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    @property
    def taken(self) -> int:
        """How many bytes were read."""
        return sum(size for _, size in self.reads)

    def read(self, size: int | None = -1, /) -> bytes:
        at = self.tell()
        data = super().read(size)
        self.reads.append((at, len(data)))
        return data


class FailingFile(io.BytesIO):
    """Reads beyond the byte `after` fail, as they may in a network."""

    def __init__(self, data: bytes, after: int, error: Exception) -> None:
        super().__init__(data)
        self.after, self.error = after, error

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or self.tell() + size > self.after:
            raise self.error
        return super().read(size)


class Pipe(io.BytesIO):
    """Can't seek."""

    def seekable(self) -> bool:
        return False
