"""Strategies of damaged files: valid ones, changed so that they reach deep into the code that reads them.

One draw of a few bytes is one change. So drawing costs little, and hypothesis shrinks to few and simple changes.
"""

import copy
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy

LONGEST = 100_000  # bytes of what repeated pieces make
MANY = 5000  # values of a document
NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
WORDS = (  # binary integers, and text that readers of text and names may stumble over
    *(
        struct.pack(f"{order}{form}", number & (256**size - 1))
        for order in "<>"
        for form, size in zip("BHIQ", (1, 2, 4, 8), strict=True)
        for number in NUMBERS
    ),
    *(
        b"\0",
        b"\n",
        b"\r",
        b"\r\n",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        "\u2028".encode(),
        "\u202e".encode(),
        "²".encode(),
        "٣".encode(),
    ),
    *(
        b"-",
        b"nan",
        b"inf",
        b"-1",
        b"1e999",
        b"1_000",
        b"0x10",
        b"9" * 30,
        b"9" * 5000,
        b"../",
        b"%",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"'",
        b",",
        b":",
        b";",
        b" ",
        b"\t",
        b"#",
    ),
)
RAW = {  # what json.dumps cannot write
    "@nan": "NaN",
    "@huge": "1e999",
    "@digits": "9" * 5000,
    "@twice": '1, "@twice": 2',
    "@deep": "[" * 900 + "]" * 900,
    "@deeper": '{"x":' * 5000 + "1" + "}" * 5000,
    "@pit": "[" * 50_000,
}
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 5e-324, 1e308, 10**30, 2**53, 2**63, -(2**63), 2**64, 10**400),
    *("", " ", "x", "\0", "a\nb", "\u202e", "\ud800", "../x", "/", "x" * 5000, "9" * 5000, "0" * 64, "NaN", "%s{0}"),
    *([], {}, [[]], {"": {}}, [0] * 1000, *RAW),
)


ENDINGS = ("\0", "\n", "\u202e", "\ud800", "x" * 300, " ", "/..", "é", "9")


def altered(seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> Strategy[bytes]:
    """Return bytes that are one of the seeds after one to six changes; `words` are put in besides WORDS."""
    known = (*WORDS, *words)

    def alter(seed: bytes, changes: list[bytes]) -> bytes:
        for change in changes:
            seed = _altered(seed, change, seeds, known)
        return seed

    return st.builds(alter, st.sampled_from(seeds), _changes())


def _changes() -> Strategy[list[bytes]]:
    return st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=6)


def _altered(data: bytes, change: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    kind, length, byte, high = change[0] % 10, change[1], change[2], change[3]
    place = int.from_bytes(change[4:8], "little") % (len(data) + 1)
    before, piece, after = data[:place], data[place : place + length % 32 + 1], data[place + length % 32 + 1 :]
    word = words[(byte + 256 * high) % len(words)]
    other = seeds[byte % len(seeds)]
    times = min(1 + 16 * high, 1 + LONGEST // (len(piece) + 1))
    return (
        before + bytes([data[place] ^ 1 << byte % 8]) + data[place + 1 :] if place < len(data) else data,
        before + bytes([byte]) + data[place + 1 :],
        before + after,
        before,
        before + piece + piece + after,
        before + piece * times + after,
        before + other[len(other) * length // 256 :],
        before + word + data[place:],
        before + word + data[place + len(word) :],
        before + word * times + data[place:],
    )[kind]


def altered_json(seeds: Sequence[Any], names: Sequence[str] = ("", "x", "schema_version")) -> Strategy[bytes]:
    """Return JSON that is one of the seeds after one to six changes of values, keys and lists."""
    return st.builds(
        lambda seed, changes: as_json(altered_tree(seed, changes, names)), st.sampled_from(seeds), _changes()
    )


def altered_tree(document: Any, changes: Sequence[bytes], names: Sequence[str] = ("x",)) -> Any:
    """Return a copy of a document after changes."""
    whole = [copy.deepcopy(document)]
    for change in changes:
        if len(places := list(_places(whole))) < MANY:
            _alter_tree(whole, places, change, names)
    return whole[0]


def as_json(document: Any) -> bytes:
    """Return a document as JSON, with the numbers and doubled keys that json.dumps cannot write."""
    text = json.dumps(document)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode()


def _alter_tree(whole: list[Any], places: Sequence[tuple[Any, Any]], change: bytes, names: Sequence[str]) -> None:
    at, other = (int.from_bytes(change[n : n + 3], "little") % len(places) for n in (1, 4))
    parent, key = places[at]
    kind, byte = change[0] % 6, change[7]
    if kind == 0 and parent is not whole:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[names[byte % len(names)]] = parent.pop(key)
    else:
        parent[key] = _altered_value(parent[key], kind, byte, places[other])


def _altered_value(value: Any, kind: int, byte: int, other: tuple[Any, Any]) -> Any:
    """Return a value that is longer, deeper, that of another place, or none that the document had."""
    if kind == 2 and isinstance(value, list | str):
        repeated = isinstance(value, list)
        return copy.deepcopy(value * (byte % 40)) if repeated else value + ENDINGS[byte % len(ENDINGS)]
    if kind == 3:
        for _ in range(byte % 100):
            value = [value] if byte % 2 else {"x": value}
        return value
    if kind == 4:
        source, name = other
        return copy.deepcopy(source[name])
    return copy.deepcopy(VALUES[byte % len(VALUES)])


def _places(inside: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container and key of a value in it, without recursion: documents may be deep."""
    left = [inside]
    while left:
        container = left.pop()
        for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            yield container, key
            if isinstance(value, dict | list):
                left.append(value)
