"""The template rows of Mammography CAD SR (PS3.16), as data.

A row reads as in the standard's tables: number, nesting, relationship, value type, concept, VM, requirement. An empty
relationship is the one that the template was included with; "R-" before it means by reference only. Where the standard
has "include", the concept is the template. What rows say of several items together is in
:mod:`cmmd_node.report.check.together`. The observation context of content that was taken over (TID 1001, in TID 4022)
is let pass as any items of observation context.
"""

from __future__ import annotations

from dataclasses import dataclass

INCLUDE = "include"
ANY = "any"


@dataclass(frozen=True, slots=True)
class Row:
    """One row; the optional parts come by name."""

    number: str
    nest: str
    relation: str
    value_type: str
    concept: str
    """ "code scheme meaning", "CID n", "TID n" or "" for none; alternatives with "|" between them."""
    vm: str
    requirement: str
    values: str = ""
    """Value set of a CODE, or "scheme s" for all codes of a coding scheme."""
    only: str = ""
    """Codes of which the item above must have one, for MC and UC; after "not": none of them. The code of a CODE is its
    value, that of any other item its concept name."""
    points_at: str = ""
    """Code that the target of a by-reference item must have as its value."""
    unit: str = ""
    """Unit of a NUM as "code scheme meaning" or "CID n", with alternatives, or a range "{0:n}" or "{1:n}"."""
    limits: tuple[float, float] = (float("-inf"), float("inf"))
    whole: bool = False
    """A NUM is a whole number."""
    graphic: str = ""
    """Graphic types that an SCOORD may have."""
    our_graphic: str = ""
    """Those that it has in our objects, where the standard leaves it open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template with the rows in their order."""

    rows: tuple[Row, ...]
    one_of: tuple[str, ...] = ()
    """Rows of which at least one must be there."""
    one_of_only: str = ""
    """When that holds, as in :class:`Row`; "" for always."""
    not_both: tuple[str, ...] = ()
    """Rows of which at most one may be there."""
    extensible: bool = False


_PERCENT = "% UCUM Percent"
_NO_UNITS = "1 UCUM no units"
_SPACING = "mm UCUM millimeter|um UCUM micrometer"
_DEGREES = "deg UCUM degree"
_PIXELS = "{pixels} UCUM pixels"
_OUTLINES = "POLYLINE CIRCLE ELLIPSE"
_SHARE = (0.0, 100.0)
_FROM_ONE = (1.0, float("inf"))
_ABOVE_ZERO = (5e-324, float("inf"))  # the smallest number there is

_FULLY_SUCCEEDED_OR_PARTIALLY = "111222 111223"
_FAILED_OR_PARTIALLY = "111224 111223"
_NOT_ATTEMPTED = "111225"

_OPTIONAL = "111151"
_DEFINED_REGION = "131184002"
_COMPOSITION, _GEOMETRY, _QUALITY, _NON_LESION = "129715009", "111100", "111101", "111102"
_NIPPLE, _SELECTED = "24142002", "111099"
_DENSITY, _MASS, _CLUSTER, _CALCIFICATION = "129793001", "129788004", "129769006", "129770007"

_ACQ, _MOD, _OBS = "HAS ACQ CONTEXT", "HAS CONCEPT MOD", "HAS OBS CONTEXT"
_PROPERTIES, _INFERRED, _CONTAINS = "HAS PROPERTIES", "INFERRED FROM", "CONTAINS"
_BY_REFERENCE = "R-SELECTED FROM"

_LATERALITY = "272741003 SCT Laterality"
_INTENT = "111056 DCM Rendering Intent"
_DERIVATION = "121401 DCM Derivation"
_CALCULATION = "112034 DCM Calculation Description"
_REGION = "111030 DCM Image Region"

