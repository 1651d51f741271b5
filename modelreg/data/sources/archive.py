"""Read text files from a .tar.xz archive while it is unpacked; nothing is written to disk."""

import lzma
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from modelreg.data.recording import UNREADABLE
from modelreg.errors import InputError, Problem


def members(path: Path, name: re.Pattern[str], limit: int) -> Iterator[tuple[re.Match[str], bytes]]:
    """Yield every regular file whose whole path matches `name`, and its bytes, in the order of the archive.

    Links and other files are ignored. Raises InputError if the archive is damaged or a file exceeds `limit` bytes.
    """
    try:
        with tarfile.open(path, "r|xz") as archive:
            for member in archive:
                match = name.fullmatch(member.name)
                reader = archive.extractfile(member) if match and member.isreg() else None
                if match and reader:
                    if member.size > limit:
                        problem = Problem(f"{path}: {member.name}", "files.too-large", f"larger than {limit:,} bytes")
                        raise InputError(UNREADABLE, [problem])
                    yield match, reader.read(limit)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise InputError(UNREADABLE, [Problem(str(path), "recordings.archive-damaged", str(error))]) from error
