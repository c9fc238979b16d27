"""The annexes of the statement: what the result objects are made of, read from objects written for the purpose.

They are about an exam of four empty images, with every outcome and every kind of mark, so that whatever the node can
write is in one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, Comprehensive3DSRStorage, MammographyCADSRStorage

from cmmd_node.cad.geometry import DISTANCE_MM, SIZE_RATIO
from cmmd_node.conformance.markdown import table
from cmmd_node.facts import (
    BreastComposition,
    BreastGeometry,
    Form,
    Kind,
    Laterality,
    Mark,
    Model,
    QualityFinding,
    Reference,
    Round,
    Spacing,
    StudyResult,
    View,
    ViewPosition,
    ViewResult,
    ViewStatus,
)
from cmmd_node.phantom import Exam, PhantomView, to_datasets
from cmmd_node.report import Place, with_findings, write_results
from cmmd_node.report.check.faults import Node, code_meaning
from cmmd_node.report.check.templates import TemplateCheck
from cmmd_node.report.header import TYPE_2, TYPE_3
from cmmd_node.report.srt import SRT_OF

_ROWS, _COLUMNS = 64, 48
_FROM_IMAGES = {
    *TYPE_2,
    *TYPE_3,
    "StudyInstanceUID",
    "PatientOrientation",
    "Laterality",
    "ImageLaterality",
    "LossyImageCompression",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "SoftcopyVOILUTSequence",
}
_ROOT_TEMPLATE = {Form.CAD_SR: "4000", Form.TID1500: "1500"}
_OUTLINE = ((10.0, 10.0), (20.0, 10.0), (20.0, 20.0))
#: What may be said of an image as a whole.
_WHOLE: dict[str, Any] = {
    "spacing": Spacing(row_mm=0.1, column_mm=0.1),
    "breast": BreastGeometry(outline_cr=((0.0, 0.0), (40.0, 20.0), (0.0, 60.0)), nipple_cr=(40.0, 20.0)),
    "composition": BreastComposition.SCATTERED,
    "quality": tuple(QualityFinding),
}
_MARKS = (
    Mark(kind=Kind.MASS, center_cr=(15.0, 15.0), outline_cr=_OUTLINE, suspicion=0.5),
    Mark(
        kind=Kind.CALCIFICATION_CLUSTER,
        center_cr=(15.0, 15.0),
        outline_cr=_OUTLINE,
        suspicion=0.5,
        calcifications_cr=_OUTLINE,
    ),
)


@cache
def examples() -> dict[Form, list[Dataset]]:
    """Objects of every form, of every outcome."""
    found: dict[Form, list[Dataset]] = {form: [] for form in Form}
    done, not_done, failed = ViewStatus.ANALYSED, ViewStatus.NOT_ANALYSED, ViewStatus.FAILED
    for statuses, marks in (
        ([done] * 4, _MARKS),
        ([done] * 4, ()),
        ([done, failed, not_done, failed], _MARKS[:1]),
        ([done, failed, not_done, failed], ()),
        ([failed] * 4, ()),
        ([not_done] * 4, ()),
    ):
        for form, ds in _written(statuses, marks):
            found[form].append(ds)
    return found


def _written(statuses: Sequence[ViewStatus], marks: Sequence[Mark]) -> Iterator[tuple[Form, Dataset]]:
    pixels = np.zeros((_ROWS, _COLUMNS), np.uint8)
    views = [View(laterality, position) for laterality in Laterality for position in ViewPosition]
    drawn = tuple(PhantomView(view=view, pixels=pixels, nipple_cr=(0.0, 0.0), truths=()) for view in views)
    images = to_datasets(Exam(seed=0, views=drawn), study="conformance")
    study = str(images[0].StudyInstanceUID)
    replaced = tuple(
        Reference(study_instance_uid=study, series_instance_uid="2.25.1", sop_class_uid=uid, sop_instance_uid="2.25.3")
        for uid in (MammographyCADSRStorage, Comprehensive3DSRStorage)
    )
    round_ = Round(
        node_uid="2.25.0",
        study_instance_uid=study,
        number=2,
        created=datetime(1970, 1, 1),  # noqa: DTZ001 - DICOM times are local
        predecessors=replaced,
    )
    results = [
        ViewResult(
            sop_instance_uid=ds.SOPInstanceUID,
            sop_class_uid=ds.SOPClassUID,
            view=view,
            status=status,
            reason=None if status is ViewStatus.ANALYSED else "example",
            **(_WHOLE if status is ViewStatus.ANALYSED and marks else {}),
        )
        for ds, view, status in zip(images, views, statuses, strict=True)
    ]
    on_each = [marks if status is ViewStatus.ANALYSED else () for status in statuses]
    pairs = [(Place(0, number), Place(1, number)) for number in range(min(map(len, on_each[:2])))]
    model, geometry = (Model(name=name, version="0", digest="0" * 64) for name in ("builtin", "geometry"))
    found = with_findings(round_, results, on_each, pairs=pairs)
    result = StudyResult(study_instance_uid=study, model=model, views=found, geometry=geometry)
    shown = pixels.astype(np.float32)
    for one in write_results(result, images, round_, forms=tuple(Form), pixels=lambda _: shown):
        yield one.form, dcmread(BytesIO(one.data))


def class_of(form: Form) -> UID:
    """The SOP class that a form is written with."""
    return UID(examples()[form][0].SOPClassUID)


def annexes() -> Iterator[str]:
    """What the objects are made of, and what they mean."""
    yield """## Annex A: IODs

