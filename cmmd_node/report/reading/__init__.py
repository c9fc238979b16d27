"""Result objects as a person reads them: from files, ours and others', to lines of text.

A module for each form. Nothing here decides whether an object is right; :mod:`cmmd_node.report.check` does. What is
missing is left out, and patients are not named.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MammographyCADSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from cmmd_node.errors import NodeError
from cmmd_node.report.reading.cad_sr import cad_sr_lines
from cmmd_node.report.reading.measurement_report import measurement_report_lines
from cmmd_node.report.reading.presentation import presentation_lines
from cmmd_node.report.reading.secondary_capture import secondary_capture_lines
from cmmd_node.report.reading.segmentation import segmentation_lines
from cmmd_node.report.reading.words import day, hour, printable

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, NotImplementedError, EOFError)
_LINES: Mapping[str, Callable[[Dataset], Iterable[str]]] = {
    MammographyCADSRStorage: cad_sr_lines,
    Comprehensive3DSRStorage: measurement_report_lines,
    ComprehensiveSRStorage: measurement_report_lines,
    EnhancedSRStorage: measurement_report_lines,
    SegmentationStorage: segmentation_lines,
    GrayscaleSoftcopyPresentationStateStorage: presentation_lines,
    SecondaryCaptureImageStorage: secondary_capture_lines,
}


def read_object(path: Path, *, pixels: bool = True) -> Dataset:
    """Read an object with all of its values, so that whatever cannot be decoded shows here.

    Raises
    ------
    NodeError
        The file is no DICOM file, is nested too deep, or holds a value that cannot be decoded.
    """
    with warnings.catch_warnings(action="ignore"):  # values of wrong form are the check's to tell
        try:
            ds = dcmread(path, stop_before_pixels=not pixels)
            for _ in ds.iterall():
                pass
        except InvalidDicomError as error:
            raise NodeError(f"{path} is no DICOM file") from error
        except (*_UNREADABLE, BytesLengthException, RecursionError, struct.error, zlib.error) as error:
            raise NodeError(f"{path} cannot be read: {type(error).__name__}") from error
    return ds


def reading(ds: Dataset) -> list[str]:
    """Say what a result object holds, in lines.

    Raises
    ------
    NodeError
        It is of another SOP class, or a value in it is of a kind that its attribute cannot have.
    """
    kind = UID(str(ds.get("SOPClassUID", "")))
    if kind not in _LINES:
        raise NodeError(f"{kind.name or 'an object without a class'} is nothing that can be shown")
    try:
        return [printable(line) for line in (*_heading(ds, kind), *_LINES[kind](ds))]
    except _UNREADABLE as error:
        raise NodeError(f"{kind.name} cannot be shown: {type(error).__name__}") from error


def _heading(ds: Dataset, kind: UID) -> Iterator[str]:
    made = " ".join(filter(None, (day(_of_content(ds, "Date")), hour(_of_content(ds, "Time")))))
    yield f"{kind.name.removesuffix(' Storage')}{' of ' if made else ''}{made}"
    description = str(ds.get("SeriesDescription") or "")
    if description:
        yield f"  {description}"
    yield f"  study {ds.get('StudyInstanceUID')} of {day(ds.get('StudyDate')) or 'an unknown day'}"
    maker = [str(ds.get(keyword) or "") for keyword in ("Manufacturer", "ManufacturerModelName")]
    yield f"  made by {' '.join(dict.fromkeys(filter(None, maker))) or 'nobody who says so'}"
    predecessors = [
        str(reference.get("ReferencedSOPInstanceUID", ""))
        for study in ds.get("PredecessorDocumentsSequence") or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for reference in series.get("ReferencedSOPSequence") or ()
    ]
    yield from (f"  replaces {uid}" for uid in predecessors)


def _of_content(ds: Dataset, what: str) -> object:
    """Date or time of the content, which a presentation state calls otherwise."""
    return ds.get(f"Content{what}") or ds.get(f"PresentationCreation{what}")
