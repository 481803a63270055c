"""Count the bytes that the pages of a Parquet file take when they are unpacked, by the header of each.

A reader takes memory for what these headers say, and the end of a file, which sums them up, may say less. Both are
structs of Thrift's compact protocol, fields by number, of which each says its type. pyarrow is not asked for what the
end says: for some that are damaged, that ends the process.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

TAIL = 8  # bytes: the length of what the end says, and the signature
GROUPS, COLUMNS, ABOUT = 4, 1, 3  # fields of the end, of a group of rows, and of a column in it
VALUES, LENGTH, FIRST, DICTIONARY = 5, 7, 9, 11  # of what is said about a column
DECODED = 6  # bytes of a column's pages, as is said about it
UNPACKED, PACKED = 2, 3  # bytes of a page; fields of its header
DATA = (5, 8)  # in which a page of values, of either version, tells of them; how many there are is the first
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
INTEGERS = (4, 5, 6)  # of 16, 32 and 64 bits
MAX_DEPTH = 16
SLACK = 100  # bytes: old writers left a header out of the length of a column, and readers go as far
DAMAGED = "the header of a page is damaged"


def arrow_source(stream: BinaryIO) -> Any:
    """Map a file for pyarrow, which would copy all of it through Python, and keep that until it is read."""
    import pyarrow as pa

    return pa.BufferReader(pa.py_buffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))


def unpacked_bytes(stream: BinaryIO) -> int:
    """Count the bytes of all pages of a Parquet file; raise ValueError if a header is damaged."""
    with _mapped(stream) as (content, groups):
        columns = [column[ABOUT] for group in groups for column in group if column.get(ABOUT)]
        return sum(_of_column(content, about) for about in columns)


def declared_bytes(stream: BinaryIO, places: Sequence[int]) -> int:
    """Count the bytes that the columns at some places take by their own account; few may stand for equal numbers."""
    with _mapped(stream) as (_, groups):
        columns = [group[place][ABOUT] for group in groups for place in places]
        return sum(max(about[DECODED], 4 * about[VALUES]) for about in columns)


@contextmanager
def _mapped(stream: BinaryIO) -> Iterator[tuple[mmap.mmap, list[list[dict[int, Any]]]]]:
    """Map a file; yield its content and what its end says of the columns of each group of rows."""
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = len(content) - TAIL - int.from_bytes(content[-TAIL : 4 - TAIL], "little")
        try:
            groups = _Compact(content, start).struct().get(GROUPS) or []
            yield content, [group.get(COLUMNS) or [] for group in groups]
        except (AttributeError, TypeError, LookupError) as error:  # a field lacks, or is of another type
            raise ValueError(DAMAGED) from error


def text_bytes(array: Any) -> int:
    """Count the bytes of the texts of an Arrow array in which those that are equal share one, if none did."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(array.type) or pa.types.is_primitive(array.type.value_type):
        return 0
    return int(pc.sum(pc.take(pc.binary_length(array.dictionary), array.indices)).as_py() or 0)


def _of_column(content: mmap.mmap, about: dict[int, Any]) -> int:
    wanted, length, place = (about.get(field) or 0 for field in (VALUES, LENGTH, FIRST))
    if 0 < (about.get(DICTIONARY) or 0) < place:
        place = about[DICTIONARY]
    end = min(place + length + SLACK, len(content))
    values = unpacked = 0
    while values < wanted and place < end:  # as far as pyarrow reads
        reader = _Compact(content, place)
        header = reader.struct()
        page, packed = (header.get(field) for field in (UNPACKED, PACKED))
        if page is None or packed is None or min(page, packed) < 0:
            raise ValueError(DAMAGED)
        values += sum((header.get(field) or {}).get(1) or 0 for field in DATA)
        unpacked += page
        place = reader.place + packed
    return unpacked


class _Compact:
    """Reads one struct; of its fields, integers, structs and lists of structs are kept, and the others None."""

    def __init__(self, content: mmap.mmap, place: int) -> None:
        if place < 0:
            raise ValueError(DAMAGED)
        self.place = place
        self._content = content

    def struct(self, depth: int = 0) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            if (kind := head & 15) not in (TRUE, FALSE):
                fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in INTEGERS:
            return self._signed()
        if kind == STRUCT and depth < MAX_DEPTH:
            return self.struct(depth + 1)
        if kind == BINARY:
            length = self._varint()
            self.place += length
        elif kind in (TRUE, FALSE, BYTE, DOUBLE):
            self.place += 8 if kind == DOUBLE else 1
        elif kind in (LIST, SET, MAP) and depth < MAX_DEPTH:
            return self._many(kind, depth + 1)
        else:
            raise ValueError(DAMAGED)
        return None

    def _many(self, kind: int, depth: int) -> list[Any] | None:
        if kind == MAP:
            count = self._varint()
            kinds = [*divmod(self._byte(), 16)] if count else []
        else:
            count, *kinds = divmod(self._byte(), 16)
            count = self._varint() if count == 15 else count
        if kind == LIST and kinds == [STRUCT]:
            return [self._value(STRUCT, depth) for _ in range(count)]
        for _ in range(count):
            for one in kinds:
                self._value(one, depth)
        return None

    def _byte(self) -> int:
        if self.place >= len(self._content):
            raise ValueError(DAMAGED)
        self.place += 1
        return self._content[self.place - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128 and shift < 63:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _signed(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