Attributes at the top level of the objects, in the order of their tags. "image": taken over from the images as it
stands, empty or absent where it is missing or does not fit; "node": from the node, the round, the model or the
analysis. A value is given where it is always the same. There are no private attributes, and nothing extends the
IODs."""
    for form in Form:
        yield f"### {class_of(form).name} (`{form}`)\n\n{_attributes(examples()[form])}"
    yield """## Annex B: templates

The rows that items of the documents stand for, by template, less those that include another one; then the content items
in their order, each once. What an image's header does not tell has no item in its library entry. A model that gives a
calibrated probability adds (111047, DCM, "Probability of cancer") behind the certainty, if the settings ask for it."""
    for form, root in _ROOT_TEMPLATE.items():
        rows = _rows(examples()[form], root)
        listed = table(("template", "rows"), ((f"TID {tid}", ", ".join(numbers)) for tid, numbers in rows))
        yield f"### {class_of(form).name}, root TID {root}\n\n{listed}\n\n{_content(examples()[form])}"
    yield f"""## Annex C: codes

All concepts of the objects, besides views and view modifiers of other images (CID 4014, 4015). A peer with
`codes = "srt"` gets the older code where there is one, with the same meaning.

{table(("meaning", "code", "scheme", "older code (SRT)"), _codes())}"""
    yield f"""## Annex D: what results mean

- **Case (d), not attempted.** A study of which no image could be given to the algorithm is answered too: the CAD SR has
  the summary (111245, DCM, "No algorithms succeeded; without findings") with Summary of Detections "Not Attempted" and
  no list of algorithms, and Impression Description says why for each image. CID 6047 has no code of its own for this
  case; 111245 is the only one that claims no success. A workstation may show it as a failed CAD.
- **Density.** A mass-like mark is a Single Image Finding (129793001, SCT, "Mammography breast density"): CID 6014
  knows no mass, and the example of the standard reports mass detection so. It says nothing of the composition of the
  breast. In Segmentations and measurement reports the same mark is (4147007, SCT, "Mass").
- **Scores.** Certainty of Finding is the detector's suspicion in percent: how much the place looks like what it is
  taken for. It is no probability of malignancy; Probability of cancer is written only by a model that was calibrated
  for it, where the settings ask for it; the built-in one weighs both views of the breast for it. There is no BI-RADS
  assessment.
