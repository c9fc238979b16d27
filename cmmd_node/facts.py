"""The nouns that rooms hand to each other: frozen, checked when made, no I/O.

Image coordinates are (column, row) pairs as SCOORD wants them (PS3.3 C.18.6): (0, 0) is the outer corner of the first
pixel, (Columns, Rows) that of the last; pixel centres lie half a pixel further in. Names that end in ``_cr`` hold such
pairs; arrays are indexed (row, column).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

PointCR: TypeAlias = tuple[float, float]

#: Larger than any mammography detector (the largest have about 30 million pixels).
MOST_PIXELS = 200_000_000


class Laterality(StrEnum):
    """Image Laterality (0020,0062) of a single breast."""

    LEFT = "L"
    RIGHT = "R"


class ViewPosition(StrEnum):
    """The two standard views; every other view is kept but not analysed."""

    CC = "CC"
    MLO = "MLO"


class Kind(StrEnum):
    """What a mark marks."""

    MASS = "mass"
    CALCIFICATION_CLUSTER = "calcification-cluster"


class Classification(StrEnum):
    """What biopsy or follow-up said of a breast or a lesion."""

    BENIGN = "benign"
    MALIGNANT = "malignant"
    NORMAL = "normal"
    """Read, and nothing there. A breast that merely has no label is not this one."""


class Subtype(StrEnum):
    """Molecular subtype of a cancer, as CMMD tells it."""

    LUMINAL_A = "luminal-a"
    LUMINAL_B = "luminal-b"
    HER2_ENRICHED = "her2-enriched"
    TRIPLE_NEGATIVE = "triple-negative"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreastLabel:
    """What is known of a breast; None wherever it is not known."""

    classification: Classification | None = None
    kinds: frozenset[Kind] | None = None
    """The kinds of lesions that it has; empty: it has none."""
    subtype: Subtype | None = None

    def __post_init__(self) -> None:
        if self.subtype is not None and self.classification is not Classification.MALIGNANT:
            raise ValueError(f"subtype {self.subtype} of a breast whose classification is {self.classification}")
        if self.classification is Classification.NORMAL and self.kinds:
            raise ValueError(f"a normal breast with {', '.join(sorted(self.kinds))}")


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row that cannot be used as it stands, and costs that row only."""

    row: int
    """As spreadsheets count: the header is row 1."""
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.reason}"


@dataclass(frozen=True, slots=True)
class View:
    """Which breast from which side."""

    laterality: Laterality
    position: ViewPosition

    def __str__(self) -> str:
        return f"{self.laterality} {self.position}"


