"""The identity of lesions: tracking UID and identifier, the same in all forms and, where recognised, in later rounds.

A lesion of the round before is recognised by a mark on the same image: of the same kind, each with its centre inside
the other's outline. Then it keeps UID and identifier. Others get a UID that derives from their mark, and an identifier
such as "R mass 1", counted by breast and kind from the most suspicious on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from cmmd_node.facts import Finding, Kind, Mark, PointCR, Round, ViewResult
from cmmd_node.report.uids import derived_uid

_WORDS = {Kind.MASS: "mass", Kind.CALCIFICATION_CLUSTER: "calcification cluster"}


@dataclass(frozen=True, slots=True)
class Place:
    """A mark of a study, by the number of its image and its number on it."""

    image: int
    mark: int


def with_findings(
    round_: Round,
    views: Sequence[ViewResult],
    marks: Sequence[Sequence[Mark]],
    *,
    pairs: Collection[tuple[Place, Place]] = (),
    earlier: Sequence[Finding] = (),
) -> tuple[ViewResult, ...]:
    """Give the marks on the images of a study their identity.

    Parameters
    ----------
    marks
        Those of each image, in the order of the images.
    pairs
        Marks that are one lesion, on two images of a breast.
    earlier
        Findings of the round before.
    """
    partner = {second: first for first, second in pairs}
    lesions: dict[Place, list[Finding]] = {}
    for image, view in enumerate(views):
        for number, mark in enumerate(marks[image]):
            place = Place(image, number)
            nameless = Finding(sop_instance_uid=view.sop_instance_uid, tracking_uid="", tracking_id="", mark=mark)
            lesions.setdefault(partner.get(place, place), []).append(nameless)

    left = list(earlier)
    taken_uids, taken_names = {one.tracking_uid for one in earlier}, {one.tracking_id for one in earlier}
    findings: dict[str, list[Finding]] = {view.sop_instance_uid: [] for view in views}
    for place in sorted(lesions, key=lambda place: _rank(lesions[place])):
        lesion = lesions[place]
        known = _recognised(lesion, left)
        if known is not None:
            left = [one for one in left if one.tracking_uid != known.tracking_uid]
            uid, name = known.tracking_uid, known.tracking_id
        else:
            shown = views[place.image].view
            names = _names(shown.laterality if shown else "", lesion[0])
            uid = next(uid for uid in _uids(round_, lesion[0]) if uid not in taken_uids)
            name = next(name for name in names if name not in taken_names)
        taken_uids.add(uid)
        taken_names.add(name)
        for one in lesion:
            findings[one.sop_instance_uid].append(replace(one, tracking_uid=uid, tracking_id=name))
    return tuple(replace(view, findings=tuple(findings[view.sop_instance_uid])) for view in views)


def _rank(lesion: Sequence[Finding]) -> tuple[float, str, Kind, PointCR]:
    """The most suspicious lesion first; the rest only makes the order certain."""
    first = min(lesion, key=lambda one: one.sop_instance_uid)
    return -max(one.mark.suspicion for one in lesion), first.sop_instance_uid, first.mark.kind, first.mark.center_cr


def _recognised(lesion: Sequence[Finding], earlier: Sequence[Finding]) -> Finding | None:
    """The nearest of the earlier findings that is the same lesion."""
    same = [
        (math.dist(one.mark.center_cr, other.mark.center_cr), other.tracking_uid, other)
        for one in lesion
        for other in earlier
        if one.sop_instance_uid == other.sop_instance_uid
        and one.mark.kind is other.mark.kind
        and _encloses(one.mark.outline_cr, other.mark.center_cr)
        and _encloses(other.mark.outline_cr, one.mark.center_cr)
    ]
    return min(same, key=lambda found: found[:2])[2] if same else None


def _encloses(outline_cr: Sequence[PointCR], point_cr: PointCR) -> bool:
    """Whether a point lies inside a polygon: the ray to its right crosses the outline an odd number of times."""
    column, row = point_cr
    inside = False
    for (c0, r0), (c1, r1) in zip(outline_cr, (*outline_cr[1:], outline_cr[0]), strict=True):
        if (r0 > row) != (r1 > row) and column < c0 + (row - r0) / (r1 - r0) * (c1 - c0):
            inside = not inside
    return inside


def _uids(round_: Round, first: Finding) -> Iterator[str]:
    """UIDs of a lesion by its first mark; a second one is only needed for a mark that is there twice."""
    points = tuple((float(column), float(row)) for column, row in (first.mark.center_cr, *first.mark.outline_cr))
    for repeat in count():
        yield derived_uid(
            "tracking",
            node=round_.node_uid,
            study=round_.study_instance_uid,
            image=first.sop_instance_uid,
            kind=first.mark.kind.value,
            points=points,
            repeat=repeat,
        )


def _names(side: str, first: Finding) -> Iterator[str]:
    return (" ".join(filter(None, (side, _WORDS[first.mark.kind], str(number)))) for number in count(1))