- **One lesion in two views.** Marks of CC and MLO whose distances from the nipple differ by {DISTANCE_MM:g} mm at most,
  and whose sizes by a factor of {SIZE_RATIO:g}, are one Composite Feature, related spatially, and share a tracking UID.
  It has no score of its own.
- **Sizes** are those of the outline in the plane of the image: its longest diameter and its area. Without a known pixel
  spacing there are none.
- **Rendering Intent** of every mark is "Presentation Required", of the calcifications of a cluster "Presentation
  Optional" without an operating point, of the breast's geometry "Not for Presentation".
- **Composition and quality** are written where a model says them; the built-in one does not.
- **A later round** names the documents of its own SOP class that it replaces. A lesion keeps its tracking UID when its
  mark is on the same image, of the same kind, and each mark has its centre inside the other's outline.
- **UIDs** are derived (2.25.) from node, study, round, model and content: the same input gives the same UIDs and bytes.
  Tracking UIDs are the same in all forms and codings."""


def _attributes(objects: Iterable[Dataset]) -> str:
    found: dict[str, set[str]] = {}
    for ds in objects:
        for element in ds:
            found.setdefault(element.keyword, set()).add(_words(element) if element.VR == "CS" else "")
    rows = []
    for keyword in sorted(found, key=lambda one: tag_for_keyword(one) or 0):
        tag, values = tag_for_keyword(keyword) or 0, found[keyword]
        value = next(iter(values)) if len(values) == 1 and keyword not in _FROM_IMAGES else ""
        source = "image" if keyword in _FROM_IMAGES else "node"
        rows.append((keyword, f"({tag >> 16:04X},{tag & 0xFFFF:04X})", dictionary_VR(tag), source, value))
    return table(("attribute", "tag", "VR", "from", "value"), rows)


def _words(element: DataElement) -> str:
    return "\\".join(element.value) if element.VM > 1 else str(element.value or "")


def _rows(objects: Iterable[Dataset], root: str) -> Iterator[tuple[str, list[str]]]:
    met: dict[str, set[str]] = {}
    for ds in objects:
        check = TemplateCheck(Node.from_dataset(ds))
        check.faults(root)
        for tid, numbers in check.rows.items():
            met.setdefault(tid, set()).update(numbers)
    for tid in sorted(met):
        yield tid, sorted(met[tid], key=lambda number: (int("".join(filter(str.isdigit, number))), number))


def _content(objects: Iterable[Dataset]) -> str:
    seen: dict[tuple[str, ...], tuple[str, ...]] = {}
    for ds in objects:
        for node in Node.from_dataset(ds).walk():
            line, names = node, list[str]()
            while line.parent is not None:
                names.insert(0, f"{line.relation} {' '.join(line.name)}")
                line = line.parent
            meaning = code_meaning(node.ds, "ConceptNameCodeSequence")
            code = f'({node.name[0]}, {node.name[1]}, "{meaning}")' if meaning else ""
            kind = node.value_type or "by reference"
            seen.setdefault((*names, kind), (">" * len(names), node.relation, kind, code))
    ordered = [seen[key] for key in _in_tree_order(seen)]
    return table(("level", "relationship", "value type", "concept name"), ordered)


def _in_tree_order(keys: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Children behind their parents, siblings as they first came."""
    first: dict[tuple[str, ...], int] = {}
    for key in keys:
        for depth in range(len(key)):
            first.setdefault(key[:depth], len(first))
    return sorted(keys, key=lambda key: [first[key[:depth]] for depth in range(len(key))])


def _codes() -> list[tuple[str, str, str, str]]:
    found = {
        (item.CodeMeaning, item.CodeValue, item.CodingSchemeDesignator, SRT_OF.get(item.CodeValue, ""))
        for objects in examples().values()
        for ds in objects
        for element in ds.iterall()
        if element.VR == "SQ"
        for item in element.value
        if "CodeValue" in item
    }
    return sorted(found, key=lambda code: (code[0].lower(), code))