# fmt: off
TEMPLATES = {
    # Mammography CAD Document Root
    "4000": Template(
        rows=(
            Row("1", "", "", "CONTAINER", "111036 DCM Mammography CAD Report", "1", "M"),
            Row("2", ">", _MOD, INCLUDE, "TID 1204", "1", "M"),
            Row("3", ">", _CONTAINS, "CONTAINER", "111028 DCM Image Library", "1", "M"),
            Row("4", ">>", _CONTAINS, INCLUDE, "TID 4020", "1-n", "M"),
            Row("5", ">", _CONTAINS, INCLUDE, "TID 4001", "1", "M"),
            Row("6", ">", _CONTAINS, "CODE", "111064 DCM Summary of Detections", "1", "M", values="CID 6042"),
            Row("7", ">>", _INFERRED, INCLUDE, "TID 4015", "1", "MC", only=f"not {_NOT_ATTEMPTED}"),
            Row("8", ">", _CONTAINS, "CODE", "111065 DCM Summary of Analyses", "1", "M", values="CID 6042"),
            Row("9", ">>", _INFERRED, INCLUDE, "TID 4016", "1", "MC", only=f"not {_NOT_ATTEMPTED}"),
        )
    ),
    # Overall Impression/Recommendation
    "4001": Template(
        rows=(
            Row("1", "", "", "CODE", "111017 DCM CAD Processing and Findings Summary", "1", "M", values="CID 6047"),
            Row("2", ">", _PROPERTIES, INCLUDE, "TID 4002", "1", "U"),
            Row("3", ">", _INFERRED, INCLUDE, "TID 4003", "1-n", "MC", only="111242 111244"),
        )
    ),
    # Impression/Recommendation Body
    "4002": Template(
        rows=(
            Row("1", "", "", "CODE", "111005 DCM Assessment Category", "1-n", "MC", values="CID 6026"),
            Row("2", ">", _MOD, "CODE", _LATERALITY, "1", "U", values="CID 6022"),
            Row("3", "", "", "CODE", "111023 DCM Differential Diagnosis/Impression", "1-n", "MC", values="CID 6002"),
            Row("4", ">", _MOD, "CODE", _LATERALITY, "1", "U", values="CID 6022"),
            Row("5", "", "", "TEXT", "111033 DCM Impression Description", "1", "MC"),
            Row("6", "", "", "CODE", "111053 DCM Recommended Follow-up", "1-n", "MC", values="CID 6028"),
            Row("7", ">", _MOD, "CODE", _LATERALITY, "1", "U", values="CID 6022"),
            Row(
                "8", "", "", "NUM", "111055 DCM Recommended Follow-up Interval", "1", "MC",
                unit="CID 6046", limits=(0.0, float("inf")), whole=True,
            ),
            Row("9", "", "", "DATE", "111054 DCM Recommended Follow-up Date", "1", "MC"),
            Row("10", "", "", "NUM", "111013 DCM Certainty of impression", "1", "UC", unit=_PERCENT, limits=_SHARE),
            Row("11", "", "", INCLUDE, "TID 4019", "1-n", "M"),
            Row("12", "", "", "NUM", "CID 6142", "1-n", "U"),
            Row("13", ">", _MOD, "CODE", _LATERALITY, "1", "U", values="CID 6022"),
            Row("14", ">", _MOD, "CODE", _DERIVATION, "1", "M", values="CID 6140"),
            Row("15", ">", _INFERRED, "TEXT", _CALCULATION, "1", "U"),
        ),
        one_of=("1", "3", "5", "6", "8", "9"),
        not_both=("8", "9"),
    ),
    # Individual Impression/Recommendation
    "4003": Template(
        rows=(
            Row("1", "", "", "CONTAINER", "111034 DCM Individual Impression/Recommendation", "1", "M"),
            Row("2", ">", _MOD, "CODE", _INTENT, "1", "M", values="CID 6034"),
            Row("3", ">", _CONTAINS, INCLUDE, "TID 4002", "1", "U"),
            Row("4", ">", _CONTAINS, INCLUDE, "TID 4004", "1-n", "MC"),
            Row("5", ">", _CONTAINS, INCLUDE, "TID 4006", "1-n", "MC"),
        ),
        one_of=("4", "5"),
    ),
    # Composite Feature
    "4004": Template(
        rows=(
            Row("1", "", "", "CODE", "111015 DCM Composite Feature", "1", "M", values="CID 6016"),
            Row("2", ">", _MOD, "CODE", _INTENT, "1", "M", values="CID 6034"),
            Row("3", ">", _OBS, INCLUDE, "TID 4108", "1", "U"),
            Row("4", ">", _PROPERTIES, INCLUDE, "TID 4005", "1", "M"),
            Row("5", ">", _INFERRED, INCLUDE, "TID 4004", "1-n", "MC"),
            Row("6", ">", _INFERRED, INCLUDE, "TID 4006", "1-n", "MC"),
            Row("7", ">", _OBS, INCLUDE, "TID 4022", "1", "MC"),
        ),
        one_of=("5", "6"),
    ),
    # Composite Feature Body
    "4005": Template(
        rows=(
            Row("1", "", "", "CODE", "111016 DCM Composite type", "1", "M", values="CID 6035"),
            Row("2", "", "", "CODE", "111057 DCM Scope of Feature", "1", "M", values="CID 6036"),
            Row("3", "", "", INCLUDE, "TID 4019", "1", "M"),
            Row("4", "", "", "NUM", "111011 DCM Certainty of Feature", "1", "U", unit=_PERCENT, limits=_SHARE),
            Row(
                "5", "", "", "NUM", "111047 DCM Probability of cancer", "1", "UC",
                unit=_PERCENT, limits=_SHARE, only=f"not {_NON_LESION}",
            ),
            Row("6", "", "", "CODE", "111042 DCM Pathology", "1-n", "U"),
            Row("7", "", "", INCLUDE, "TID 1400", "1-n", "U"),
            Row("8", "", "", INCLUDE, "TID 1401", "1-n", "U"),
            Row("9", "", "", INCLUDE, "TID 1402", "1-n", "U"),
            Row("10", "", "", INCLUDE, "TID 4021", "1-n", "U"),
            Row(
                "11", "", "", "NUM", "CID 6037", "1-n", "UC",
                unit=f"CID 7460|CID 7461|CID 7462|{_NO_UNITS}",
            ),
            Row("12", ">", f"R-{_INFERRED}", "NUM", "", "2", "U"),
            Row("13", "", "", "CODE", "111049 DCM Qualitative Difference", "1-n", "UC", values="CID 6038"),
            Row("14", ">", _PROPERTIES, "TEXT", "111021 DCM Description of Change", "1", "U"),
            Row("15", ">", f"R-{_INFERRED}", "CODE", "", "2", "M"),
            Row("16", "", "", "CODE", "111048 DCM Quadrant location", "1", "U", values="CID 6020"),
            Row("17", "", "", "CODE", "111014 DCM Clockface or region", "1", "U", values="CID 6018"),
            Row("18", "", "", "CODE", "111020 DCM Depth", "1", "U", values="CID 6024"),
            Row(
                "19", "", "", "CODE", "111035 DCM Lesion Density", "1", "UC",
                values="CID 6008", only=f"{_MASS} {_DENSITY}",
            ),
            Row(
                "20", "", "", "CODE", "107644003 SCT Shape", "1", "UC",
                values="CID 6004", only=f"{_MASS} {_DENSITY}",
            ),
            Row(
                "21", "", "", "CODE", "112233002 SCT Margin", "1-n", "UC",
                values="CID 6006", only=f"{_MASS} {_DENSITY}",
            ),
            Row(
                "22", "", "", "CODE", "111009 DCM Calcification Type", "1-n", "UC",
                values="CID 6010", only=f"{_CLUSTER} {_CALCIFICATION}",
            ),
            Row(
                "23", "", "", "CODE", "111008 DCM Calcification Distribution", "1", "UC",
                values="CID 6012", only=_CLUSTER,
            ),
            Row(
                "24", "", "", "NUM", "111038 DCM Number of calcifications", "1", "UC",
                unit=_NO_UNITS, limits=_FROM_ONE, whole=True, only=_CLUSTER,
            ),
            Row("25", "", "", "NUM", "CID 6142", "1-n", "U"),
            Row("26", ">", _MOD, "CODE", _DERIVATION, "1", "M", values="CID 6140"),
            Row("27", ">", _INFERRED, "TEXT", _CALCULATION, "1", "U"),
        )
    ),
    # Single Image Finding
    "4006": Template(
        rows=(
            Row("1", "", "", "CODE", "111059 DCM Single Image Finding", "1", "M", values="CID 6014"),
            Row("2", ">", _MOD, "CODE", _INTENT, "1", "M", values="CID 6034"),
            Row(
                "3", ">>", _PROPERTIES, "NUM", "111071 DCM CAD Operating Point", "1", "UC",
                unit="{1:n}", whole=True, only=_OPTIONAL,
            ),
            Row("4", ">", _OBS, INCLUDE, "TID 4108", "1", "U"),
            Row("5", ">", _PROPERTIES, INCLUDE, "TID 4019", "1", "M"),
            Row(
                "6", ">", _PROPERTIES, "NUM", "111012 DCM Certainty of Finding", "1", "U",
                unit=_PERCENT, limits=_SHARE,
            ),
            Row(
                "7", ">", _PROPERTIES, "NUM", "111047 DCM Probability of cancer", "1", "UC",
                unit=_PERCENT, limits=_SHARE,
                only=f"not {_COMPOSITION} {_GEOMETRY} {_NIPPLE} {_SELECTED} {_QUALITY} {_NON_LESION}",
            ),
            Row(
                "8", ">", _PROPERTIES, INCLUDE, "TID 4021", "1", "MC",
                only=f"not {_COMPOSITION} {_GEOMETRY} {_QUALITY}",
            ),
            Row("9", ">", _PROPERTIES, INCLUDE, "TID 4007", "1", "MC", only=_COMPOSITION),
            Row("10", ">", f"R-{_INFERRED}", "CODE", "", "1-n", "UC", only=_COMPOSITION, points_at=_GEOMETRY),
            Row("11", ">", _PROPERTIES, INCLUDE, "TID 4008", "1", "MC", only=_GEOMETRY),
            Row("12", ">", _PROPERTIES, INCLUDE, "TID 4009", "1", "UC", only=_CALCIFICATION),
            Row("13", ">", _PROPERTIES, INCLUDE, "TID 4010", "1", "UC", only=_CLUSTER),
            Row("14", ">", _PROPERTIES, INCLUDE, "TID 4011", "1", "UC", only=_DENSITY),
            Row(
                "15", ">", _PROPERTIES, "CODE", "111297 DCM Nipple Characteristic", "1", "UC",
                values="CID 6039", only=_NIPPLE,
            ),
            Row("16", ">", _PROPERTIES, INCLUDE, "TID 4012", "1", "MC", only=_NON_LESION),
            Row("17", ">", _PROPERTIES, INCLUDE, "TID 4013", "1", "MC", only=_SELECTED),
            Row("18", ">", f"R-{_INFERRED}", "IMAGE", "", "1", "UC", only=_QUALITY),
            Row("19", ">", _PROPERTIES, "SCOORD", _REGION, "1-n", "UC", only=_QUALITY),
            Row("20", ">>", _BY_REFERENCE, "IMAGE", "", "1", "M"),
            Row("21", ">", _PROPERTIES, INCLUDE, "TID 4014", "1-n", "MC", only=_QUALITY),
            Row("22", ">", _PROPERTIES, "NUM", "CID 6142", "1-n", "U"),
            Row("23", ">>", _MOD, "CODE", _DERIVATION, "1", "M", values="CID 6140"),
            Row("24", ">>", _INFERRED, "TEXT", _CALCULATION, "1", "U"),
            Row("25", ">", _INFERRED, INCLUDE, "TID 4006", "1-n", "UC", only=_CLUSTER),
            Row("26", ">", _OBS, INCLUDE, "TID 4022", "1", "MC"),
        ),
        one_of=("18", "19"),
        one_of_only=_QUALITY,
        not_both=("18", "19"),
    ),
    # Breast Composition
    "4007": Template(
        rows=(
            Row("1", "", "", "CODE", "129715009 SCT Breast composition", "1", "MC", values="CID 6000"),
            Row(
                "2", "", "", "NUM", "111046 DCM Percent Fibroglandular Tissue", "1", "MC",
                unit=_PERCENT, limits=_SHARE,
            ),
        ),
        one_of=("1", "2"),
    ),
    # Breast Geometry
    "4008": Template(
        rows=(
            Row(
                "1", "", "", "SCOORD", "111007 DCM Breast Outline Including Pectoral Muscle Tissue", "1", "M",
                graphic="POLYLINE",
            ),
            Row("2", ">", _BY_REFERENCE, "IMAGE", "", "1", "M"),
            Row("3", "", "", "SCOORD", "111045 DCM Pectoral Muscle Outline", "1", "U", graphic="POLYLINE"),
            Row("4", ">", _BY_REFERENCE, "IMAGE", "", "1", "M"),
        )
    ),
    # Individual Calcification
    "4009": Template(
        rows=(
            Row("1", "", "", "CODE", "111009 DCM Calcification Type", "1-n", "MC", values="CID 6010"),
            Row("2", "", "", INCLUDE, "TID 1400", "1-n", "MC"),
            Row("3", "", "", INCLUDE, "TID 1401", "1-n", "MC"),
            Row("4", "", "", INCLUDE, "TID 1402", "1-n", "U"),
        ),
        one_of=("1", "2", "3"),
    ),
    # Calcification Cluster
    "4010": Template(
        rows=(
            Row("1", "", "", "CODE", "111009 DCM Calcification Type", "1-n", "MC", values="CID 6010"),
            Row("2", "", "", "CODE", "111008 DCM Calcification Distribution", "1", "MC", values="CID 6012"),
            Row(
                "3", "", "", "NUM", "111038 DCM Number of calcifications", "1", "MC",
                unit=_NO_UNITS, limits=_FROM_ONE, whole=True,
            ),
            Row("4", "", "", INCLUDE, "TID 1400", "1-n", "MC"),
            Row("5", "", "", INCLUDE, "TID 1401", "1-n", "MC"),
            Row("6", "", "", INCLUDE, "TID 1402", "1-n", "U"),
        ),
        one_of=("1", "2", "3", "4", "5"),
    ),
    # Mammography breast density
    "4011": Template(
        rows=(
            Row("1", "", "", "CODE", "111035 DCM Lesion Density", "1", "MC", values="CID 6008"),
            Row("2", "", "", "CODE", "107644003 SCT Shape", "1", "MC", values="CID 6004"),
            Row("3", "", "", "CODE", "112233002 SCT Margin", "1-n", "MC", values="CID 6006"),
            Row("4", "", "", INCLUDE, "TID 1400", "1-n", "MC"),
            Row("5", "", "", INCLUDE, "TID 1401", "1-n", "MC"),
            Row("6", "", "", INCLUDE, "TID 1402", "1-n", "U"),
        ),
        one_of=("1", "2", "3", "4", "5"),
    ),
    # Non-lesion
    "4012": Template(
        rows=(
            Row("1", "", "", "CODE", "111039 DCM Object type", "1", "M", values="CID 6040"),
            Row("2", "", "", INCLUDE, "TID 1400", "1-n", "U"),
            Row("3", "", "", INCLUDE, "TID 1401", "1-n", "U"),
            Row("4", "", "", INCLUDE, "TID 1402", "1-n", "U"),
        )
    ),
    # Selected Region
    "4013": Template(
        rows=(
            Row("1", "", "", "TEXT", "111058 DCM Selected Region Description", "1", "M"),
            Row("2", "", "", INCLUDE, "TID 1400", "1-n", "U"),
            Row("3", "", "", INCLUDE, "TID 1401", "1-n", "U"),
            Row("4", "", "", INCLUDE, "TID 1402", "1-n", "U"),
        )
    ),
    # CAD Image Quality
    "4014": Template(
        rows=(
            Row("1", "", "", "CODE", "111052 DCM Quality Finding", "1", "M", values="CID 6041"),
            Row("2", ">", _PROPERTIES, "CODE", "111050 DCM Quality Assessment", "1", "U", values="CID 6044"),
            Row("3", ">", _PROPERTIES, "CODE", "111051 DCM Quality Control Standard", "1", "UC", values="CID 6045"),
            Row(
                "4", ">", _PROPERTIES, "NUM", "111029 DCM Image Quality Rating", "1", "U",
                unit=_PERCENT, limits=_SHARE,
            ),
        )
    ),
    # Detections Performed
    "4015": Template(
        rows=(
            Row(
                "1", "", "", "CONTAINER", "111063 DCM Successful Detections", "1", "MC",
                only=_FULLY_SUCCEEDED_OR_PARTIALLY,
            ),
            Row("2", ">", _CONTAINS, INCLUDE, "TID 4017", "1-n", "M"),
            Row("3", "", "", "CONTAINER", "111025 DCM Failed Detections", "1", "MC", only=_FAILED_OR_PARTIALLY),
            Row("4", ">", _CONTAINS, INCLUDE, "TID 4017", "1-n", "M"),
        )
    ),
    # Analyses Performed
    "4016": Template(
        rows=(
            Row(
                "1", "", "", "CONTAINER", "111062 DCM Successful Analyses", "1", "MC",
                only=_FULLY_SUCCEEDED_OR_PARTIALLY,
            ),
            Row("2", ">", _CONTAINS, INCLUDE, "TID 4018", "1-n", "M"),
            Row("3", "", "", "CONTAINER", "111024 DCM Failed Analyses", "1", "MC", only=_FAILED_OR_PARTIALLY),
            Row("4", ">", _CONTAINS, INCLUDE, "TID 4018", "1-n", "M"),
        )
    ),
    # Detection Performed
    "4017": Template(
        rows=(
            Row("1", "", "", "CODE", "111022 DCM Detection Performed", "1", "M", values="CID 6014"),
            Row("2", ">", _PROPERTIES, INCLUDE, "TID 4019", "1", "M"),
            Row("3", ">", _PROPERTIES, "IMAGE", "", "1-n", "MC"),
            Row("4", ">", f"R-{_PROPERTIES}", "IMAGE", "", "1-n", "MC"),
            Row("5", ">", _PROPERTIES, "UIDREF", "112002 DCM Series Instance UID", "1-n", "MC"),
            Row("6", ">", _PROPERTIES, "SCOORD", _REGION, "1-n", "MC"),
            Row("8", ">>", _BY_REFERENCE, "IMAGE", "", "1", "M"),
            Row("9", ">", "", INCLUDE, "TID 4023", "1", "U"),
        ),
        one_of=("3", "4", "5", "6"),
    ),
    # Analysis Performed
    "4018": Template(
        rows=(
            Row("1", "", "", "CODE", "111004 DCM Analysis Performed", "1", "M", values="CID 6043"),
            Row("2", ">", _PROPERTIES, INCLUDE, "TID 4019", "1", "M"),
            Row("3", ">", _PROPERTIES, "IMAGE", "", "1-n", "MC"),
            Row("4", ">", f"R-{_PROPERTIES}", "IMAGE", "", "1-n", "MC"),
            Row("5", ">", _PROPERTIES, "UIDREF", "112002 DCM Series Instance UID", "1-n", "MC"),
            Row("6", ">", _PROPERTIES, "SCOORD", _REGION, "1-n", "MC"),
            Row("8", ">>", _BY_REFERENCE, "IMAGE", "", "1", "M"),
            Row("9", ">", "", INCLUDE, "TID 4023", "1", "U"),
        ),
        one_of=("3", "4", "5", "6"),
    ),
    # Algorithm Identification
    "4019": Template(
        rows=(
            Row("1", "", "", "TEXT", "111001 DCM Algorithm Name", "1", "M"),
            Row("1b", "", "", "CODE", "111001 DCM Algorithm Name", "1", "U"),
            Row("2", "", "", "TEXT", "111003 DCM Algorithm Version", "1", "M"),
            Row("2b", "", "", "TEXT", "122405 DCM Algorithm Manufacturer", "1", "U"),
            Row("3", "", "", "TEXT", "111002 DCM Algorithm Parameters", "1-n", "U"),
            Row("4", "", "", "CODE", "111000 DCM Algorithm Family", "1", "U"),
        )
    ),
    # CAD Image Library Entry: that a row is there when the image has the attribute is checked with the image
    "4020": Template(
        rows=(
            Row("1", "", "", "IMAGE", "", "1", "M"),
            Row("2", ">", _ACQ, "CODE", "111027 DCM Image Laterality", "1", "U", values="CID 6022"),
            Row("3", ">", _ACQ, "CODE", "111031 DCM Image View", "1", "U", values="CID 4014"),
            Row("4", ">>", _MOD, "CODE", "111032 DCM Image View Modifier", "1-n", "U", values="CID 4015"),
            Row("5", ">", _ACQ, "TEXT", "111044 DCM Patient Orientation Row", "1", "U"),
            Row("6", ">", _ACQ, "TEXT", "111043 DCM Patient Orientation Column", "1", "U"),
            Row("7", ">", _ACQ, "DATE", "111060 DCM Study Date", "1", "U"),
            Row("8", ">", _ACQ, "TIME", "111061 DCM Study Time", "1", "U"),
            Row("9", ">", _ACQ, "DATE", "111018 DCM Content Date", "1", "U"),
            Row("10", ">", _ACQ, "TIME", "111019 DCM Content Time", "1", "U"),
            Row(
                "11", ">", _ACQ, "NUM", "111026 DCM Horizontal Pixel Spacing", "1", "U",
                unit=_SPACING, limits=(0.0, float("inf")),
            ),
            Row(
                "12", ">", _ACQ, "NUM", "111066 DCM Vertical Pixel Spacing", "1", "U",
                unit=_SPACING, limits=(0.0, float("inf")),
            ),
            Row(
                "13", ">", _ACQ, "NUM", "112011 DCM Positioner Primary Angle", "1", "UC",
                unit=_DEGREES,
            ),
            Row(
                "14", ">", _ACQ, "NUM", "112012 DCM Positioner Secondary Angle", "1", "UC",
                unit=_DEGREES,
            ),
            Row(
                "27", ">", _ACQ, "NUM", "110910 DCM Pixel Data Rows", "1", "U",
                unit=_PIXELS, limits=_FROM_ONE, whole=True,
            ),
            Row(
                "28", ">", _ACQ, "NUM", "110911 DCM Pixel Data Columns", "1", "U",
                unit=_PIXELS, limits=_FROM_ONE, whole=True,
            ),
        ),
        extensible=True,
    ),
    # Geometry
    "4021": Template(
        rows=(
            Row("1", "", "", "SCOORD", "111010 DCM Center", "1", "M", graphic="POINT"),
            Row("2", ">", _BY_REFERENCE, "IMAGE", "", "1", "M"),
            Row("3", "", "", "SCOORD", "111041 DCM Outline", "1", "U", our_graphic=_OUTLINES),
            Row("4", ">", _BY_REFERENCE, "IMAGE", "", "1", "M"),
            Row("5", "", "", "SCOORD", "CID 6166", "1-n", "U"),
            Row("6", ">", _BY_REFERENCE, "IMAGE", "", "1", "M"),
        )
    ),
    # CAD Observation Context
    "4022": Template(
        rows=(
            Row("1", "", "", "COMPOSITE", "111040 DCM Original Source", "1", "MC"),
            Row("2", ">", _MOD, INCLUDE, "TID 1204", "1", "M"),
            Row("3", "", "", ANY, "", "1-n", "M"),
        )
    ),
    # Operating Points
    "4023": Template(
        rows=(
            Row(
                "1", "", _PROPERTIES, "NUM", "111072 DCM Maximum CAD Operating Point", "1", "M",
                unit="[arb'U] UCUM arbitrary unit", limits=(0.0, float("inf")), whole=True,
            ),
            Row(
                "2", "", _PROPERTIES, "NUM", "111092 DCM Recommended CAD Operating Point", "1", "U",
                unit="{0:n}", whole=True,
            ),
            Row("3", "", _PROPERTIES, "CONTAINER", "111093 DCM CAD Operating Point Table", "1", "U"),
            Row("4", ">", _CONTAINS, "CODE", "122698 DCM X-Concept", "1", "M", values="CID 6048"),
            Row("5", ">", _CONTAINS, "CODE", "122699 DCM Y-Concept", "1", "M", values="CID 6048"),
            Row("6", ">", _CONTAINS, "NUM", "111071 DCM CAD Operating Point", "1-n", "M", whole=True),
            Row("7", ">>", _PROPERTIES, "TEXT", "111081 DCM CAD Operating Point Description", "1", "U"),
            Row("8", ">>", _PROPERTIES, "NUM", "CID 6048", "1", "U"),
            Row("9", ">>", _PROPERTIES, "NUM", "CID 6048", "1", "U"),
        )
    ),
    # Linear Measurements
    "1400": Template(
        rows=(
            Row("1", "", "", "NUM", "CID 7470", "1", "M", unit="CID 7460", limits=(0.0, float("inf"))),
            Row("2", ">", _INFERRED, "SCOORD", "121055 DCM Path", "1", "UC", graphic=_OUTLINES),
            Row("image of 2", ">>", _BY_REFERENCE, "IMAGE", "", "1", "M"),
            Row("5", ">", _INFERRED, "SCOORD", "121230 DCM Path Vertex", "2-n", "UC", graphic="POINT"),
            Row("image of 5", ">>", _BY_REFERENCE, "IMAGE", "", "1", "M"),
            Row("last", ">", _OBS, INCLUDE, "TID 4108", "1", "U"),
        ),
        not_both=("2", "5"),
        extensible=True,
    ),
    # Area Measurements
    "1401": Template(
        rows=(
            Row("1", "", "", "NUM", "CID 7471", "1", "M", unit="CID 7461", limits=_ABOVE_ZERO),
            Row(
                "2", ">", _INFERRED, "SCOORD", "121056 DCM Area Outline", "1", "MC",
                graphic="POINT POLYLINE CIRCLE ELLIPSE",
            ),
            Row("image of 2", ">>", _BY_REFERENCE, "IMAGE", "", "1", "M"),
            Row("5", ">", _INFERRED, "IMAGE", "121214 DCM Referenced Segmentation Frame", "1", "MC"),
            Row("6", ">", f"R-{_INFERRED}", "IMAGE", "", "1", "MC"),
            Row("7", ">", _PROPERTIES, "CODE", "370129005 SCT Measurement Method", "1", "U"),
            Row("last", ">", _OBS, INCLUDE, "TID 4108", "1", "U"),
        ),
        one_of=("2", "5", "6"),
        one_of_only=_DEFINED_REGION,
        not_both=("2", "5", "6"),
        extensible=True,
    ),
    # Volume Measurements
    "1402": Template(
        rows=(
            Row("1", "", "", "NUM", "CID 7472", "1", "M", unit="CID 7462", limits=_ABOVE_ZERO),
            Row("last", ">", _OBS, INCLUDE, "TID 4108", "1", "U"),
        ),
        extensible=True,
    ),
    # Tracking Identifier
    "4108": Template(
        rows=(
            Row("1", "", "", "TEXT", "112039 DCM Tracking Identifier", "1", "MC"),
            Row("2", "", "", "UIDREF", "112040 DCM Tracking Unique Identifier", "1", "MC"),
        ),
        one_of=("1", "2"),
    ),
    # Language of Content Item and Descendants
    "1204": Template(
        rows=(
            Row(
                "1", "", "", "CODE", "121049 DCM Language of Content Item and Descendants", "1", "M",
                values="scheme RFC5646",
            ),
            Row("2", ">", _MOD, "CODE", "121046 DCM Country of Language", "1", "U", values="scheme ISO3166_1"),
        )
    ),
}
# fmt: on
