"""A Secondary Capture: a colour picture of one image, of the size that it says (PS3.3 A.8.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

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
        yield _fault("PhotometricInterpretation", "is not RGB")
    if layout != (3, 8, 8, 7) or ds.get("PlanarConfiguration") != 0 or ds.get("PixelRepresentation") != 0:
        yield _fault("SamplesPerPixel", "the pixels are not three unsigned bytes each, colour by pixel")
    wanted = int(ds.get("Rows") or 0) * int(ds.get("Columns") or 0) * 3
    if len(ds.get("PixelData") or b"") != wanted + wanted % 2:
        yield _fault("PixelData", f"has {len(ds.get('PixelData') or b'')} bytes, not {wanted}")
    if list(ds.get("ImageType") or ()) != ["DERIVED", "SECONDARY"]:
        yield _fault("ImageType", "does not say that the picture is derived")
    sources = [str(one.get("ReferencedSOPInstanceUID", "")) for one in ds.get("SourceImageSequence") or ()]
    if len(sources) != 1 or (images and sources[0] not in {str(image.SOPInstanceUID) for image in images}):
        yield _fault("SourceImageSequence", "does not name the one image that the picture shows")


def _fault(keyword: str, message: str) -> Fault:
    return Fault(rule="PS3.3 A.8.1", path=keyword, message=message)
