"""A Measurement Report (TID 1500) in a Comprehensive 3D SR: its rows as we write them, and what they refer to.

Narrower than the standard: one observer, which is a device, findings of two kinds, each a closed outline on one image.
So another's report breaks no rule by other rows; of it, values, coordinates and evidence are judged.
Row numbers are those of PS3.16; a letter behind them tells apart what stands for one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from pydicom.dataset import Dataset

from cmmd_node.report.check.faults import Fault, Node
from cmmd_node.report.check.rows import INCLUDE, Row, Template
from cmmd_node.report.check.tree import (
    VALUE_ATTRIBUTE,
    evidence_faults,
    graphic_faults,
    header_size,
    referenced_uid,
    size_faults,
    value_faults,
)

_MOD, _OBS, _CONTAINS = "HAS CONCEPT MOD", "HAS OBS CONTEXT", "CONTAINS"
_GROUP, _LIBRARY_GROUP = ("125007", "DCM"), ("126200", "DCM")
_TRACKING_UID = ("112040", "DCM")
_PERCENT = "% UCUM Percent"
_SHARE = (0.0, 100.0)
_POSITIVE = (0.0, float("inf"))

# fmt: off
MEASUREMENT_TEMPLATES = {
    # Measurement Report
    "1500": Template(
        rows=(
            Row("1", "", "", "CONTAINER", "126000 DCM Imaging Measurement Report", "1", "M"),
            Row("2", ">", _MOD, INCLUDE, "TID 1204", "1", "M"),
            Row("3", ">", _OBS, INCLUDE, "TID 1002", "1", "M"),
            Row("4", ">", _MOD, "CODE", "121058 DCM Procedure reported", "1", "M", values="71651007 SCT Mammography"),
            Row("5", ">", _CONTAINS, INCLUDE, "TID 1600", "1", "M"),
            Row("6", ">", _CONTAINS, "CONTAINER", "126010 DCM Imaging Measurements", "1", "M"),
            Row("7", ">>", _CONTAINS, INCLUDE, "TID 1410", "1-n", "U"),
        )
    ),
    # Observer Context
    "1002": Template(
        rows=(
            Row("1", "", "", "CODE", "121005 DCM Observer Type", "1", "M", values="121007 DCM Device"),
            Row("3", "", "", INCLUDE, "TID 1004", "1", "M"),
        )
    ),
    # Device Observer Identifying Attributes
    "1004": Template(
        rows=(
            Row("1", "", "", "UIDREF", "121012 DCM Device Observer UID", "1", "M"),
            Row("2", "", "", "TEXT", "121013 DCM Device Observer Name", "1", "U"),
            Row("3", "", "", "TEXT", "121014 DCM Device Observer Manufacturer", "1", "U"),
            Row("4", "", "", "TEXT", "121015 DCM Device Observer Model Name", "1", "U"),
        )
    ),
    # Image Library
    "1600": Template(
        rows=(
            Row("1", "", "", "CONTAINER", "111028 DCM Image Library", "1", "M"),
            Row("2", ">", _CONTAINS, "CONTAINER", "126200 DCM Image Library Group", "1-n", "M"),
            Row("4", ">>", _CONTAINS, "IMAGE", "", "1-n", "M"),
        )
    ),
    # Planar ROI Measurements and Qualitative Evaluations
    "1410": Template(
        rows=(
            Row("1", "", "", "CONTAINER", "125007 DCM Measurement Group", "1", "M"),
            Row("2", ">", _OBS, INCLUDE, "TID 4108", "1", "M"),
            Row(
                "3a", ">", _CONTAINS, "CODE", "276214006 SCT Finding category", "1", "M",
                values="49755003 SCT Morphologically Abnormal Structure",
            ),
            Row("3b", ">", _CONTAINS, "CODE", "121071 DCM Finding", "1", "M", values="CID of findings"),
            Row("4a", ">", _MOD, INCLUDE, "TID 4019", "1", "M"),
            Row("5", ">", _CONTAINS, "SCOORD", "111030 DCM Image Region", "1", "M", graphic="POLYLINE"),
            Row("6", ">>", "SELECTED FROM", "IMAGE", "", "1", "M"),
            Row("11", ">", _CONTAINS, INCLUDE, "TID 1419", "1", "M"),
        )
    ),
    # ROI Measurements
    "1419": Template(
        rows=(
            Row("2", "", _MOD, "CODE", "363698007 SCT Finding Site", "1", "M", values="76752008 SCT Breast"),
            Row("3", ">", _MOD, "CODE", "272741003 SCT Laterality", "1", "U", values="CID 244"),
            Row("5a", "", "", "NUM", "111012 DCM Certainty of Finding", "1", "M", unit=_PERCENT, limits=_SHARE),
            Row("5b", "", "", "NUM", "111047 DCM Probability of cancer", "1", "U", unit=_PERCENT, limits=_SHARE),
            Row(
                "5c", "", "", "NUM", "111038 DCM Number of calcifications", "1", "U",
                unit="1 UCUM no units", limits=(1.0, float("inf")), whole=True,
            ),
            Row("5d", "", "", "NUM", "103339001 SCT Long axis", "1", "U", unit="mm UCUM mm", limits=_POSITIVE),
            Row(
                "5e", "", "", "NUM", "42798000 SCT Area", "1", "U",
                unit="mm2 UCUM square millimeter", limits=_POSITIVE,
            ),
        )
    ),
}
# fmt: on


def measurement_faults(root: Node, images: Sequence[Dataset]) -> Iterator[Fault]:
    """Check what the rows do not tell: values, coordinates, evidence, and that nothing is there twice.

    Parameters
    ----------
    images
        Headers of the images that the report is about, as far as they are known: their size bounds coordinates.
    """
    nodes = list(root.walk())
    sizes = {str(ds.SOPInstanceUID): header_size(ds) for ds in images}
    library = {referenced_uid(node) for node in nodes if node.parent is not None and node.parent.name == _LIBRARY_GROUP}
    for node in nodes:
        yield from (replace(fault, ours=_is_unknown_here(node)) for fault in value_faults(node))
        if node.name == _GROUP and not _is_1410(node):
            yield _fault(node, "does not say that its template is DCMR 1410", "PS3.3 C.18.8", ours=True)
        if node.value_type != "SCOORD":
            continue
        yield from graphic_faults(node)
        for uid in map(referenced_uid, node.children):
            yield from size_faults(node, *sizes.get(uid, (None, None)))
            if uid not in library:
                yield _fault(node, "the image that it is on is not in the Image Library", "TID 1600 row 4", ours=True)
    tracking = [(uid, image) for group in nodes if group.name == _GROUP for uid, image in _tracked(group)]
    if len(set(tracking)) != len(tracking):
        yield _fault(root, "two findings on one image have the same tracking UID", "TID 1410 row 3", ours=True)
    yield from evidence_faults(root)


def _tracked(group: Node) -> Iterator[tuple[str, str]]:
    """Tracking UID and image of one group: the marks of a lesion in CC and MLO share the UID."""
    uids = [str(child.ds.get("UID", "")) for child in group.children if child.name == _TRACKING_UID]
    images = [
        referenced_uid(below) for child in group.children for below in child.children if child.value_type == "SCOORD"
    ]
    yield from product(uids, images)


def _is_1410(node: Node) -> bool:
    templates = node.ds.get("ContentTemplateSequence") or ()
    return [(item.get("MappingResource"), item.get("TemplateIdentifier")) for item in templates] == [("DCMR", "1410")]


def _is_unknown_here(node: Node) -> bool:
    """Whether an item is of a kind that a CAD SR cannot have, or leads to another one."""
    return node.value_type not in VALUE_ATTRIBUTE or node.target is not None


def _fault(node: Node, message: str, rule: str, *, ours: bool = False) -> Fault:
    return Fault(rule=rule, path=node.path, message=message, ours=ours)