#: An exam is complete once these four are there.
SCREENING_VIEWS = frozenset(View(laterality, position) for laterality in Laterality for position in ViewPosition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """Distance of pixel centres in the breast, mm."""

    row_mm: float
    """Between rows (down), the first value of the attribute."""
    column_mm: float
    """Between columns (across), the second value."""

    def __post_init__(self) -> None:
        for name, value in (("row_mm", self.row_mm), ("column_mm", self.column_mm)):
            if not 0.0 < value < 10.0:  # refuses NaN as well
                raise ValueError(f"pixel spacing: {name} is {value}, not within 0 to 10 mm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mammogram:
    """One standard view that the CAD can take, as its header describes it."""

    sop_instance_uid: str
    sop_class_uid: str
    view: View
    rows: int
    columns: int
    spacing: Spacing | None
    """None: the header does not tell; sizes in results are then unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One place on one view, as a model gave it."""

    kind: Kind
    center_cr: PointCR
    outline_cr: tuple[PointCR, ...]
    """Corners of a simple polygon, at least three, the first not repeated."""
    suspicion: float
    """How much it looks like what it is taken for, 0 to 1; not a probability of malignancy."""
    probability_malignant: float | None = None
    """0 to 1, only from a model that was calibrated for it."""
    calcifications_cr: tuple[PointCR, ...] = ()
    """Centres of the single calcifications of a cluster."""
    subtypes: Mapping[Subtype, float] | None = None
    """Probability of each molecular subtype, should it be malignant; only from a model that learnt them."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.suspicion <= 1.0:  # refuses NaN as well
            raise ValueError(f"mark: suspicion is {self.suspicion}, not within 0 to 1")
        if self.probability_malignant is not None and not 0.0 <= self.probability_malignant <= 1.0:
            raise ValueError(f"mark: probability_malignant is {self.probability_malignant}, not within 0 to 1")
        if self.subtypes is not None and not all(0.0 <= share <= 1.0 for share in self.subtypes.values()):
            raise ValueError(f"mark: subtypes are {dict(self.subtypes)}, not all within 0 to 1")
        if len(self.outline_cr) < 3:
            raise ValueError(f"mark: an outline of {len(self.outline_cr)} corners encloses nothing")
        if self.kind is Kind.CALCIFICATION_CLUSTER and len(self.calcifications_cr) < 3:
            raise ValueError(f"mark: a cluster of {len(self.calcifications_cr)} calcifications; at least 3 are wanted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A mark on an image of the study, with the identity that all forms of the result share."""

    sop_instance_uid: str
    """The image that the mark is on."""
    tracking_uid: str
    """Of the lesion: the marks of one lesion in CC and MLO have the same."""
    tracking_id: str
    """The same for people, such as "R mass 1"; at most 64 characters."""
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class BreastGeometry:
    """Where the breast is on an image."""

    outline_cr: tuple[PointCR, ...]
    """Corners of a simple polygon around breast and pectoral muscle, the first not repeated."""
    nipple_cr: PointCR
    """Where the nipple is, or would be in profile."""


class BreastComposition(StrEnum):
    """How much of the breast is fibroglandular (PS3.16 CID 6000)."""

    FAT = "almost-entirely-fat"
    SCATTERED = "scattered-fibroglandular-densities"
    HETEROGENEOUSLY_DENSE = "heterogeneously-dense"
    EXTREMELY_DENSE = "extremely-dense"


class QualityFinding(StrEnum):
    """What is wrong with an image (of PS3.16 CID 6041)."""

    INADEQUATE_COMPRESSION = "inadequate-compression"
    POSITIONING = "positioning"
    MOTION_BLUR = "motion-blur"
    UNDER_EXPOSED = "under-exposed"
    OVER_EXPOSED = "over-exposed"
    DETECTOR_ARTIFACT = "detector-artifact"
    OTHER_ARTIFACT = "other-artifact"


class ViewStatus(StrEnum):
    """What became of one image."""

    ANALYSED = "analysed"
    NOT_ANALYSED = "not-analysed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewResult:
    """What the CAD says of one image of the study."""

    sop_instance_uid: str
    sop_class_uid: str
    view: View | None
    status: ViewStatus
    reason: str | None
    """Why it was not analysed or failed; None when it was analysed."""
    remark: str | None = None
    """What a reader should know of an image that was analysed, such as a side that the pixels contradict."""
    spacing: Spacing | None = None
    """None: sizes of its findings are not known."""
    breast: BreastGeometry | None = None
    composition: BreastComposition | None = None
    quality: tuple[QualityFinding, ...] | None = None
    """None: not looked at; empty: looked at, and nothing is wrong."""
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        if (self.status is ViewStatus.ANALYSED) != (self.reason is None):
            raise ValueError(f"image {self.sop_instance_uid}: status {self.status} with reason {self.reason!r}")
        if self.findings and self.status is not ViewStatus.ANALYSED:
            raise ValueError(f"image {self.sop_instance_uid}: findings although its status is {self.status}")
        if any(finding.sop_instance_uid != self.sop_instance_uid for finding in self.findings):
            raise ValueError(f"image {self.sop_instance_uid}: a finding is on another image")


class Outcome(StrEnum):
    """The answer to an exam, in one word."""

    FINDINGS = "findings"
    NO_FINDINGS = "no-findings"
    NOT_ANALYSED = "not-analysed"
    FAILED = "failed"


class Analysis(StrEnum):
    """What a site wants to be told; the words of the ``analyses`` setting."""

    DETECTION = "detection"
    CHARACTERISATION = "characterisation"
    """How probable it is that a mass is malignant, from a model that was calibrated for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Which model spoke; part of every object, log line and answer."""

    name: str
    version: str
    digest: str
    """sha256 over what decides its answers, hexadecimal."""

    def __post_init__(self) -> None:
        for name, value in (("name", self.name), ("version", self.version)):
            if not 0 < len(value) <= 64 or not value.isprintable() or "\\" in value:
                raise ValueError(f"model: {name} is {value!r}, not 1 to 64 printable characters without backslash")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """What the CAD says of one study in one round."""

    study_instance_uid: str
    model: Model
    views: tuple[ViewResult, ...]
    geometry: Model | None = None
    """What found breast and nipple, and the marks that are one lesion in CC and MLO; None where nothing did."""

    @property
    def outcome(self) -> Outcome:
        """Findings win over none, one analysed image over failures."""
        statuses = {view.status for view in self.views}
        if any(view.findings for view in self.views):
            return Outcome.FINDINGS
        if ViewStatus.ANALYSED in statuses:
            return Outcome.NO_FINDINGS
        return Outcome.FAILED if ViewStatus.FAILED in statuses else Outcome.NOT_ANALYSED

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for view in self.views for finding in view.findings)

    @property
    def lesions(self) -> tuple[tuple[Finding, ...], ...]:
        """The findings, those of one lesion together, in the order of their first."""
        together: dict[str, list[Finding]] = {}
        for finding in self.findings:
            together.setdefault(finding.tracking_uid, []).append(finding)
        return tuple(map(tuple, together.values()))

    @property
    def collocated(self) -> tuple[tuple[ViewResult, ViewResult], ...]:
        """CC and MLO of each breast of which both can be compared: one image each, nipple and spacing known."""
        pairs = []
        for laterality in Laterality:
            cc, mlo = (
                [one for one in self.views if one.view == View(laterality, position) and one.breast and one.spacing]
                for position in (ViewPosition.CC, ViewPosition.MLO)
            )
            if self.geometry is not None and len(cc) == len(mlo) == 1:
                pairs.append((cc[0], mlo[0]))
        return tuple(pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One pass over a study: what its result objects are made from, so that a rerun repeats them byte for byte."""

    node_uid: str
    """Identity of the node, made once for a data_dir; the root from which it derives UIDs."""
    study_instance_uid: str
    number: int
    created: datetime
    """Creation date and time of every object of the round; local time without zone, whole seconds."""
    predecessors: tuple[Reference, ...] = ()
    """The SR documents of the round before, which those of this round replace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where an object is: enough for an evidence or predecessor sequence."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


class Form(StrEnum):
    """Forms of a result; the words of a peer's ``results`` setting."""

    CAD_SR = "cad-sr"
    SEG = "seg"
    GSPS = "gsps"
    TID1500 = "tid1500"
    SC = "sc"


class Codes(StrEnum):
    """Coding scheme of a result's concepts; the words of a peer's ``codes`` setting, the names are DICOM's."""

    SCT = "sct"
    """SNOMED CT."""
    SRT = "srt"
    """SNOMED RT style, which SNOMED CT replaced."""


#: The forms that are written when nobody says which.
USUAL_FORMS = (Form.CAD_SR, Form.SEG)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """A kept object: where its bytes are and what they must be."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
