"""Escape characters that control a terminal or reorder a line: `\\x1b`, `\\n`, `\\u202e`.

Names, labels, subjects and messages come from files and servers. If they are printed raw, a control character can move
the cursor, a newline can forge a line of output, and a bidirectional mark can reverse the displayed text
(CVE-2021-42574).
"""

import re

# C0 and C1 controls, DEL, line and paragraph separators, bidirectional marks, invisible characters, surrogates, BOM
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_UNSAFE_IN_JSON = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "", 1))  # keep the newlines of indented JSON


def one_line(text: str) -> str:
    """Return text as one printable line, with an escape in place of each unsafe character."""
    return _UNSAFE.sub(_escape, text)


def json_text(document: str) -> str:
    """Return a JSON text without raw unsafe characters. It parses to the same document."""
    return _UNSAFE_IN_JSON.sub(_json_escape, document)


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    if ord(character) < 0x100:
        return f"\\x{ord(character):02x}"
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
