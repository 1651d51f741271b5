"""Read the wire format of Protocol Buffers without a compiled schema, as far as ONNX files and HEF headers need it.

https://protobuf.dev/programming-guides/encoding/ . Every length is checked against the remaining bytes before use.
"""

import struct
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10  # 64 bits, seven in a byte


class Field(NamedTuple):
    """One field of a message: its number, and an int (varint, fixed) or the bytes of a string or a message."""

    number: int
    wire: int
    value: int | memoryview


def fields(message: bytes | bytearray | memoryview) -> Iterator[Field]:
    """Yield the fields of a message in their order. Raises ValueError for a damaged message."""
    data, at = memoryview(message), 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield Field(number, wire, value)
            continue
        if wire == LENGTH:
            length, at = _varint(data, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"unsupported wire type {wire} at byte {at}")
        if number == 0 or length > len(data) - at:
            raise ValueError(f"a field of {length} bytes at byte {at}, but only {len(data) - at} bytes remain")
        piece, at = data[at : at + length], at + length
        yield Field(number, wire, piece if wire == LENGTH else int.from_bytes(piece, "little"))


def messages(message: bytes | bytearray | memoryview, number: int) -> Iterator[memoryview]:
    """Yield the strings or messages with a field number. Raises ValueError."""
    for field in fields(message):
        if field.number == number and isinstance(field.value, memoryview):
            yield field.value


def numbers(message: bytes | memoryview, number: int) -> Iterator[int]:
    """Yield the integers with a field number, as unsigned 64 bits. Raises ValueError."""
    for field in fields(message):
        if field.number == number and isinstance(field.value, int):
            yield field.value


def text(message: bytes | memoryview, number: int) -> str:
    """Return the last string with a field number, or an empty string. Raises ValueError."""
    found = [bytes(value) for value in messages(message, number)]
    return found[-1].decode("utf-8") if found else ""


class Message:
    """A message of an untrusted file. Nested messages are read lazily, so that reading takes time in proportion to it.

    Every access reads the fields once. The last value of a field counts, and messages that occur several times are
    merged, as the encoding requires. The methods raise ValueError for a damaged message.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = data

    def messages(self, number: int) -> Iterator["Message"]:
        """Yield the messages with a field number."""
        return map(Message, messages(self._data, number))

    def has(self, number: int) -> bool:
        """Return whether there is a message with a field number."""
        return any(True for _ in messages(self._data, number))

    def message(self, number: int) -> "Message":
        """Return the message with a field number; an empty one, which has default values, if there is none."""
        found = messages(self._data, number)
        first = list(islice(found, 2))
        if len(first) < 2:
            return Message(first[0] if first else b"")
        merged = bytearray()
        for piece in chain(first, found):
            merged += piece
        return Message(merged)

    def number(self, number: int) -> int:
        """Return the integer with a field number, or 0."""
        return self._last(number, VARINT)

    def text(self, number: int) -> str:
        """Return the string with a field number, or an empty string."""
        found = memoryview(b"")
        for piece in messages(self._data, number):
            found = piece
        return str(found, "utf-8")

    def float32(self, number: int) -> float:
        """Return the 32-bit float with a field number, or 0."""
        (value,) = struct.unpack("<f", self._last(number, FIXED32).to_bytes(4, "little"))
        return float(value)

    def floats64(self, number: int) -> Iterator[float]:
        """Yield the 64-bit floats with a field number, packed or not."""
        for field in self._under(number):
            if isinstance(field.value, memoryview):
                if len(field.value) % 8:
                    raise ValueError(f"{len(field.value)} bytes of packed 64-bit floats, expected a multiple of 8")
                yield from (value for (value,) in struct.iter_unpack("<d", field.value))
            elif field.wire == FIXED64:
                yield struct.unpack("<d", field.value.to_bytes(8, "little"))[0]

    def _last(self, number: int, wire: int) -> int:
        found = 0
        for field in self._under(number):
            found = field.value if isinstance(field.value, int) and field.wire == wire else found
        return found

    def _under(self, number: int) -> Iterator[Field]:
        return (field for field in fields(self._data) if field.number == number)


def encode_text(number: int, value: bytes) -> bytes:
    """Return an encoded string or message field."""
    return _encode_varint(number << 3 | LENGTH) + _encode_varint(len(value)) + value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    if at < len(data) and data[at] < 0x80:  # nearly all of them
        return data[at], at + 1
    value = 0
    for n, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return value & (2**64 - 1), at + n + 1
    raise ValueError(f"an unterminated varint at byte {at}")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
