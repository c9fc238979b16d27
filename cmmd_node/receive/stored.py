"""Whether a kept object is what it was when it was acknowledged: its file is there, as long, with the same bytes."""

from __future__ import annotations

from pathlib import Path

import xxhash
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

_PIECE_BYTES = 1 << 20
#: Preamble, prefix, and the group length that begins the File Meta Information (PS3.10 7.1).
_BEFORE_GROUP = 144


def damage(path: Path, *, size_bytes: int, digest: str) -> str | None:
    """What is wrong with the object's file, None when nothing is.

    Parameters
    ----------
    size_bytes, digest
        As the index knows them: of the whole file; of the transfer syntax and the data set.
    """
    try:
        found_bytes = path.stat().st_size
        if found_bytes != size_bytes:
            return f"{found_bytes} bytes, {size_bytes} were kept"
        return None if _digest_of(path) == digest else "other bytes than were kept"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (InvalidDicomError, AttributeError, ValueError, EOFError):
        return "no File Meta Information"


def _digest_of(path: Path) -> str:
    """XXH3-128 as the inbox takes it."""
    meta = read_file_meta_info(path)
    found = xxhash.xxh3_128(str(meta.TransferSyntaxUID).encode())
    with path.open("rb") as file:
        file.seek(_BEFORE_GROUP + meta.FileMetaInformationGroupLength)
        while piece := file.read(_PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()
