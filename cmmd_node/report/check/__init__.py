"""Our own check of outgoing objects: nothing leaves that it finds a fault with.

The rules stand in tables of their own, apart from the codes that the writers use; both read a peer's header with
:mod:`cmmd_node.report.header` and older codes with :mod:`cmmd_node.report.srt`. It is stricter than the standard where
our objects never use a freedom, such as a code outside an extensible value set: such a fault is :attr:`Fault.ours`, and
none of another vendor's object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MammographyCADSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from cmmd_node.errors import InvalidResult
from cmmd_node.report.check.attributes import attribute_faults
from cmmd_node.report.check.faults import Fault, Node
from cmmd_node.report.check.library import library_faults
from cmmd_node.report.check.measurements import measurement_faults
from cmmd_node.report.check.presentation import presentation_faults
from cmmd_node.report.check.secondary_capture import secondary_capture_faults
from cmmd_node.report.check.segmentation import segmentation_faults
from cmmd_node.report.check.summary import summary_faults
from cmmd_node.report.check.templates import TemplateCheck
from cmmd_node.report.check.together import together_faults
from cmmd_node.report.check.tree import text_faults, tree_faults

__all__ = ["Fault", "check_object", "require_valid"]

_ROOT_TEMPLATE: Mapping[str, str] = {MammographyCADSRStorage: "4000", Comprehensive3DSRStorage: "1500"}
_WITHOUT_TREE: Mapping[str, Callable[[Dataset, Sequence[Dataset]], Iterable[Fault]]] = {
    SegmentationStorage: segmentation_faults,
    GrayscaleSoftcopyPresentationStateStorage: presentation_faults,
    SecondaryCaptureImageStorage: secondary_capture_faults,
}


def check_object(ds: Dataset, images: Sequence[Dataset] = ()) -> list[Fault]:
    """Check a result object of ours, or another's of the same class, as it would be sent.

    Parameters
    ----------
    ds
        The object as read from its file.
    images
        Headers of the images it is about, as far as they are at hand: more can be compared then.

    Returns
    -------
    list of Fault
        Empty when nothing is wrong.
    """
    sop_class = str(ds.get("SOPClassUID", ""))  # two of them are no class either
    if sop_class not in _ROOT_TEMPLATE and sop_class not in _WITHOUT_TREE:
        message = f"{sop_class or 'none'} is not a class that is checked here"
        return [Fault(rule="PS3.4 B.5", path="SOPClassUID", message=message)]
    faults = [*attribute_faults(ds), *text_faults(ds)]
    if sop_class in _WITHOUT_TREE:
        return [*faults, *_WITHOUT_TREE[sop_class](ds, images)]
    identifier = _ROOT_TEMPLATE[sop_class]
    templates = ds.get("ContentTemplateSequence") or ()
    if [(item.get("MappingResource"), item.get("TemplateIdentifier")) for item in templates] != [("DCMR", identifier)]:
        message = f"the root template is not DCMR {identifier}"
        faults.append(
            Fault(
                rule="PS3.3 C.18.8",
                path="ContentTemplateSequence",
                message=message,
                ours=sop_class == Comprehensive3DSRStorage,
            )
        )
    root = Node.from_dataset(ds)
    of_rows = TemplateCheck(root).faults(identifier)
    if sop_class == Comprehensive3DSRStorage:  # of its templates we know the rows that we write
        return [*faults, *(replace(fault, ours=True) for fault in of_rows), *measurement_faults(root, images)]
    return [
        *faults,
        *of_rows,
        *tree_faults(root, images),
        *library_faults(root, images),
        *summary_faults(root),
        *together_faults(root),
    ]


def require_valid(ds: Dataset, images: Sequence[Dataset] = ()) -> None:
    """Refuse an object that the check finds a fault with.

    Raises
    ------
    InvalidResult
        Names the first faults by template row or attribute, never a value from the patient's data.
    """
    faults = check_object(ds, images)
    if faults:
        told = "; ".join(map(str, faults[:5]))
        raise InvalidResult(f"{ds.get('SOPInstanceUID', 'object')}: {len(faults)} faults: {told}")
