"""The wire format of Protocol Buffers, read by hand: enough for ONNX files and HEF headers, with no schema compiled.

https://protobuf.dev/programming-guides/encoding/ . Every length is held against what is there before it is used.
"""

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10  # 64 bits, seven in a byte


class Field(NamedTuple):
    """One field of a message: its number, and an int (varint, fixed) or the bytes of a text or a message."""

    number: int
    wire: int
    value: int | memoryview


def fields(message: bytes | memoryview) -> Iterator[Field]:
    """Yield the fields of a message in their order. Raises ValueError where it is damaged."""
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
            raise ValueError(f"wire type {wire} at byte {at}")
        if number == 0 or length > len(data) - at:
            raise ValueError(f"a field of {length} bytes at byte {at}, but {len(data) - at} are left")
        piece, at = data[at : at + length], at + length
        yield Field(number, wire, piece if wire == LENGTH else int.from_bytes(piece, "little"))


def messages(message: bytes | memoryview, number: int) -> Iterator[memoryview]:
    """Yield the texts or messages under a field number. Raises ValueError."""
    for field in fields(message):
        if field.number == number and isinstance(field.value, memoryview):
            yield field.value


def numbers(message: bytes | memoryview, number: int) -> Iterator[int]:
    """Yield the whole numbers under a field number, as unsigned 64 bits. Raises ValueError."""
    for field in fields(message):
        if field.number == number and isinstance(field.value, int):
            yield field.value


def text(message: bytes | memoryview, number: int) -> str:
    """Return the last text under a field number; empty where there is none. Raises ValueError."""
    found = [bytes(value) for value in messages(message, number)]
    return found[-1].decode("utf-8") if found else ""


def encode_text(number: int, value: bytes) -> bytes:
    """Return a field that holds a text or a message."""
    return _encode_varint(number << 3 | LENGTH) + _encode_varint(len(value)) + value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for n, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return value & (2**64 - 1), at + n + 1
    raise ValueError(f"a number at byte {at} has no end")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
