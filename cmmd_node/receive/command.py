"""The command of a C-STORE and its usual answer, read and written without making a data set of either.

pynetdicom and pydicom take half a millisecond for one command, a tenth of an image's time; this takes a seventh of
that. A command that is not quite the usual one is left to them.
"""

from __future__ import annotations

import struct

from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE

from cmmd_node.receive.structure import is_uid

COMMAND = 0x01
LAST = 0x02
P_DATA_TF = 0x04

_ELEMENT = struct.Struct("<HHI")
_FIELD, _DATA_SET_TYPE, _MESSAGE_ID, _PRIORITY = 0x0100, 0x0800, 0x0110, 0x0700
_SOP_CLASS, _SOP_INSTANCE = 0x0002, 0x1000
_STORE_REQUEST = b"\x01\x00"
_NO_DATA_SET = b"\x01\x01"


class StoreMessage(C_STORE_RQ):  # type: ignore[misc]
    """A C-STORE-RQ whose command has been read; its data set is still to come."""

    def __init__(self, command_set: dict[str, str], request: C_STORE, context_id: int) -> None:
        self.command_set = command_set
        self.context_id = context_id
        self.data_set = None
        self._data_set_file = None
        self._request = request

    def message_to_primitive(self) -> C_STORE:
        """The request with its data set."""
        self._request.DataSet = self.data_set
        return self._request


def read_store_request(fragment: bytes, context_id: int) -> StoreMessage | None:
    """A C-STORE-RQ (PS3.7 9.3.1.1) with a data set; None when the command is anything else, or anything is odd.

    Parameters
    ----------
    fragment
        The whole command set, which is always Implicit VR Little Endian.
    """
    elements = {}
    position = 0
    while position < len(fragment):
        if position + 8 > len(fragment):
            return None
        group, element, length = _ELEMENT.unpack_from(fragment, position)
        elements[element] = fragment[position + 8 : position + 8 + length]
        position += 8 + length
        if group != 0x0000 or position > len(fragment):
            return None
    if elements.get(_FIELD) != _STORE_REQUEST or elements.get(_DATA_SET_TYPE, _NO_DATA_SET) == _NO_DATA_SET:
        return None
    try:
        (message_id,) = struct.unpack("<H", elements[_MESSAGE_ID])
        (priority,) = struct.unpack("<H", elements[_PRIORITY])
        sop_class_uid = elements[_SOP_CLASS].rstrip(b"\0").decode("ascii")
        sop_instance_uid = elements[_SOP_INSTANCE].rstrip(b"\0").decode("ascii")
    except (KeyError, struct.error, UnicodeDecodeError):
        return None
    if not (is_uid(sop_class_uid) and is_uid(sop_instance_uid)):
        return None
    request = C_STORE()
    request.MessageID = message_id
    request.Priority = priority
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    request._context_id = context_id
    uids = {"AffectedSOPClassUID": sop_class_uid, "AffectedSOPInstanceUID": sop_instance_uid}
    return StoreMessage(uids, request, context_id)


def success_response(request: C_STORE, context_id: int) -> bytes:
    """The P-DATA-TF of the C-STORE-RSP to a request, with status 0000 (PS3.7 9.3.1.2, PS3.8 9.3.5)."""
    elements = {
        _SOP_CLASS: str(request.AffectedSOPClassUID).encode(),
        _FIELD: b"\x01\x80",  # C-STORE-RSP
        0x0120: struct.pack("<H", request.MessageID),
        _DATA_SET_TYPE: _NO_DATA_SET,
        0x0900: b"\x00\x00",
        _SOP_INSTANCE: str(request.AffectedSOPInstanceUID).encode(),
    }
    command = b"".join(
        struct.pack("<HHI", 0, element, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)
        for element, value in elements.items()
    )
    command = struct.pack("<HHII", 0, 0, 4, len(command)) + command
    value = struct.pack(">IBB", len(command) + 2, context_id, COMMAND | LAST) + command
    return struct.pack(">BxI", P_DATA_TF, len(value)) + value
