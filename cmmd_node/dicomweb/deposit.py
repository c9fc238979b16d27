"""What one STOW-RS request brings (PS3.18 10.5): instances part by part into the inbox, an answer for each.

An instance is written to the spool while it comes in, and kept by the same commit as that of a C-STORE before its entry
stands in Referenced SOP Sequence. A request that breaks off costs the part that it broke off in: parts before it are
kept, as they would be after a C-STORE each.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from cmmd_node.errors import (
    MalformedRequest,
    MalformedUID,
    OutOfResources,
    RefusedInstance,
    Truncated,
    UnreadableInstance,
    UnsupportedTransferSyntax,
    WrongStudy,
)
from cmmd_node.multipart import MultipartReader, PartBegins, PartEnds, media_type
from cmmd_node.receive.inbox import Inbox, Spool
from cmmd_node.receive.part10 import FileMeta, begin, read_file_meta
from cmmd_node.receive.scp import STORE_STATUS
from cmmd_node.receive.structure import Identity

logger = logging.getLogger(__name__)

#: Where objects say that they came from.
SOURCE = "STOW-RS"
#: What one request may bring; each part has an entry in the answer, which is held in memory.
MAXIMUM_PARTS = 50_000

#: Failure Reason (0008,1197) of each refusal (PS3.18 table I.2-2); where C-STORE has the same code, it is that one.
FAILURE_REASON: dict[type[RefusedInstance], int] = {
    **STORE_STATUS,
    MalformedUID: 0xC000,
    WrongStudy: 0xC106,
    UnsupportedTransferSyntax: 0xC122,
}


@dataclass(frozen=True, slots=True)
class Failed:
    """A part that is not; without UIDs when it did not say any."""

    reason: int
    comment: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


class Deposit:
    """The parts of one request on their way in; `referenced` and `failed` fill up meanwhile."""

    def __init__(self, inbox: Inbox, boundary: str, *, study_instance_uid: str | None, sender: str) -> None:
        self._inbox = inbox
        self._reader = MultipartReader(boundary)
        self._study = study_instance_uid
        self._sender = sender
        self._part: _Part | None = None
        self.referenced: list[Identity] = []
        self.failed: list[Failed] = []

    def take(self, data: bytes) -> None:
        """The next piece of the body.

        Raises
        ------
        MalformedRequest
            From here on the body makes no sense; what was kept before stays.
        """
        for event in self._reader.feed(data):
            if isinstance(event, PartBegins):
                if len(self.referenced) + len(self.failed) >= MAXIMUM_PARTS:
                    raise MalformedRequest(f"more than {MAXIMUM_PARTS} parts in one request")
                self._part = _Part(self._inbox, event.headers.get("content-type", ""), event.headers)
            elif isinstance(event, PartEnds):
                self._finish()
            elif self._part is not None:
                self._part.write(event)

    def end(self) -> None:
        """The body is over.

        Raises
        ------
        MalformedRequest
            It ends inside a part, or before the last boundary.
        """
        self._reader.end()

    def break_off(self, problem: str) -> None:
        """Nothing more will come that makes sense: the part at hand, if there is one, has failed."""
        if self._part is not None:
            part, self._part = self._part, None
            self._fail(part, Truncated(problem))
            part.discard()

    def _finish(self) -> None:
        """Keep the instance that is complete now, and only then say so."""
        part, self._part = self._part, None
        if part is None:
            return
        try:
            self.referenced.append(part.keep(self._study))
        except RefusedInstance as error:
            self._fail(part, error)
        except Exception:  # the one catch-all around a part
            logger.exception("STOW-RS from %s failed", self._sender)
            self._fail(part, RefusedInstance("unexpected error"))
        else:
            logger.info("STOW-RS from %s: %s %s", self._sender, self.referenced[-1].sop_instance_uid, part.outcome)
        finally:
            part.discard()

    def _fail(self, part: _Part, error: RefusedInstance) -> None:
        reason = next(FAILURE_REASON[kind] for kind in type(error).__mro__ if kind in FAILURE_REASON)
        logger.warning("STOW-RS from %s refused with %04X: %s", self._sender, reason, error)
        uids = (part.meta.sop_class_uid, part.meta.sop_instance_uid) if part.meta else ("", "")
        self.failed.append(Failed(reason, str(error), *uids))

    @property
    def status(self) -> int:
        """The HTTP status of the whole (PS3.18 table 10.5.3-1)."""
        if not self.failed:
            return 200
        if self.referenced:
            return 202
        lacking = all(one.reason == FAILURE_REASON[OutOfResources] for one in self.failed)
        return 503 if lacking else 409

    def answer(self, base_url: str) -> dict[str, Any]:
        """The Store Instances Response Module (PS3.18 annex I) as DICOM JSON."""
        answer: dict[str, Any] = {}
        studies = {one.study_instance_uid for one in self.referenced}
        if len(studies) == 1:
            answer["00081190"] = _value("UR", f"{base_url}/studies/{studies.pop()}")
        named = [one for one in self.failed if one.sop_instance_uid]
        others = [one for one in self.failed if not one.sop_instance_uid]
        for tag, items in (
            ("00081198", [_failed_item(one) for one in named]),
            ("00081199", [_referenced_item(one, base_url) for one in self.referenced]),
            ("0008119A", [_failed_item(one) for one in others]),
        ):
            if items:
                answer[tag] = {"vr": "SQ", "Value": items}
        return answer


class _Part:
    """One instance: its File Meta Information until that is complete, then a spool file.

    What is wrong with it is kept in `_problem` and the rest is swallowed, so that the parts behind it have their turn.
    """

    def __init__(self, inbox: Inbox, content_type: str, headers: Any) -> None:
        self._inbox = inbox
        self._head = bytearray()
        self._spool: Spool | None = None
        self._problem: RefusedInstance | None = None
        self.meta: FileMeta | None = None
        self.outcome = ""
        if media_type(content_type)[0] != "application/dicom":
            self._problem = UnreadableInstance("a part is not of type application/dicom")
        elif headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit"):
            self._problem = UnreadableInstance("a part has a Content-Transfer-Encoding; binary is wanted")

    def write(self, data: bytes) -> None:
        if self._spool is not None:
            self._spool.write(data)
        elif self._problem is None:
            self._head += data
            self._look_at_head(is_all=False)

    def keep(self, study_instance_uid: str | None) -> Identity:
        """Make the instance durable and indexed.

        Raises
        ------
        RefusedInstance
            It is not kept.
        """
        if self._problem is None and self._spool is None:
            self._look_at_head(is_all=True)
        if self._problem is not None or self._spool is None:
            raise self._problem or UnreadableInstance("the part is empty")
        self.outcome = self._inbox.keep(self._spool, study_instance_uid=study_instance_uid)
        assert self._spool.identity is not None  # of a kept object
        return self._spool.identity

    def discard(self) -> None:
        """Drop what came in; a kept object is not touched."""
        if self._spool is not None:
            self._spool.discard()

    def _look_at_head(self, *, is_all: bool) -> None:
        try:
            self.meta = read_file_meta(self._head, is_all=is_all)
            if self.meta is None:
                return
            self._spool = begin(self._inbox, self.meta, self._head, source=SOURCE)
        except RefusedInstance as error:
            self._problem = error
        self._head.clear()


def _value(vr: str, value: object) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _referenced_item(one: Identity, base_url: str) -> dict[str, Any]:
    series = f"{base_url}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
    return {
        "00081150": _value("UI", one.sop_class_uid),
        "00081155": _value("UI", one.sop_instance_uid),
        "00081190": _value("UR", f"{series}/instances/{one.sop_instance_uid}"),
    }


def _failed_item(one: Failed) -> dict[str, Any]:
    """With an Error Comment (0000,0902), as some archives write it: a person wants to know."""
    item = {"00000902": _value("LO", one.comment[:64]), "00081197": _value("US", one.reason)}
    if one.sop_instance_uid:
        item |= {"00081150": _value("UI", one.sop_class_uid), "00081155": _value("UI", one.sop_instance_uid)}
    return item
