"""A Secondary Capture in words: what it is a picture of. Marks that it shows are pixels, which cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from cmmd_node.report.reading.words import BREASTS


def secondary_capture_lines(ds: Dataset) -> Iterator[str]:
    """Side, source, size, and what it says of itself."""
    yield f"  {BREASTS.get(str(ds.get('ImageLaterality') or ''), 'side not said')}"
    for source in ds.get("SourceImageSequence") or ():
        yield f"  picture of image {source.get('ReferencedSOPInstanceUID', '')}"
    yield f"  {ds.get('Columns')} columns, {ds.get('Rows')} rows"
    if ds.get("DerivationDescription"):
        yield f"  {ds.DerivationDescription}"
    yield "  what it marks is burned in: see the picture"
