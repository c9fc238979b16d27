"""A Segmentation: segments, frames and the packing of its bits (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from cmmd_node.report.check.faults import Fault, code_key

_ABNORMAL = ("49755003", "SCT")
#: Category and type of what a segment may show (CID 7150, 7151 and the finding codes of CID 6014).
_PROPERTIES = {
    (("49755003", "SCT"), ("4147007", "SCT")),  # abnormal structure, mass
    (("49755003", "SCT"), ("129769006", "SCT")),  # abnormal structure, calcification cluster
    (("91723000", "SCT"), ("76752008", "SCT")),  # anatomical structure, breast
}


def segmentation_faults(ds: Dataset, images: Sequence[Dataset]) -> Iterator[Fault]:
    """Check a binary segmentation of one single-frame image.

    Parameters
    ----------
    images
        Headers of the images that it may be about, as far as they are known: the mask has the size of its image.
    """
    segments = list(ds.get("SegmentSequence") or ())
    frames = list(ds.get("PerFrameFunctionalGroupsSequence") or ())
    yield from _segment_faults(segments)
    yield from _frame_faults(ds, frames, len(segments))
    if int(ds.get("NumberOfFrames") or 0) != len(frames):
        yield _fault("NumberOfFrames", f"is {ds.get('NumberOfFrames')} with {len(frames)} functional groups")
    if ds.get("PhotometricInterpretation") != "MONOCHROME2":
        yield _fault("PhotometricInterpretation", "is not MONOCHROME2")
    # the other types, one byte or two for each pixel, and compressed frames are nothing that we write
    is_packed = ds.get("SegmentationType") == "BINARY"
    bits = (ds.get("BitsAllocated"), ds.get("BitsStored"), ds.get("HighBit"))
    if is_packed and bits != (1, 1, 0):
        yield _fault("BitsAllocated", f"bits allocated, stored and high are {bits}, not (1, 1, 0)")
    # frames follow each other without padding; the whole is padded to an even number of bytes
    packed = (len(frames) * int(ds.get("Rows") or 0) * int(ds.get("Columns") or 0) + 7) // 8
    meta = getattr(ds, "file_meta", Dataset())
    is_native = not UID(meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)).is_compressed
    if is_packed and is_native and len(ds.get("PixelData") or b"") != packed + packed % 2:
        yield _fault("PixelData", f"has {len(ds.get('PixelData') or b'')} bytes, not {packed + packed % 2}")
    yield from _reference_faults(ds, frames, images)


def _segment_faults(segments: list[Dataset]) -> Iterator[Fault]:
    if [segment.get("SegmentNumber") for segment in segments] != list(range(1, len(segments) + 1)):
        yield _fault("SegmentNumber", "segments are not numbered 1, 2, 3 without gaps")
    for number, segment in enumerate(segments, start=1):
        category = code_key(segment, "SegmentedPropertyCategoryCodeSequence")
        kind = code_key(segment, "SegmentedPropertyTypeCodeSequence")
        if (category, kind) not in _PROPERTIES:
            message = f"{category[0]} with type {kind[0]} is nothing that segment {number} may show"
            yield _fault("SegmentedPropertyCategoryCodeSequence", message, ours=True)
        tracked = [bool(segment.get(keyword)) for keyword in ("TrackingID", "TrackingUID")]
        if any(tracked) and not all(tracked):
            yield _fault("TrackingUID", f"segment {number} has one of Tracking ID and UID, both or none are wanted")
        elif category == _ABNORMAL and not all(tracked):
            yield _fault("TrackingUID", f"is missing in segment {number}, which shows a lesion", ours=True)
    tracking = [segment.TrackingUID for segment in segments if "TrackingUID" in segment]
    if len(set(tracking)) != len(tracking):
        yield _fault("TrackingUID", "two segments have the same one", ours=True)


def _frame_faults(ds: Dataset, frames: list[Dataset], segments: int) -> Iterator[Fault]:
    shown = []
    for number, frame in enumerate(frames, start=1):
        identification = _group(ds, frame, "SegmentIdentificationSequence")
        shown.append(identification.get("ReferencedSegmentNumber"))
        if "DimensionIndexValues" not in _group(ds, frame, "FrameContentSequence"):
            yield _fault("DimensionIndexValues", f"is missing in frame {number}")
    unknown = sorted({str(number) for number in shown} - {str(number) for number in range(1, segments + 1)})
    if unknown:
        yield _fault("ReferencedSegmentNumber", f"frames show segments {', '.join(unknown)}, which are not described")
    if shown != list(range(1, segments + 1)):
        yield _fault(
            "ReferencedSegmentNumber", f"frames show segments {shown}, wanted is each of {segments} once", ours=True
        )


def _reference_faults(ds: Dataset, frames: list[Dataset], images: Sequence[Dataset]) -> Iterator[Fault]:
    listed = {
        str(reference.get("ReferencedSOPInstanceUID", ""))
        for series in ds.get("ReferencedSeriesSequence") or ()
        for reference in series.get("ReferencedInstanceSequence") or ()
    }
    derivations = [_group(ds, frame, "DerivationImageSequence") for frame in frames]
    sources = [(derivation.get("SourceImageSequence") or [Dataset()])[0] for derivation in derivations]
    for source in sources:
        if source.get("SpatialLocationsPreserved") != "YES":
            yield _fault(
                "SpatialLocationsPreserved", "does not say that the mask has the pixel grid of its image", ours=True
            )
        if str(source.get("ReferencedSOPInstanceUID", "")) not in listed:
            yield _fault("ReferencedSeriesSequence", "does not list the image that a frame was made from", ours=True)
    if len(listed) != 1:
        yield _fault("ReferencedSeriesSequence", f"lists {len(listed)} images, one is wanted", ours=True)
    for image in images:
        size = image.get("Rows"), image.get("Columns")
        if str(image.get("SOPInstanceUID")) in listed and size != (ds.get("Rows"), ds.get("Columns")):
            yield _fault("Rows", f"rows and columns are not those of the image, {size}", ours=True)


def _group(ds: Dataset, frame: Dataset, keyword: str) -> Dataset:
    """A functional group of a frame, whether it stands with the frame or for all frames together."""
    shared = (ds.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    group: list[Dataset] = frame.get(keyword) or shared.get(keyword) or [Dataset()]
    return group[0]


def _fault(keyword: str, message: str, *, ours: bool = False) -> Fault:
    return Fault(rule="PS3.3 C.8.20", path=keyword, message=message, ours=ours)
