"""A Secondary Capture: a colour picture of one image, of the size that it says (PS3.3 A.8.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from cmmd_node.report.check.faults import Fault


def secondary_capture_faults(ds: Dataset, images: Sequence[Dataset]) -> Iterator[Fault]:
    """Check pixels and source.

    Parameters
    ----------
    images
        Headers of the images that it may be about, as far as they are known.
    """
    layout = (ds.get("SamplesPerPixel"), ds.get("BitsAllocated"), ds.get("BitsStored"), ds.get("HighBit"))
    if ds.get("PhotometricInterpretation") != "RGB":
        yield _fault("PhotometricInterpretation", "is not RGB", ours=True)
    if layout != (3, 8, 8, 7) or ds.get("PlanarConfiguration") != 0 or ds.get("PixelRepresentation") != 0:
        yield _fault("SamplesPerPixel", "the pixels are not three unsigned bytes each, colour by pixel", ours=True)
    bits = math.prod(int(ds.get(keyword) or 0) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"))
    wanted, found = bits // 8, len(ds.get("PixelData") or b"")
    meta = getattr(ds, "file_meta", Dataset())
    is_native = not UID(meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)).is_compressed
    if is_native and found != wanted + wanted % 2:
        yield _fault("PixelData", f"has {found} bytes, not {wanted}")
    if list(ds.get("ImageType") or ()) != ["DERIVED", "SECONDARY"]:
        yield _fault("ImageType", "does not say that the picture is derived", ours=True)
    sources = [str(one.get("ReferencedSOPInstanceUID", "")) for one in ds.get("SourceImageSequence") or ()]
    if len(sources) != 1 or (images and sources[0] not in {str(image.SOPInstanceUID) for image in images}):
        yield _fault("SourceImageSequence", "does not name the one image that the picture shows", ours=True)


def _fault(keyword: str, message: str, *, ours: bool = False) -> Fault:
    return Fault(rule="PS3.3 A.8.1", path=keyword, message=message, ours=ours)
