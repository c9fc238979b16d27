"""A received data set's skeleton, walked over its bytes before anything parses it.

The walk proves that every length stays inside the object, that nesting and element count are sane, and collects the
few values that the index needs. It decodes nothing else, so hostile input costs time in proportion to the elements
that it is allowed to have, and no recursion.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap

from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.uid import UID

from cmmd_node.errors import MalformedUID, MissingUID, TooComplex, Truncated, UnreadableInstance

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA = 0x7FE00010
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO"}
    | {b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)
#: The longest value that is collected: more than any of them may hold (PS3.5 6.2).
_VALUE_LIMIT = 1024

_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE = 0x00080005, 0x00080016, 0x00080018
_PATIENT_NAME, _PATIENT_ID, _BIRTH_DATE = 0x00100010, 0x00100020, 0x00100030
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_SAMPLES, _FRAMES, _ROWS, _COLUMNS, _BITS = 0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280100
_COLLECTED = frozenset(
    {
        _CHARACTER_SET,
        _SOP_CLASS,
        _SOP_INSTANCE,
        _PATIENT_NAME,
        _PATIENT_ID,
        _BIRTH_DATE,
        _STUDY,
        _SERIES,
        _SAMPLES,
        _FRAMES,
        _ROWS,
        _COLUMNS,
        _BITS,
    }
)
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*", re.ASCII)


def is_uid(text: str) -> bool:
    """Whether `text` is a UID as PS3.5 9.1 wants it."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Limits:
    """How complex a data set may be."""

    depth: int = 60
    """Of sequences inside each other."""
    elements: int = 50_000
    """With items and fragments."""


