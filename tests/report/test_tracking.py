"""Lesions keep their identity: across views, across attempts, and where recognised across rounds."""

from __future__ import annotations

from dataclasses import replace

from cmmd_node.facts import Mark, StudyResult
from tests.report.exams import CLUSTER, MASS, make_result, make_round

_FAR = replace(MASS, center_cr=(5.5, 5.5), outline_cr=((4.0, 4.0), (8.0, 4.0), (6.0, 8.0)), suspicion=0.99)
_NEAR = replace(MASS, center_cr=(21.0, 31.0), suspicion=0.5)


def names(result: StudyResult) -> list[list[str]]:
    return [[finding.tracking_id for finding in view.findings] for view in result.views if view.findings]


def uids(result: StudyResult) -> list[str]:
    return [finding.tracking_uid for finding in result.findings]


def second_round(before: StudyResult, **what: object) -> StudyResult:
    return make_result(round_=make_round(number=2), earlier=before.findings, **what)  # type: ignore[arg-type]


def test_lesions_are_counted_by_breast_and_kind_the_most_suspicious_first() -> None:
    result = make_result(marks={"R CC": (MASS, CLUSTER), "R MLO": (_FAR,), "L CC": (MASS,)})
    assert names(result) == [["L mass 1"], ["R mass 2", "R calcification cluster 1"], ["R mass 1"]]
    assert len(set(uids(result))) == 4


def test_the_marks_of_one_lesion_share_identity() -> None:
    result = make_result(marks={"R CC": (CLUSTER, MASS), "R MLO": (MASS,)}, pairs=[(("R CC", 1), ("R MLO", 0))])
    assert names(result) == [["R mass 1", "R calcification cluster 1"], ["R mass 1"]]
    assert [len(lesion) for lesion in result.lesions] == [2, 1]


def test_a_mark_that_is_there_twice_is_tracked_twice() -> None:
    result = make_result(marks={"L CC": (MASS, MASS)})
    assert len(set(uids(result))) == 2
    assert names(result) == [["L mass 1", "L mass 2"]]


def test_another_node_or_image_tracks_apart() -> None:
    here = make_result(marks={"R CC": (MASS,)})
    there = make_result(marks={"R MLO": (MASS,)})
    elsewhere = make_result(marks={"R CC": (MASS,)}, round_=replace(make_round(), node_uid="2.25.1"))
    assert len({*uids(here), *uids(there), *uids(elsewhere)}) == 3


def test_a_lesion_that_moved_a_little_is_recognised_in_the_next_round() -> None:
    before = make_result(marks={"R CC": (MASS, CLUSTER)})
    after = second_round(before, marks={"R CC": (_FAR, CLUSTER, _NEAR)})
    by_name = {finding.tracking_id: finding for finding in after.findings}
    assert by_name["R mass 1"].mark == _NEAR  # the more suspicious newcomer takes the next free name
    assert by_name["R mass 2"].mark == _FAR
    assert set(uids(before)) < set(uids(after))


def test_a_late_view_joins_the_lesion_that_was_known() -> None:
    before = make_result(marks={"R CC": (MASS,)}, names=["R CC"])
    after = second_round(before, marks={"R CC": (MASS,), "R MLO": (MASS,)}, pairs=[(("R CC", 0), ("R MLO", 0))])
    assert uids(after) == 2 * uids(before)
    assert names(after) == [["R mass 1"], ["R mass 1"]]


def test_what_is_elsewhere_of_another_kind_or_on_another_image_is_not_recognised() -> None:
    before = make_result(marks={"R CC": (MASS,)})
    cluster: Mark = replace(CLUSTER, center_cr=MASS.center_cr, outline_cr=MASS.outline_cr)
    for marks in ({"R CC": (_FAR,)}, {"R CC": (cluster,)}, {"R MLO": (MASS,)}):
        assert not set(uids(before)) & set(uids(second_round(before, marks=marks)))


def test_one_known_lesion_is_recognised_once() -> None:
    before = make_result(marks={"R CC": (MASS,)})
    after = second_round(before, marks={"R CC": (_NEAR, MASS)})
    assert len(set(uids(after))) == 2
    assert next(finding.mark for finding in after.findings if finding.tracking_uid in uids(before)) == MASS
