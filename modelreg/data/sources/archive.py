"""Read text files from a .tar.xz archive while it is unpacked; nothing is written to disk."""

import lzma
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from modelreg.artifacts import tar_stream
from modelreg.data.recording import UNREADABLE
from modelreg.errors import InputError, Problem

UNPACKED_LIMIT = 2 * 2**30  # bytes; the largest archive of the supported sets has 0.13 GiB


def members(path: Path, name: re.Pattern[str], limit: int) -> Iterator[tuple[re.Match[str], bytes]]:
    """Yield every regular file whose whole path matches `name`, and its bytes, in the order of the archive.

    Links and other files are ignored. Raises InputError if the archive is damaged or a file exceeds `limit` bytes.
    """
    try:
        with lzma.open(path) as unpacked:
            for member, reader in tar_stream.members(unpacked, UNPACKED_LIMIT):
                match = name.fullmatch(member.name)
                if match and reader:
                    if member.size > limit:
                        problem = Problem(f"{path}: {member.name}", "files.too-large", f"larger than {limit:,} bytes")
                        raise InputError(UNREADABLE, [problem])
                    yield match, reader.read(member.size)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise InputError(UNREADABLE, [Problem(str(path), "recordings.archive-damaged", str(error))]) from error
