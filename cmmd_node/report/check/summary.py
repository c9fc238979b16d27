"""What the document says as a whole: the summary code against findings and lists (PS3.17 E), findings tied to masks."""

from __future__ import annotations

from collections.abc import Iterator

from cmmd_node.report.check.faults import Fault, Node
from cmmd_node.report.check.tree import is_library_image

_FINDINGS = {("111059", "DCM"), ("111015", "DCM")}  # Single Image Finding, Composite Feature
#: What a lesion is directly below: Individual Impression/Recommendation, Composite Feature.
_OF_LESIONS = {("111034", "DCM"), ("111015", "DCM")}
#: Findings about an image as a whole: breast composition, breast geometry, image quality.
_WHOLE_IMAGE = {("129715009", "SCT"), ("111100", "DCM"), ("111101", "DCM")}
_TRACKING = ("112040", "DCM")  # Tracking Unique Identifier
_PERFORMED = {("111022", "DCM"), ("111004", "DCM")}  # Detection, Analysis Performed
_SUCCESSFUL = {("111063", "DCM"), ("111062", "DCM")}  # Detections, Analyses
_FAILED = {("111025", "DCM"), ("111024", "DCM")}

#: CID 6047: with findings, with successful lists, with failed lists.
_MEANS = {
    "111241": (False, True, False),
    "111242": (True, True, False),
    "111243": (False, True, True),
    "111244": (True, True, True),
}
_NONE_SUCCEEDED = "111245"


def summary_faults(root: Node) -> Iterator[Fault]:
    """Check that the one code which most readers look at tells the truth."""
    nodes = list(root.walk())
    summary = next((node for node in nodes if node.name == ("111017", "DCM")), None)
    if summary is None:
        return  # said by the template check
    names = {node.name for node in nodes}
    has = bool(names & _FINDINGS), bool(names & _SUCCESSFUL), bool(names & _FAILED)
    code = summary.value[0]
    words = ("findings", "successful lists", "failed lists")
    if code == _NONE_SUCCEEDED and (has[0] or has[1]):
        yield _fault(summary, f"summary {code} claims no success, but there are findings or successful lists")
    for said, found, word in zip(_MEANS.get(code, has), has, words, strict=True):
        if said != found:
            yield _fault(summary, f"summary {code} with{'' if found else 'out'} {word}")
    yield from _unworked_faults(nodes)
    yield from _tracking_faults(nodes)


def _unworked_faults(nodes: list[Node]) -> Iterator[Fault]:
    """A finding is on an image that some algorithm succeeded with."""
    items = {node.position: node for node in nodes}
    worked = {
        child.target
        for node in nodes
        if node.name in _PERFORMED and node.parent is not None and node.parent.name in _SUCCESSFUL
        for child in node.children
        if child.target
    }
    for node in nodes:
        selected = node.relation == "SELECTED FROM" and node.target is not None
        if selected and is_library_image(items.get(node.target or ())) and node.target not in worked:
            message = "a finding on an image that is in no list of successful detections or analyses"
            yield Fault(rule="PS3.17 E", path=node.path, message=message, ours=True)


def _tracking_faults(nodes: list[Node]) -> Iterator[Fault]:
    """The template leaves it open, but without it no mask can be told to be that of the finding."""
    for node in nodes:
        is_lesion = node.parent is not None and node.parent.name in _OF_LESIONS and node.value not in _WHOLE_IMAGE
        if node.name in _FINDINGS and is_lesion and _TRACKING not in {child.name for child in node.children}:
            message = "a finding with no Tracking Unique Identifier"
            yield Fault(rule="TID 4108", path=node.path, message=message, ours=True)


def _fault(node: Node, message: str) -> Fault:
    return Fault(rule="PS3.17 E", path=node.path, message=message)
