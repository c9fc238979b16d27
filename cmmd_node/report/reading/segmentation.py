"""A Segmentation in words: its segments with kind, side and area."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from cmmd_node.report.check.faults import code_meaning
from cmmd_node.report.reading.words import tracking_of


def segmentation_lines(ds: Dataset) -> Iterator[str]:
    """The segments with kind, side, area and tracking identifier."""
    of_images = [
        str(reference.get("ReferencedSOPInstanceUID", ""))
        for series in ds.get("ReferencedSeriesSequence") or ()
        for reference in series.get("ReferencedInstanceSequence") or ()
    ]
    yield from (f"  of image {uid}" for uid in of_images)
    yield f"  {ds.get('SegmentationType', 'unknown type')}, {ds.get('Columns')} columns, {ds.get('Rows')} rows"
    areas = _areas(ds)
    for segment in ds.get("SegmentSequence") or ():
        number = segment.get("SegmentNumber")
        words = [code_meaning(segment, "SegmentedPropertyTypeCodeSequence") or "unknown kind"]
        for region in segment.get("AnatomicRegionSequence") or ():
            side = code_meaning(region, "AnatomicRegionModifierSequence")
            words.append(" ".join(filter(None, (side.lower(), str(region.get("CodeMeaning", "")).lower()))))
        if number in areas:
            words.append(f"area {areas[number]} pixels")
        algorithms = segment.get("SegmentationAlgorithmIdentificationSequence") or ()
        words += [f"by {item.get('AlgorithmName', '')} {item.get('AlgorithmVersion', '')}" for item in algorithms]
        label = str(segment.get("SegmentLabel", ""))
        yield f"  segment {number} {label}: {', '.join(words)}{tracking_of(segment)}"


def _areas(ds: Dataset) -> dict[int, int]:
    """Pixels of each segment, over all frames; {} where they are not bits (PS3.5 8.1.1, first pixel lowest)."""
    meta = getattr(ds, "file_meta", Dataset())
    is_native = not UID(meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)).is_compressed
    if ds.get("SegmentationType") != "BINARY" or not is_native:
        return {}
    size = int(ds.get("Rows") or 0) * int(ds.get("Columns") or 0)
    bits = int.from_bytes(ds.get("PixelData") or b"", "little")
    shared = (ds.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    areas: dict[int, int] = {}
    for index, frame in enumerate(ds.get("PerFrameFunctionalGroupsSequence") or ()):
        identification = frame.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
        if identification:
            number = identification[0].get("ReferencedSegmentNumber")
            frame_bits = (bits >> (index * size)) & ((1 << size) - 1)
            areas[number] = areas.get(number, 0) + frame_bits.bit_count()
    return areas
