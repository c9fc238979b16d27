"""UIDs of everything the node makes: derived, so that the same work done twice carries the same names.

A derived UID is a UUID of version 8 (RFC 9562) under the root 2.25 (PS3.5 B.2), taken from a SHA-256 over labelled
parts. The identity of the node is the only UID that is drawn by chance, once for a data_dir.
"""

from __future__ import annotations

import hashlib
import uuid

from cmmd_node import __version__
from cmmd_node.facts import Codes, Form, Model, Round


def new_node_uid() -> str:
    """Draw the identity of a node; made once for a data_dir and kept there."""
    return f"2.25.{uuid.uuid4().int}"


def derived_uid(label: str, **parts: object) -> str:
    """Derive the UID that belongs to the parts, whatever order they are named in.

    Parameters
    ----------
    label
        What the UID names; UIDs of different labels never agree.
    **parts
        Values whose ``repr`` is stable: strings, numbers, and tuples or dataclasses of them.
    """
    digest = hashlib.sha256(repr((label, sorted(parts.items()))).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76  # version 8: derived in a way of our own
    number = number & ~(0b11 << 62) | 0b10 << 62  # variant of RFC 9562
    return f"2.25.{number}"


def series_uid(round_: Round, form: Form, codes: Codes = Codes.SCT) -> str:
    """Series Instance UID of all objects of one form, with the same codes, in one round.

    A series holds one modality and one equipment, and nothing twice.
    """
    return derived_uid(
        "series",
        node=round_.node_uid,
        study=round_.study_instance_uid,
        round=round_.number,
        software=__version__,
        form=form.value,
        codes=codes.value,
    )


def instance_uid(round_: Round, model: Model, form: Form, *, image: str | None, content: bytes) -> str:
    """SOP Instance UID of a result object.

    Parameters
    ----------
    image
        SOP Instance UID of the one image that the object is about, None when it is about the study.
    content
        The encoded data set without its SOP Instance UID: other bytes can never come under the same UID.
    """
    return derived_uid(
        "instance",
        node=round_.node_uid,
        study=round_.study_instance_uid,
        round=round_.number,
        software=__version__,
        model=model.digest,
        form=form.value,
        image=image,
        content=hashlib.sha256(content).hexdigest(),
    )


def model_uid(model: Model) -> str:
    """Device UID of a model: a new one whenever the model changes, the same on every node (IHE AIR)."""
    return derived_uid("model", name=model.name, version=model.version, digest=model.digest)
