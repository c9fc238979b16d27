"""Identity: the same work has the same names, other work has others."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from pydicom.uid import UID

from cmmd_node.facts import Form, Model
from cmmd_node.report import new_node_uid
from cmmd_node.report.uids import derived_uid, model_uid, series_uid
from tests.report.exams import MODEL, make_round


def test_a_derived_uid_is_a_valid_uuid_uid() -> None:
    uid = UID(derived_uid("test", part="x"))
    assert uid.is_valid
    assert len(uid) <= 64
    made = uuid.UUID(int=int(uid.rpartition(".")[2]))
    assert made.version == 8
    assert made.variant == uuid.RFC_4122


def test_neither_label_nor_borders_of_parts_can_be_confused() -> None:
    uids = {
        derived_uid("a", x="b", y="c"),
        derived_uid("a", x="bc", y=""),
        derived_uid("a", x="b", z="c"),
        derived_uid("b", x="b", y="c"),
        derived_uid("a", x="b", y=None),
    }
    assert len(uids) == 5


def test_a_form_has_one_series_in_a_round() -> None:
    first, second = make_round(number=1), make_round(number=2)
    uids = {series_uid(round_, form) for round_ in (first, second) for form in Form}
    assert len(uids) == 2 * len(Form)
    assert series_uid(first, Form.SEG) == series_uid(make_round(number=1), Form.SEG)


def test_node_identities_are_drawn_anew() -> None:
    drawn = {new_node_uid() for _ in range(10)}
    assert len(drawn) == 10
    assert all(UID(uid).is_valid for uid in drawn)


@pytest.mark.parametrize("change", [{"name": "other"}, {"version": "1.1"}, {"digest": "cd" * 32}])
def test_a_changed_model_is_another_device(change: dict[str, str]) -> None:
    assert model_uid(replace(MODEL, **change)) != model_uid(MODEL)
    assert model_uid(Model(name=MODEL.name, version=MODEL.version, digest=MODEL.digest)) == model_uid(MODEL)
