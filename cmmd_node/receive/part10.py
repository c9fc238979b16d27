"""A DICOM file (PS3.10 7.1) on its way into the inbox, in pieces of any size; nothing is held but the piece at hand."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID

from cmmd_node.errors import (
    MalformedUID,
    MissingUID,
    NotDicom,
    TooComplex,
    Truncated,
    UnsupportedSOPClass,
    UnsupportedTransferSyntax,
)
from cmmd_node.receive.inbox import Inbox, Kept, Spool
from cmmd_node.receive.scp import STORAGE_CLASSES, TRANSFER_SYNTAXES
from cmmd_node.receive.structure import is_uid

_PREFIX_END = 132
_LIMIT = 262_144
_LONG_VRS = (b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OD", b"OF", b"OL", b"OV", b"SV", b"UV")
_CLASS, _INSTANCE, _SYNTAX = 0x0002, 0x0003, 0x0010
_NAMES = {
    _CLASS: "Media Storage SOP Class UID",
    _INSTANCE: "Media Storage SOP Instance UID",
    _SYNTAX: "Transfer Syntax UID",
}


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What File Meta Information says, and how long it is with all that stands before it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that is in the inbox now, for good."""

    sop_instance_uid: str
    size_bytes: int
    outcome: Kept


def take_in(
    inbox: Inbox, pieces: Iterable[bytes], *, source: str, judge: Callable[[Path], None] | None = None
) -> Taken:
    """Keep one file as a C-STORE would; what `pieces` raises, for a hash that is wrong, say, ends it.

    Parameters
    ----------
    source
        What the index says of where it came from.
    judge
        Looks at the whole file before it is kept, and raises RefusedInstance for one that is not wanted.

    Raises
    ------
    RefusedInstance
        One of its subclasses says why; nothing of it is left.
    """
    head, spool = bytearray(), None
    try:
        for piece in pieces:
            if spool is None:
                head += piece
                meta = read_file_meta(head, is_all=False)
                spool = None if meta is None else begin(inbox, meta, head, source=source)
            else:
                spool.write(piece)
            if spool is not None and spool.problem is not None:
                raise spool.problem  # no more is read of what cannot be written
        if not head:
            raise NotDicom("the file is empty")
        if spool is None:
            meta = read_file_meta(head, is_all=True)
            assert meta is not None  # all of the file is here
            spool = begin(inbox, meta, head, source=source)
        if judge is not None:
            judge(spool.path)
        return Taken(spool.sop_instance_uid, spool.size_bytes, inbox.keep(spool))
    finally:
        if spool is not None:
            spool.discard()


def begin(inbox: Inbox, meta: FileMeta, head: bytes | bytearray, *, source: str) -> Spool:
    """The spool file of an object whose File Meta Information is known, with what has come of its data set.

    Parameters
    ----------
    head
        The file as far as it has come.

    Raises
    ------
    RefusedInstance
        The node does not take such objects, or nothing now.
    """
    if meta.sop_class_uid not in STORAGE_CLASSES:
        raise UnsupportedSOPClass(f"{UID(meta.sop_class_uid).name} is not a class that the node takes")
    if meta.transfer_syntax_uid not in TRANSFER_SYNTAXES:
        raise UnsupportedTransferSyntax(f"{UID(meta.transfer_syntax_uid).name} is not an encoding that the node takes")
    spool = inbox.spool(
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        source=source,
    )
    spool.write(bytes(head[meta.size_bytes :]))
    return spool


def read_file_meta(head: bytes | bytearray, *, is_all: bool) -> FileMeta | None:
    """File Meta Information once all of it is in `head`; None while more bytes are needed.

    Its end is where another group begins: its own group length is not believed.

    Parameters
    ----------
    is_all
        No more bytes will come.

    Raises
    ------
    UnreadableInstance
        It is no DICOM file, or one of the UIDs is missing or malformed; subclasses say which.
    """
    position = _PREFIX_END
    values: dict[int, bytes] = {}
    if len(head) >= position and head[128:_PREFIX_END] != b"DICM":
        raise NotDicom("no DICOM file: no preamble and DICM prefix")
    while True:
        if position + 8 > len(head):
            if is_all and position == len(head):
                break
            _check_wait(head, is_all)
            return None
        group, element = struct.unpack_from("<HH", head, position)
        if group != 0x0002:
            break
        long = bytes(head[position + 4 : position + 6]) in _LONG_VRS
        if long and position + 12 > len(head):
            _check_wait(head, is_all)
            return None
        start = position + (12 if long else 8)
        (length,) = struct.unpack_from("<I" if long else "<H", head, position + (8 if long else 6))
        if start + length > len(head):
            _check_wait(head, is_all)
            return None
        values[element] = bytes(head[start : start + length])
        position = start + length
    return FileMeta(_uid(values, _CLASS), _uid(values, _INSTANCE), _uid(values, _SYNTAX), position)


def _check_wait(head: bytes | bytearray, is_all: bool) -> None:
    """Raise when there is nothing to wait for."""
    if is_all and 0 < len(head) < _PREFIX_END:
        raise NotDicom("no DICOM file: shorter than its preamble")
    if is_all:
        raise Truncated("the file ends inside its File Meta Information")
    if len(head) > _LIMIT:
        raise TooComplex(f"File Meta Information is longer than {_LIMIT} bytes")


def _uid(values: dict[int, bytes], element: int) -> str:
    text = values.get(element, b"").rstrip(b"\0 ").decode("latin-1")
    if not text:
        raise MissingUID(f"File Meta Information has no {_NAMES[element]}")
    if not is_uid(text):
        raise MalformedUID(f"{_NAMES[element]} in File Meta Information is no UID")
    return text
