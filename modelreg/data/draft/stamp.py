"""Mark a draft with the digest of its text, so that one which nobody edited can be replaced by a newer one."""

from modelreg import files

_MARK = "# unedited draft: "
_DIGITS = 16


def stamped(text: str) -> str:
    """Return a text with a last line that has its digest."""
    return f"{text}{_MARK}{_digest(text)}\n"


def is_unedited(data: bytes) -> bool:
    """Return whether a file is a draft that nobody changed since it was written."""
    text, mark, digest = data.decode("utf-8", "replace").rpartition(_MARK)
    return bool(mark) and digest == f"{_digest(text)}\n"


def _digest(text: str) -> str:
    return files.sha256_bytes(text.encode())[:_DIGITS]
