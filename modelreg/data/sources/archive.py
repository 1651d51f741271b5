"""Text files in a .tar.xz archive, read while it is unpacked: nothing of it is ever written to the disk."""

import lzma
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from modelreg.errors import InputError, Problem


def members(path: Path, wanted: re.Pattern[str], limit: int) -> Iterator[tuple[re.Match[str], bytes]]:
    """Yield every regular file whose whole name matches, and its bytes, in the order of the archive.

    Links and other names are left alone. Raises InputError where the archive is damaged or a file is over the limit.
    """
    try:
        with tarfile.open(path, "r|xz") as archive:
            for member in archive:
                match = wanted.fullmatch(member.name)
                reader = archive.extractfile(member) if match and member.isreg() else None
                if match and reader:
                    if member.size > limit:
                        what = f"larger than {limit} bytes"
                        raise InputError("cannot read", [Problem(f"{path}: {member.name}", "todo.archive", what)])
                    yield match, reader.read(limit)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise InputError(
            "cannot read", [Problem(str(path), "todo.archive", f"not a whole .tar.xz archive: {error}")]
        ) from error
