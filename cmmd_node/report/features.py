"""One lesion on several images: TID 4004 and 4005."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmmd_node.facts import Finding, Kind, Model
from cmmd_node.report import codes
from cmmd_node.report.algorithm import algorithm_identification
from cmmd_node.report.content import Item, Relation, code
from cmmd_node.report.findings import Site, single_image_finding, tracking

#: What a lesion is called in CID 6016.
_FEATURE = {Kind.MASS: codes.MAMMOGRAPHIC_MASS, Kind.CALCIFICATION_CLUSTER: codes.CALCIFICATION_CLUSTER}


def composite_feature(lesion: Sequence[Finding], model: Model, collocation: Model, sites: Mapping[str, Site]) -> Item:
    """Composite Feature (PS3.16 TID 4004; non-extensible, order significant) of the marks of one lesion.

    It has no score of its own: nothing was calibrated for two views together.

    Parameters
    ----------
    model
        What made the marks.
    collocation
        What took them for one lesion.
    """
    children = (
        code(Relation.HAS_CONCEPT_MOD, codes.RENDERING_INTENT, codes.PRESENTATION_REQUIRED),  # row 2
        *tracking(lesion[0]),  # row 3
        *_body(collocation),  # row 4
        *(single_image_finding(finding, model, sites, Relation.INFERRED_FROM) for finding in lesion),  # row 6
    )
    return code(Relation.CONTAINS, codes.COMPOSITE_FEATURE, _FEATURE[lesion[0].mark.kind], children)  # row 1


def _body(collocation: Model) -> tuple[Item, ...]:
    """Composite Feature Body (PS3.16 TID 4005)."""
    return (
        code(Relation.HAS_PROPERTIES, codes.COMPOSITE_TYPE, codes.RELATED_SPATIALLY),  # row 1
        code(Relation.HAS_PROPERTIES, codes.SCOPE_OF_FEATURE, codes.ON_MULTIPLE_IMAGES),  # row 2
        *algorithm_identification(collocation),  # row 3
    )
