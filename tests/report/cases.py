"""Many exams and what is said of them: the table that all forms of a result are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    Comprehensive3DSRStorage,
    DigitalMammographyXRayImageStorageForProcessing,
    MammographyCADSRStorage,
)

from cmmd_node.facts import BreastComposition, Mark, QualityFinding, Reference, Round, StudyResult
from tests.report.exams import CLUSTER, MASS, STUDY, VIEWS, make_header, make_result, make_round

_BOTH_VIEWS = {"R CC": (MASS,), "R MLO": (MASS,)}
_PAIR = [(("R CC", 0), ("R MLO", 0))]
_SOME = {"L CC": (MASS,), "R MLO": (CLUSTER, MASS)}
_LOSSY = {
    "LossyImageCompression": "01",
    "LossyImageCompressionRatio": "12.5",
    "LossyImageCompressionMethod": "ISO_15444_1",
}
_IDENTITY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_ALL_MISSING = (
    *_IDENTITY, "PatientOrientation", "ImagerPixelSpacing", "ImageLaterality", "ViewCodeSequence", "ContentDate",
    "ContentTime", "SpecificCharacterSet", "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope",
    "RescaleIntercept", "RescaleType",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One exam: its headers, what the CAD says of them, and in which round."""

    result: Callable[[Round], StudyResult]
    header: dict[str, Any] = field(default_factory=dict)
    """Changes of every image's header; None takes an attribute away."""
    more: tuple[Dataset, ...] = ()
    """Images besides the standard views."""
    round_: Round = field(default_factory=make_round)

    def images(self) -> list[Dataset]:
        names = [str(view.view) for view in self.result(self.round_).views]
        return [*(make_header(name, **self.header) for name in names), *self.more]


def _says(**what: Any) -> Callable[[Round], StudyResult]:
    return lambda round_: make_result(round_=round_, **what)


def _of(header: dict[str, Any], **what: Any) -> Case:
    return Case(result=_says(**(what or {"marks": _SOME})), header=header)


