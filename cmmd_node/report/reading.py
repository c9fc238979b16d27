"""Objects from files, ours and others'."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from cmmd_node.errors import NodeError

_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, NotImplementedError, EOFError)


def read_object(path: Path, *, pixels: bool = True) -> Dataset:
    """Read an object with all of its values, so that whatever cannot be decoded shows here.

    Raises
    ------
    NodeError
        The file is no DICOM file, ends too early, is nested too deep, or holds a value that cannot be decoded.
    """
    with warnings.catch_warnings(action="ignore"):  # values of wrong form are the check's to tell
        try:
            ds = dcmread(path, stop_before_pixels=not pixels)
            for _ in ds.iterall():
                pass
        except InvalidDicomError as error:
            raise NodeError(f"{path} is no DICOM file") from error
        except (*_UNREADABLE, RecursionError, struct.error, zlib.error) as error:
            raise NodeError(f"{path} cannot be read: {type(error).__name__}") from error
    return ds
