"""An object's attributes in the DICOM JSON model (PS3.18 annex F), with links where values are bulk data."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag

from cmmd_node.dicomweb.opened import PIXEL_DATA, OpenedObject

logger = logging.getLogger(__name__)

_BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
#: Longer values of these VRs are links; those in sequences are not, since nothing that the node keeps has long ones.
INLINE_BYTES = 1024
_CHARACTER_SET = BaseTag(0x00080005)


def metadata(one: OpenedObject, instance_url: str) -> dict[str, Any]:
    """All attributes by tag; an element that nobody can understand is left out."""
    found: dict[str, Any] = {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}
    for tag in list(one.header.keys()):  # iterating over values would convert them
        if tag == _CHARACTER_SET:
            continue
        try:
            found[f"{tag:08X}"] = _element(one, tag, instance_url)
        except Exception as error:  # whatever a value holds: values are converted here for the first time
            logger.warning("%s left out of metadata: %s", tag, type(error).__name__)
    found["00083002"] = {"vr": "UI", "Value": [str(one.transfer_syntax)]}
    if one.has_pixels:
        found["7FE00010"] = {"vr": one.pixels_vr, "BulkDataURI": f"{instance_url}/bulkdata/7FE00010"}
    return dict(sorted(found.items()))


def bulk_value(one: OpenedObject, tag: BaseTag) -> bytes | None:
    """The value of an element that is a link in the metadata, other than Pixel Data; None when there is none."""
    if tag == PIXEL_DATA or tag not in one.header:
        return None
    element = one.header[tag]
    return element.value if element.VR in _BULK_VRS and isinstance(element.value, bytes) else None


def _element(one: OpenedObject, tag: BaseTag, instance_url: str) -> dict[str, Any]:
    raw = one.header.get_item(tag, keep_deferred=True)
    length = raw.length if isinstance(raw, RawDataElement) else 0
    if isinstance(raw, RawDataElement) and raw.VR in _BULK_VRS and length > INLINE_BYTES:
        return {"vr": raw.VR, "BulkDataURI": f"{instance_url}/bulkdata/{tag:08X}"}
    element: DataElement = one.header[tag]
    if element.VR in _BULK_VRS and isinstance(element.value, bytes):
        if len(element.value) > INLINE_BYTES:  # of Implicit VR: the dictionary has told the VR only now
            return {"vr": element.VR, "BulkDataURI": f"{instance_url}/bulkdata/{tag:08X}"}
        if element.value:
            return {"vr": element.VR, "InlineBinary": base64.b64encode(element.value).decode()}
        return {"vr": element.VR}
    told: dict[str, Any] = element.to_json_dict(None, 1 << 62)
    json.dumps(told, allow_nan=False)
    return told