def _shifted(mark: Mark, columns: float) -> Mark:
    def moved(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        return tuple((column + columns, row) for column, row in points)

    return replace(
        mark,
        center_cr=moved((mark.center_cr,))[0],
        outline_cr=moved(mark.outline_cr),
        calcifications_cr=moved(mark.calcifications_cr),
        suspicion=mark.suspicion / (1.5 + columns),
    )


def _later() -> Round:
    replaced = [
        Reference(
            study_instance_uid=STUDY, series_instance_uid=f"1.2.{n}", sop_class_uid=uid, sop_instance_uid=f"1.3.{n}"
        )
        for n, uid in enumerate((MammographyCADSRStorage, Comprehensive3DSRStorage))
    ]
    return make_round(number=2, predecessors=tuple(replaced))


def _again(round_: Round) -> StudyResult:
    before = make_result(marks={"R CC": (MASS,)})
    return make_result(marks=_BOTH_VIEWS, pairs=_PAIR, round_=round_, earlier=before.findings)


_TOMOSYNTHESIS = make_header("L CC", SOPInstanceUID="1.2.9", SOPClassUID=BreastTomosynthesisImageStorage)
_PROCESSING = make_header(
    "L CC",
    SOPInstanceUID="1.2.8",
    SOPClassUID=DigitalMammographyXRayImageStorageForProcessing,
    SeriesInstanceUID="1.2.7",
    PresentationIntentType="FOR PROCESSING",
)

CASES = {
    # outcomes
    "nothing found": _of({}, marks={}),
    "not analysed": _of({}, not_analysed=dict.fromkeys(VIEWS, "a spot view is not taken")),
    "failed": _of({}, failed=dict.fromkeys(VIEWS, "the detector broke down")),
    "failed on one, nothing on the others": _of({}, failed={"R CC": "the pixel data end before the last row"}),
    "failed on one, found on another": _of({}, marks={"L CC": (MASS,)}, failed={"R CC": "the pixels end early"}),
    "one of each": _of({}, marks={"L CC": (MASS,)}, failed={"R CC": "no"}, not_analysed={"L MLO": "the view is open"}),
    # numbers of findings
    "one mass": _of({}, marks={"L CC": (MASS,)}),
    "one cluster": _of({}, marks={"R MLO": (CLUSTER,)}),
    "mass with probability and without": _of({}, marks={"L CC": (MASS, replace(MASS, probability_malignant=None))}),
    "three kinds on each view": _of({}, marks=dict.fromkeys(VIEWS, (MASS, CLUSTER, _shifted(MASS, 3.0)))),
    "twelve on one image": _of({}, marks={"L MLO": tuple(_shifted(MASS, n * 1.5) for n in range(12))}),
    "suspicion 0 and 1": _of({}, marks={"L CC": (replace(MASS, suspicion=0.0), replace(CLUSTER, suspicion=1.0))}),
    # one image or several, each view and side
    **{f"only {name}": _of({}, names=[name], marks={name: (MASS,)}) for name in VIEWS},
    "two views of one breast": _of({}, names=["R CC", "R MLO"], marks={"R MLO": (CLUSTER,)}),
    "both CC": _of({}, names=["L CC", "R CC"], marks={"R CC": (MASS,)}),
    "images that are not analysed": Case(result=_says(marks=_SOME), more=(_TOMOSYNTHESIS, _PROCESSING)),
    # one lesion in two views
    "a mass in two views": _of({}, marks=_BOTH_VIEWS, pairs=_PAIR),
    "a cluster in two views": _of(
        {}, marks={"L CC": (CLUSTER,), "L MLO": (CLUSTER,)}, pairs=[(("L CC", 0), ("L MLO", 0))]
    ),
    "pairs and single marks": _of({}, marks={**_BOTH_VIEWS, "L CC": (MASS, CLUSTER)}, pairs=_PAIR),
    # the image as a whole
    "composition": _of({}, marks={}, composition=BreastComposition.EXTREMELY_DENSE),
    "composition without a known breast": _of({}, marks={}, composition=BreastComposition.FAT, breast=None),
    "quality": _of({}, marks={}, quality=(QualityFinding.OVER_EXPOSED,)),
    "quality without a fault": _of({}, marks=_SOME, quality=()),
    "all that can be said": _of(
        {}, marks=_BOTH_VIEWS, pairs=_PAIR, composition=BreastComposition.SCATTERED, quality=tuple(QualityFinding)
    ),
    # attributes that are missing
    **{f"without {keyword}": _of({keyword: None}) for keyword in _IDENTITY},
    "without any of them": _of(dict.fromkeys(_ALL_MISSING)),
    "without laterality and view": _of({"ImageLaterality": None, "ViewCodeSequence": None}),
    "without orientation": _of({"PatientOrientation": None}),
    "without pixel spacing": _of({"ImagerPixelSpacing": None}, marks=_SOME, spacing=None, breast=None),
    # attributes that are wrong
    "pixels that are not square": _of({"ImagerPixelSpacing": [0.1, 0.05]}),
    "a sex of its own": _of({"PatientSex": "W"}),
    "a date with dashes": _of({"StudyDate": "2010-07-18", "PatientBirthDate": "18.07.1960"}),
    "an id of 70 characters": _of({"PatientID": "7" * 70, "AccessionNumber": "A" * 17}),
    # character sets
    "Latin-1": _of({"PatientName": "Müller^Änne", "SpecificCharacterSet": "ISO_IR 100"}),
    "UTF-8": _of({"PatientName": "Wang^XiaoDong=王^小东", "SpecificCharacterSet": "ISO_IR 192"}),
    "GB18030": _of({"PatientName": "Wang^XiaoDong=王^小东", "SpecificCharacterSet": "GB18030"}),
    "Japanese": _of({"PatientName": "Yamada^Tarou=山田^太郎", "SpecificCharacterSet": ["", "ISO 2022 IR 87"]}),
    "umlauts that are not declared": _of({"PatientName": "Müller^Änne", "SpecificCharacterSet": None}),
    # images as they come
    "MONOCHROME1": _of({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}),
    "lossy": _of(_LOSSY),
    "12 bit": _of(
        {
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "WindowCenter": ["1000", "2000"],
            "WindowWidth": ["500", "900"],
        }
    ),
    # rounds
    "superseding": Case(result=_says(marks=_SOME), round_=_later()),
    "superseding, nothing found": Case(result=_says(marks={}), round_=_later()),
    "superseding, the lesion recognised": Case(result=_again, round_=_later()),
}
