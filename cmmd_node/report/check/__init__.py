"""Our own check of outgoing objects: nothing leaves that it finds a fault with.

The rules stand in tables of their own, apart from the codes that the writers use; both read a peer's header with
:mod:`cmmd_node.report.header`. It is stricter than the standard where our
objects never use a freedom, such as a code outside an extensible value set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, MammographyCADSRStorage, SegmentationStorage

from cmmd_node.errors import InvalidResult
from cmmd_node.report.check.attributes import attribute_faults
from cmmd_node.report.check.faults import Fault, Node
from cmmd_node.report.check.library import library_faults
from cmmd_node.report.check.presentation import presentation_faults
from cmmd_node.report.check.segmentation import segmentation_faults
from cmmd_node.report.check.summary import summary_faults
from cmmd_node.report.check.templates import TemplateCheck
from cmmd_node.report.check.tree import text_faults, tree_faults

__all__ = ["Fault", "check_object", "require_valid"]

_WITHOUT_TREE: Mapping[str, Callable[[Dataset, Sequence[Dataset]], Iterable[Fault]]] = {
    SegmentationStorage: segmentation_faults,
    GrayscaleSoftcopyPresentationStateStorage: presentation_faults,
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
    if ds.get("SOPClassUID") != MammographyCADSRStorage and ds.get("SOPClassUID") not in _WITHOUT_TREE:
        found = ds.get("SOPClassUID", "none")
        return [Fault(rule="PS3.4 B.5", path="SOPClassUID", message=f"{found} is not a class that is checked here")]
    faults = [*attribute_faults(ds), *text_faults(ds)]
    if ds.SOPClassUID in _WITHOUT_TREE:
        return [*faults, *_WITHOUT_TREE[ds.SOPClassUID](ds, images)]
    templates = ds.get("ContentTemplateSequence") or ()
    if [(item.get("MappingResource"), item.get("TemplateIdentifier")) for item in templates] != [("DCMR", "4000")]:
        message = "the root template is not DCMR 4000"
        faults.append(Fault(rule="PS3.3 C.18.8", path="ContentTemplateSequence", message=message))
    root = Node.from_dataset(ds)
    return [
        *faults,
        *TemplateCheck(root).faults("4000"),
        *tree_faults(root, images),
        *library_faults(root, images),
        *summary_faults(root),
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