#: It was within the limits of its time.
_AS_KEPT = Limits(depth=1_000_000, elements=1_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose object this is, as its data set says."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    trailing_bytes: int
    """Bytes after the last element that belong to none; kept, as everything is."""


def read_identity(data: bytes | mmap, start: int, transfer_syntax_uid: str, limits: Limits) -> Identity:
    """Walk the data set that begins at `start` and say whose it is.

    Raises
    ------
    Truncated, TooComplex, MissingUID, MalformedUID, UnreadableInstance
        What is wrong with it, in one sentence.
    """
    transfer_syntax = UID(transfer_syntax_uid)
    values, trailing_bytes = _Walk(data, start, transfer_syntax, _COLLECTED, limits).run()
    uids = {}
    for tag, name in (
        (_SOP_CLASS, "SOP Class UID"),
        (_SOP_INSTANCE, "SOP Instance UID"),
        (_STUDY, "Study Instance UID"),
        (_SERIES, "Series Instance UID"),
    ):
        text = values.get(tag, b"").rstrip(b"\0 ").decode("latin-1")
        if not text:
            raise MissingUID(f"the data set has no {name}")
        if not is_uid(text):
            raise MalformedUID(f"{name} is no UID")
        uids[tag] = text
    _check_pixel_length(values, transfer_syntax)
    text_of = text_decoder(values.get(_CHARACTER_SET, b""))
    return Identity(
        sop_class_uid=uids[_SOP_CLASS],
        sop_instance_uid=uids[_SOP_INSTANCE],
        study_instance_uid=uids[_STUDY],
        series_instance_uid=uids[_SERIES],
        patient_id=text_of(values.get(_PATIENT_ID, b"")),
        patient_name=text_of(values.get(_PATIENT_NAME, b"")),
        patient_birth_date=text_of(values.get(_BIRTH_DATE, b"")),
        trailing_bytes=trailing_bytes,
    )


def top_level_values(
    data: bytes | mmap, start: int, transfer_syntax_uid: str, tags: frozenset[int]
) -> dict[int, bytes]:
    """The values of some elements of a kept data set, as they are encoded; only short ones, and of Pixel Data none.

    Raises
    ------
    UnreadableInstance
        As `read_identity`.
    """
    return _Walk(data, start, UID(transfer_syntax_uid), tags, _AS_KEPT).run()[0]


class _Walk:
    """One pass over the elements; `_frames` holds the open sequences and items, outermost first."""

    def __init__(
        self, data: bytes | mmap, start: int, transfer_syntax: UID, collected: frozenset[int], limits: Limits
    ) -> None:
        self._limits = limits
        self._data = data
        self._collected = collected
        self._position = start
        self._end = len(data)
        self._explicit = not transfer_syntax.is_implicit_VR
        self._encapsulated = transfer_syntax.is_encapsulated
        order = "<" if transfer_syntax.is_little_endian else ">"
        self._plain = struct.Struct(order + "HH2sH")
        self._tag = struct.Struct(order + "HH")
        self._short = struct.Struct(order + "H")
        self._long = struct.Struct(order + "I")
        self._frames: list[tuple[bool, int]] = []  # (is an item, where it ends or _UNDEFINED)
        self._values: dict[int, bytes] = {}
        self._elements = 0

    def run(self) -> tuple[dict[int, bytes], int]:
        """The collected values, and how many bytes after the pixel data belong to no element."""
        if self._position >= self._end:
            raise UnreadableInstance("the data set is empty")
        seen_pixels = False
        while True:
            if not seen_pixels:
                self._step_over_plain_elements()
            self._close_finished()
            if self._position >= self._end:
                break
            tag = self._next_tag(seen_pixels)
            if tag is None:
                return self._values, self._end - self._position
            if self._frames and not self._frames[-1][0]:
                self._step_in_sequence(tag)
            elif tag == _ITEM_END and self._frames and self._frames[-1][1] == _UNDEFINED:
                self._skip(self._length_after_tag(tag))
                self._frames.pop()
            else:
                self._step_over_element(tag)
                seen_pixels = seen_pixels or (tag == _PIXEL_DATA and not self._frames)
        if self._frames:
            raise Truncated("the data set ends inside a sequence")
        return self._values, 0

    def _step_over_plain_elements(self) -> None:
        """The usual elements, of explicit VR with a length of two bytes, without a call for each.

        The position is left at the first that is another, or with which anything is wrong.
        """
        is_item, end = self._frames[-1] if self._frames else (True, _UNDEFINED)
        if not (self._explicit and is_item):
            return
        data, position, elements = self._data, self._position, self._elements
        end = min(end, self._end)
        while position + 8 <= end and elements < self._limits.elements:
            group, element, vr, length = self._plain.unpack_from(data, position)
            value, behind = position + 8, position + 8 + length
            if vr not in _SHORT_VRS or not 0x0008 <= group < 0x7FE0 or behind > end:
                break
            tag = group << 16 | element
            if tag in self._collected and length <= _VALUE_LIMIT and not self._frames:
                self._values[tag] = bytes(data[value:behind])
            position, elements = behind, elements + 1
        self._position, self._elements = position, elements

    def _close_finished(self) -> None:
        """Leave every sequence and item that ends here."""
        while self._frames and self._frames[-1][1] == self._position:
            self._frames.pop()

    def _next_tag(self, seen_pixels: bool) -> int | None:
        """The tag at the position, which stays; None where trailing garbage begins."""
        self._elements += 1
        if self._elements > self._limits.elements:
            raise TooComplex(f"more than {self._limits.elements} elements")
        after_pixels = seen_pixels and not self._frames
        if self._position + 8 > self._end:
            if after_pixels:
                return None
            raise Truncated("the data set ends inside an element")
        group, element = self._tag.unpack_from(self._data, self._position)
        tag: int = group << 16 | element
        if after_pixels and tag <= _PIXEL_DATA:
            return None
        if group < 0x0008:
            raise UnreadableInstance(f"group {group:04X} does not belong in a data set")
        return tag

    def _step_in_sequence(self, tag: int) -> None:
        """Between items only items and the sequence's end may stand."""
        length = self._length_after_tag(tag)
        if tag == _ITEM:
            self._open(is_item=True, length=length)
        elif tag == _SEQUENCE_END and self._frames[-1][1] == _UNDEFINED:
            self._skip(length)
            self._frames.pop()
        else:
            raise UnreadableInstance("something else than an item stands in a sequence")

    def _step_over_element(self, tag: int) -> None:
        if tag >> 16 == 0xFFFE:
            raise UnreadableInstance("an item stands outside of a sequence")
        vr, length = self._read_vr_and_length(tag)
        is_sequence = vr == b"SQ" or (length == _UNDEFINED and tag != _PIXEL_DATA)
        if is_sequence:
            if length == _UNDEFINED and vr not in (b"SQ", b"UN"):
                raise UnreadableInstance(f"an element of VR {vr.decode('latin-1')} has undefined length")
            self._open(is_item=False, length=length)
        elif length == _UNDEFINED:
            if not self._encapsulated:
                raise UnreadableInstance("native pixel data have undefined length")
            self._step_over_fragments()
        else:
            start = self._position
            self._skip(length)
            if not self._frames:
                if tag in self._collected and length <= _VALUE_LIMIT:
                    self._values[tag] = bytes(self._data[start : self._position])
                elif tag == _PIXEL_DATA:
                    self._values[_PIXEL_DATA] = struct.pack("<Q", length)

    def _read_vr_and_length(self, tag: int) -> tuple[bytes, int]:
        """VR and length of an element; the position moves to its value."""
        position = self._position + 4
        if not self._explicit:
            self._position += 8
            return _implicit_vr(tag), int(self._long.unpack_from(self._data, position)[0])
        vr = bytes(self._data[position : position + 2])
        if vr in _SHORT_VRS:
            self._position += 8
            return vr, int(self._short.unpack_from(self._data, position + 2)[0])
        if vr not in _LONG_VRS:
            raise UnreadableInstance("a value representation is none: not the transfer syntax that was agreed on")
        if position + 8 > self._end:
            raise Truncated("the data set ends inside an element")
        self._position += 12
        return vr, int(self._long.unpack_from(self._data, position + 4)[0])

    def _length_after_tag(self, _tag: int) -> int:
        """The length of an item or delimiter, which never has a VR; the position moves behind it."""
        length = int(self._long.unpack_from(self._data, self._position + 4)[0])
        self._position += 8
        return length

    def _open(self, *, is_item: bool, length: int) -> None:
        end = _UNDEFINED if length == _UNDEFINED else self._position + length
        limit = next((frame[1] for frame in reversed(self._frames) if frame[1] != _UNDEFINED), self._end)
        if end != _UNDEFINED and end > limit:
            raise Truncated("a sequence or item is longer than what it stands in")
        self._frames.append((is_item, end))
        if len(self._frames) > 2 * self._limits.depth:
            raise TooComplex(f"sequences are nested deeper than {self._limits.depth} levels")

    def _skip(self, length: int) -> None:
        end = self._position + length
        limit = self._end
        if self._frames and self._frames[-1][1] != _UNDEFINED:
            limit = self._frames[-1][1]
        if end > limit:
            raise Truncated("an element is longer than what is left")
        self._position = end

    def _step_over_fragments(self) -> None:
        """Encapsulated pixel data (PS3.5 A.4): fragments up to the sequence's end."""
        while True:
            self._elements += 1
            if self._elements > self._limits.elements:
                raise TooComplex(f"more than {self._limits.elements} elements and fragments")
            if self._position + 8 > self._end:
                raise Truncated("the pixel data end before their last fragment")
            group, element = self._tag.unpack_from(self._data, self._position)
            length = self._length_after_tag(group << 16 | element)
            if (group << 16 | element) == _SEQUENCE_END:
                return
            if (group << 16 | element) != _ITEM or length == _UNDEFINED:
                raise UnreadableInstance("something else than a fragment stands in the pixel data")
            self._skip(length)


def _implicit_vr(tag: int) -> bytes:
    """SQ where the dictionary says so, UN otherwise: only sequences matter here."""
    try:
        return b"SQ" if dictionary_VR(tag) == "SQ" else b"UN"
    except KeyError:
        return b"UN"


def _check_pixel_length(values: dict[int, bytes], transfer_syntax: UID) -> None:
    """Native pixel data must be as long as the image says (PS3.5 8.1.1)."""
    if transfer_syntax.is_encapsulated or _PIXEL_DATA not in values:
        return
    order = "<" if transfer_syntax.is_little_endian else ">"
    numbers = []
    for tag in (_ROWS, _COLUMNS, _SAMPLES, _BITS):
        value = values.get(tag, b"")
        if len(value) != 2:
            return
        numbers.append(struct.unpack(order + "H", value)[0])
    rows, columns, samples, bits = numbers
    try:
        frames = int(values.get(_FRAMES, b"1") or b"1")
    except ValueError:
        raise UnreadableInstance("Number of Frames is no number") from None
    wanted = (rows * columns * samples * bits * frames + 7) // 8
    (found,) = struct.unpack("<Q", values[_PIXEL_DATA])
    if found < wanted:
        raise Truncated(f"the pixel data have {found} bytes, {wanted} are wanted")


def text_decoder(character_set: bytes) -> Callable[[bytes], str]:
    """Text as its Specific Character Set says (PS3.3 C.12.1.1.2); what does not decode is replaced, never raised."""
    names = [name.strip() for name in character_set.decode("latin-1").split("\\")]
    encodings = [python_encoding[name] for name in names if name in python_encoding] or ["latin-1"]

    def decode(value: bytes) -> str:
        if len(encodings) > 1:  # code extensions: escape sequences switch between them
            with contextlib.suppress(LookupError, UnicodeError, ValueError, Warning):
                return _tidy(decode_bytes(value, encodings, {0x5C, 0x5E, 0x3D}))
        return _tidy(value.decode(encodings[0], "replace"))

    return decode


def _tidy(text: str) -> str:
    return text.replace("\0", "").strip()
