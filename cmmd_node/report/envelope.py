"""What all result objects have in common: patient and study, series, equipment, time, and the sealed file.

An object is built without a SOP Instance UID; :func:`sealed` derives it from the bytes and puts it among them, so
that the same content always carries the same UID and other content never does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian

from cmmd_node import IMPLEMENTATION_CLASS_UID, __version__
from cmmd_node.facts import Codes, Form, Model, Round
from cmmd_node.report.codes import PROCESSING_EQUIPMENT
from cmmd_node.report.content import code_item
from cmmd_node.report.srt import coding_of, use_older_codes
from cmmd_node.report.uids import instance_uid, model_uid, series_uid

MANUFACTURER = "cmmd-node"
NOTICE = "Research use only, not a medical device"

CHARACTER_SET = "ISO_IR 192"
_SOP_INSTANCE_UID = 0x00080018
_MODALITY = {Form.CAD_SR: "SR", Form.SEG: "SEG", Form.GSPS: "PR", Form.TID1500: "SR", Form.SC: "OT"}
#: With the notice behind it, at most 64 characters.
_SERIES_DESCRIPTION = {
    Form.CAD_SR: "Mammography CAD",
    Form.SEG: "Mammography CAD marks",
    Form.GSPS: "CAD overlays",
    Form.TID1500: "CAD measurements",
    Form.SC: "CAD pictures",
}
#: Series Number: rounds lie ten apart, so that each form of result keeps a last digit of its own, 5 more with SRT.
_LAST_DIGIT = {Form.CAD_SR: 0, Form.SEG: 1, Form.GSPS: 2, Form.TID1500: 3, Form.SC: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultObject:
    """A finished result object, checked and ready to be kept and sent."""

    form: Form
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    referenced_sop_instance_uid: str | None
    """The one image that it is about; None when it is about the study."""
    codes: Codes | None
    """The codes that it is written with; None when nothing in it depends on them."""
    data: bytes
    """The complete Part 10 file."""


def series_number(round_: Round, form: Form, codes: Codes = Codes.SCT) -> int:
    """Series Number, far behind those of a modality."""
    return 9000 + 10 * round_.number + _LAST_DIGIT[form] + (5 if codes is Codes.SRT else 0)


def describe(ds: Dataset, identity: Dataset, round_: Round, model: Model, form: Form) -> None:
    """Set the attributes of Patient, General Study, General Series, General Equipment and SOP Common.

    Every date and time is that of the round (PS3.3 C.7.3.1, C.12.1), so that a second attempt writes the same.
    """
    day, hour = f"{round_.created:%Y%m%d}", f"{round_.created:%H%M%S}"
    ds.SpecificCharacterSet = CHARACTER_SET
    ds.InstanceCreationDate, ds.InstanceCreationTime = day, hour
    ds.update(identity)
    ds.Modality = _MODALITY[form]
    ds.SeriesInstanceUID = UID(series_uid(round_, form))
    ds.SeriesNumber = series_number(round_, form)
    ds.SeriesDescription = f"{_SERIES_DESCRIPTION[form]} - {NOTICE}"
    ds.SeriesDate, ds.SeriesTime = day, hour
    ds.ContentDate, ds.ContentTime = day, hour
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MANUFACTURER
    ds.DeviceSerialNumber = round_.node_uid
    ds.SoftwareVersions = __version__
    ds.ContributingEquipmentSequence = [_algorithm_equipment(model)]


def sealed(ds: Dataset, round_: Round, model: Model, form: Form, *, image: str | None) -> ResultObject:
    """Give an otherwise finished data set its SOP Instance UID, and both the form of a file (PS3.10 7).

    Parameters
    ----------
    ds
        A SOP Instance UID that it may have is left out.
    image
        SOP Instance UID of the one image that the object is about, None when it is about the study.
    """
    before, behind = _encoded(ds[:_SOP_INSTANCE_UID]), _encoded(ds[_SOP_INSTANCE_UID + 1 :])
    uid = UID(instance_uid(round_, model, form, image=image, content=before + behind))
    named = Dataset()
    named.SOPInstanceUID = uid
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = f"CMMDNODE{__version__}"[:16]
    prologue = DicomBytesIO(b"\0" * 128 + b"DICM")
    prologue.seek(0, os.SEEK_END)
    write_file_meta_info(prologue, meta, enforce_standard=True)
    return ResultObject(
        form=form,
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(uid),
        series_instance_uid=str(ds.SeriesInstanceUID),
        referenced_sop_instance_uid=image,
        codes=coding_of(ds),
        data=prologue.getvalue() + before + _encoded(named) + behind,
    )


def in_older_codes(one: ResultObject, round_: Round, model: Model) -> ResultObject:
    """The same object with the older codes, in a series of their own; itself when it has no code to change."""
    if one.codes is not Codes.SCT:
        return one
    ds = dcmread(BytesIO(one.data))
    use_older_codes(ds)
    ds.SeriesInstanceUID = UID(series_uid(round_, one.form, Codes.SRT))
    ds.SeriesNumber = series_number(round_, one.form, Codes.SRT)
    return sealed(ds, round_, model, one.form, image=one.referenced_sop_instance_uid)


def _encoded(ds: Dataset) -> bytes:
    """Encode some of the elements of an object in Explicit VR Little Endian (PS3.5 A.2)."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds, CHARACTER_SET)
    return buffer.getvalue()


def _algorithm_equipment(model: Model) -> Dataset:
    """The model as Contributing Equipment, in the words of the algorithm identification (IHE AIR)."""
    ds = Dataset()
    ds.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = model.name
    ds.SoftwareVersions = model.version
    ds.DeviceUID = UID(model_uid(model))
    return ds
