"""The attributes that an object of ours must have, by module and type (PS3.3)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sized
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MammographyCADSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from cmmd_node.report.check.faults import Fault

#: Patient, General Study, General Series, General Equipment and SOP Common: keyword to type.
_COMMON = {
    "SpecificCharacterSet": 1,
    "SOPClassUID": 1,
    "SOPInstanceUID": 1,
    "InstanceCreationDate": 1,
    "InstanceCreationTime": 1,
    "PatientName": 2,
    "PatientID": 2,
    "PatientBirthDate": 2,
    "PatientSex": 2,
    "StudyInstanceUID": 1,
    "StudyDate": 2,
    "StudyTime": 2,
    "StudyID": 2,
    "AccessionNumber": 2,
    "ReferringPhysicianName": 2,
    "Modality": 1,
    "SeriesInstanceUID": 1,
    "SeriesNumber": 1,
    "SeriesDescription": 1,
    "SeriesDate": 1,
    "SeriesTime": 1,
    "InstanceNumber": 1,
    "Manufacturer": 1,
    "ManufacturerModelName": 1,
    "DeviceSerialNumber": 1,
    "SoftwareVersions": 1,
    "ContributingEquipmentSequence": 1,
}
_CONTENT = {"ContentDate": 1, "ContentTime": 1}
#: SR Document Series, SR Document General and SR Document Content.
_OF_DOCUMENT = {
    **_CONTENT,
    "ReferencedPerformedProcedureStepSequence": 2,
    "CompletionFlag": 1,
    "VerificationFlag": 1,
    "PerformedProcedureCodeSequence": 2,
    "CurrentRequestedProcedureEvidenceSequence": 1,
    "ValueType": 1,
    "ConceptNameCodeSequence": 1,
    "ContinuityOfContent": 1,
    "ContentTemplateSequence": 1,
    "ContentSequence": 1,
}
_OF_CLASS: Mapping[str, Mapping[str, int]] = {
    MammographyCADSRStorage: _OF_DOCUMENT,
    Comprehensive3DSRStorage: _OF_DOCUMENT,
    SegmentationStorage: {
        **_CONTENT,
        "PatientOrientation": 2,
        "ImageType": 1,
        "Rows": 1,
        "Columns": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": 1,
        "BitsAllocated": 1,
        "BitsStored": 1,
        "HighBit": 1,
        "PixelRepresentation": 1,
        "LossyImageCompression": 1,
        "SegmentationType": 1,
        "ContentLabel": 1,
        "ContentDescription": 2,
        "NumberOfFrames": 1,
        "SegmentSequence": 1,
        "SharedFunctionalGroupsSequence": 2,
        "PerFrameFunctionalGroupsSequence": 1,
        "DimensionOrganizationSequence": 1,
        "DimensionIndexSequence": 1,
        "ReferencedSeriesSequence": 1,
        "PixelData": 1,
    },
    SecondaryCaptureImageStorage: {
        **_CONTENT,
        "ConversionType": 1,
        "ImageType": 1,
        "PatientOrientation": 2,
        "BurnedInAnnotation": 1,
        "SourceImageSequence": 1,
        "LossyImageCompression": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": 1,
        "PlanarConfiguration": 1,
        "Rows": 1,
        "Columns": 1,
        "BitsAllocated": 1,
        "BitsStored": 1,
        "HighBit": 1,
        "PixelRepresentation": 1,
        "PixelData": 1,
    },
    GrayscaleSoftcopyPresentationStateStorage: {
        "Laterality": 2,
        "PresentationCreationDate": 1,
        "PresentationCreationTime": 1,
        "ContentLabel": 1,
        "ContentDescription": 2,
        "ContentCreatorName": 2,
        "ReferencedSeriesSequence": 1,
        "DisplayedAreaSelectionSequence": 1,
        "GraphicAnnotationSequence": 1,
        "GraphicLayerSequence": 1,
        "PresentationLUTShape": 1,
    },
}
#: What the standard lets be absent or empty, at least in some objects of the class; of ours it is asked for.
_OURS = {
    "SpecificCharacterSet",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "SeriesDescription",
    "SeriesDate",
    "SeriesTime",
    "ContributingEquipmentSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "ReferencedSeriesSequence",
    "PatientOrientation",
    "LossyImageCompression",
    "DeviceUID",
    "SegmentAlgorithmName",
    "SegmentationAlgorithmIdentificationSequence",
    "AlgorithmSource",
    "AnatomicRegionSequence",
    "TrackingID",
    "TrackingUID",
    "SourceImageSequence",
    "DimensionOrganizationUID",
    "FunctionalGroupPointer",
}
#: The same for one class: what only some presentation states draw, what only some pictures tell.
_OURS_OF_CLASS: Mapping[str, Collection[str]] = {
    GrayscaleSoftcopyPresentationStateStorage: {
        "PresentationLUTShape",
        "GraphicAnnotationSequence",
        "GraphicLayerSequence",
        "GraphicObjectSequence",
        "TextObjectSequence",
        "GraphicFilled",
        "AnchorPointAnnotationUnits",
        "AnchorPoint",
        "AnchorPointVisibility",
    },
    SecondaryCaptureImageStorage: {
        "ContentDate",
        "ContentTime",
        "ImageType",
        "BurnedInAnnotation",
        "SeriesNumber",
        "InstanceNumber",
        "PlanarConfiguration",
        "Modality",
    },
}
#: Type 1 only by the Enhanced General Equipment module, which these have not (PS3.3 C.7.5.2).
_GENERAL_EQUIPMENT = {
    MammographyCADSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
}
_ENHANCED_EQUIPMENT = {"Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"}
#: Attributes with more values in the standard than in our objects.
_OUR_VALUES = {
    "SpecificCharacterSet",
    "VerificationFlag",
    "ContinuityOfContent",
    "SegmentationType",
    "PhotometricInterpretation",
}
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_REFERENCE = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
_OF_STUDY = ("StudyInstanceUID", "ReferencedSeriesSequence")
#: What every item of a sequence must hold, wherever the sequence stands; codes besides.
_ITEMS = {
    "AnatomicRegionSequence": _CODE,
    "AnatomicRegionModifierSequence": _CODE,
    "ContributingEquipmentSequence": (
        "PurposeOfReferenceCodeSequence",
        "Manufacturer",
        "ManufacturerModelName",
        "SoftwareVersions",
        "DeviceUID",
    ),
    "CurrentRequestedProcedureEvidenceSequence": _OF_STUDY,
    "PertinentOtherEvidenceSequence": _OF_STUDY,
    "PredecessorDocumentsSequence": _OF_STUDY,
    "ReferencedSeriesSequence": ("SeriesInstanceUID",),
    "ReferencedSOPSequence": _REFERENCE,
    "ReferencedInstanceSequence": _REFERENCE,
    "ReferencedImageSequence": _REFERENCE,
    "SourceImageSequence": _REFERENCE,
    "DerivationImageSequence": ("DerivationCodeSequence", "SourceImageSequence"),
    "MeasuredValueSequence": ("NumericValue", "MeasurementUnitsCodeSequence"),
    "DimensionOrganizationSequence": ("DimensionOrganizationUID",),
    "DimensionIndexSequence": ("DimensionOrganizationUID", "DimensionIndexPointer", "FunctionalGroupPointer"),
    "SegmentSequence": (
        "SegmentNumber",
        "SegmentLabel",
        "SegmentAlgorithmType",
        "SegmentAlgorithmName",
        "SegmentationAlgorithmIdentificationSequence",
        "SegmentedPropertyCategoryCodeSequence",
        "SegmentedPropertyTypeCodeSequence",
        "AnatomicRegionSequence",
    ),
    "SegmentationAlgorithmIdentificationSequence": (
        "AlgorithmFamilyCodeSequence",
        "AlgorithmName",
        "AlgorithmVersion",
        "AlgorithmSource",
    ),
    "DisplayedAreaSelectionSequence": (
        "DisplayedAreaTopLeftHandCorner",
        "DisplayedAreaBottomRightHandCorner",
        "PresentationSizeMode",
    ),
    "GraphicLayerSequence": ("GraphicLayer", "GraphicLayerOrder"),
    "GraphicAnnotationSequence": ("GraphicLayer", "GraphicObjectSequence", "TextObjectSequence"),
    "GraphicObjectSequence": (
        "GraphicAnnotationUnits",
        "GraphicDimensions",
        "NumberOfGraphicPoints",
        "GraphicData",
        "GraphicType",
        "GraphicFilled",
        "TrackingID",
        "TrackingUID",
    ),
    "TextObjectSequence": (
        "UnformattedTextValue",
        "AnchorPointAnnotationUnits",
        "AnchorPoint",
        "AnchorPointVisibility",
    ),
}
_ENUMERATED = {
    "SpecificCharacterSet": {"ISO_IR 192"},
    "PatientSex": {"F", "M", "O"},
    "CompletionFlag": {"COMPLETE", "PARTIAL"},
    "VerificationFlag": {"UNVERIFIED"},
    "ContinuityOfContent": {"SEPARATE"},
    "LossyImageCompression": {"00", "01"},
    "SegmentationType": {"BINARY"},
    "PhotometricInterpretation": {"MONOCHROME2", "RGB"},
    "PresentationLUTShape": {"IDENTITY", "INVERSE"},
    "Laterality": {"L", "R"},
}
_OF_CLASS_VALUE = {
    MammographyCADSRStorage: "SR",
    Comprehensive3DSRStorage: "SR",
    SegmentationStorage: "SEG",
    SecondaryCaptureImageStorage: "OT",
    GrayscaleSoftcopyPresentationStateStorage: "PR",
}

_LENGTH = {"LO": 64, "SH": 16, "CS": 16, "UI": 64, "AE": 16, "ST": 1024, "DS": 16, "IS": 12}
_FORM = {
    "UI": re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*"),
    "DA": re.compile(r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"),
    "TM": re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?"),
    "CS": re.compile(r"[A-Z0-9 _]*"),
    "AS": re.compile(r"[0-9]{3}[DWMY]"),
}
_NOTICE = "not a medical device"


def attribute_faults(ds: Dataset) -> Iterator[Fault]:
    """Check attributes of the data set itself, and the form of every value in it."""
    only_ours = {*_OURS, *_OURS_OF_CLASS.get(ds.SOPClassUID, ())}
    for keyword, kind in {**_COMMON, **_OF_CLASS.get(ds.SOPClassUID, {})}.items():
        equipment = keyword in _ENHANCED_EQUIPMENT and ds.SOPClassUID in _GENERAL_EQUIPMENT
        if keyword not in ds:
            ours = keyword in only_ours or (equipment and keyword != "Manufacturer")
            yield _fault(keyword, f"is missing (type {kind})", ours=ours)
        elif kind == 1 and _is_empty(ds[keyword].value):
            yield _fault(keyword, "is empty (type 1)", ours=keyword in only_ours or equipment)
    for keyword, allowed in _ENUMERATED.items():
        value = str(ds.get(keyword) or "")
        if value and value not in allowed:
            message = f"is {value!r}, not one of {', '.join(sorted(allowed))}"
            yield _fault(keyword, message, ours=keyword in _OUR_VALUES)
    modality = _OF_CLASS_VALUE.get(ds.SOPClassUID)
    if modality is not None and ds.get("Modality") != modality:
        yield _fault("Modality", f"is {ds.get('Modality')!r}, not {modality}", ours="Modality" in only_ours)
    if _NOTICE not in str(ds.get("SeriesDescription", "")):
        yield _fault("SeriesDescription", f"does not say {_NOTICE!r}", ours=True)
    yield from _form_faults(ds)
    yield from _item_faults(ds, only_ours)


def _fault(keyword: str, message: str, *, ours: bool = False) -> Fault:
    return Fault(rule=f"PS3.6 {dictionary_VR(keyword)}", path=keyword, message=message, ours=ours)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, Sized) and len(value) == 0)


def _item_faults(ds: Dataset, only_ours: Collection[str]) -> Iterator[Fault]:
    for element in ds.iterall():
        if element.VR != "SQ":
            continue
        wanted = _CODE if element.keyword.endswith("CodeSequence") else _ITEMS.get(element.keyword, ())
        for keyword in wanted:
            if any(_is_empty(item.get(keyword)) for item in element.value):
                ours = keyword in only_ours or keyword in _ENHANCED_EQUIPMENT - {"Manufacturer"}
                yield _fault(keyword, f"is missing or empty in an item of {element.keyword}", ours=ours)


def _form_faults(ds: Dataset) -> Iterator[Fault]:
    for element in ds.iterall():
        values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
        for value in map(str, values if element.VR in {*_LENGTH, *_FORM} and element.value is not None else ()):
            wrong_form = element.VR in _FORM and value and not _FORM[element.VR].fullmatch(value)
            if wrong_form or len(value) > _LENGTH.get(element.VR, len(value)):
                yield Fault(rule=f"PS3.5 6.2 {element.VR}", path=element.keyword, message="has a value of wrong form")
