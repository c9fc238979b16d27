"""The result in one code and in words: TID 4001 and 4002."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pydicom.sr.coding import Code

from cmmd_node.facts import Model, StudyResult, ViewResult, ViewStatus
from cmmd_node.report import codes
from cmmd_node.report.algorithm import algorithm_identification
from cmmd_node.report.content import Item, Relation, code, text
from cmmd_node.report.envelope import NOTICE

_WORDS = {
    ViewStatus.ANALYSED: "analysed",
    ViewStatus.NOT_ANALYSED: "not analysed",
    ViewStatus.FAILED: "failed",
}


def overall_impression(result: StudyResult, impressions: Sequence[Item]) -> Item:
    """Overall Impression/Recommendation (PS3.16 TID 4001; non-extensible)."""
    children = (
        *_impression_body(result),  # row 2
        *impressions,  # row 3
    )
    return code(Relation.CONTAINS, codes.CAD_SUMMARY, _summary_code(result, bool(impressions)), children)  # row 1


def _impression_body(result: StudyResult) -> tuple[Item, ...]:
    """Impression/Recommendation Body (PS3.16 TID 4002), the one place for free text in the document."""
    return (
        text(Relation.HAS_PROPERTIES, codes.IMPRESSION_DESCRIPTION, impression_description(result)),  # row 5
        *algorithm_identification(result.model),  # row 11
    )


def _summary_code(result: StudyResult, has_findings: bool) -> Code:
    """Choose from CID 6047; images that were not attempted do not count, and without any no success is claimed."""
    statuses = {view.status for view in result.views}
    if ViewStatus.ANALYSED not in statuses:
        return codes.NONE_SUCCEEDED
    if ViewStatus.FAILED in statuses:
        return codes.NOT_ALL_SUCCEEDED_WITH_FINDINGS if has_findings else codes.NOT_ALL_SUCCEEDED_WITHOUT_FINDINGS
    return codes.ALL_SUCCEEDED_WITH_FINDINGS if has_findings else codes.ALL_SUCCEEDED_WITHOUT_FINDINGS


def impression_description(result: StudyResult) -> str:
    """Say what was done with each image, and why with those that were not analysed."""
    return " ".join(_sentences(result.views, result.model, len(result.findings)))


def _sentences(views: Sequence[ViewResult], model: Model, findings: int) -> Iterator[str]:
    yield f"{NOTICE}."
    yield f"{model.name} {model.version}: {findings} {'finding' if findings == 1 else 'findings'}."
    count = Counter(view.status for view in views)
    told = [f"{count[status]} {word}" for status, word in _WORDS.items() if count[status]]
    yield f"Images: {', '.join(told) or 'none'}."
    for view in views:
        if view.reason is not None:
            name = f"{view.view} ({view.sop_instance_uid})" if view.view else view.sop_instance_uid
            yield f"Image {name} {_WORDS[view.status]}: {_printable(view.reason)}."
        if view.remark is not None:
            yield f"Image {view.view} ({view.sop_instance_uid}): {_printable(view.remark)}."


def _printable(reason: str) -> str:
    """Keep words of a peer that a reason may quote from breaking the text."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in reason).split()).rstrip(".")
