"""The Mammography CAD SR object: what stands around the content tree (PS3.3 A.35.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import MammographyCADSRStorage

from cmmd_node.facts import Form, Reference, Round, StudyResult
from cmmd_node.report.content import encoded
from cmmd_node.report.document import document_root
from cmmd_node.report.envelope import ResultObject, describe, sealed


def mammography_cad_sr(
    result: StudyResult, images: Sequence[Dataset], identity: Dataset, round_: Round
) -> ResultObject:
    """Write the CAD SR of a study: there is one for every outcome.

    Parameters
    ----------
    images
        Headers of all images of the study, in the order of the library.
    identity
        Patient and study attributes, as :func:`cmmd_node.report.header.identity` returns them.
    """
    ds = encoded(document_root(result, images))
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "4000"
    ds.ContentTemplateSequence = [template]

    ds.SOPClassUID = MammographyCADSRStorage
    describe(ds, identity, round_, result.model, Form.CAD_SR)
    ds.InstanceNumber = 1
    # SR Document Series and SR Document General (PS3.3 C.17.1, C.17.2); no person attests the content
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.CompletionFlag = "COMPLETE"
    ds.VerificationFlag = "UNVERIFIED"
    ds.CurrentRequestedProcedureEvidenceSequence = hierarchical(
        Reference(
            study_instance_uid=result.study_instance_uid,
            series_instance_uid=image.SeriesInstanceUID,
            sop_class_uid=image.SOPClassUID,
            sop_instance_uid=image.SOPInstanceUID,
        )
        for image in images
    )
    if round_.predecessors:
        ds.PredecessorDocumentsSequence = hierarchical(round_.predecessors)
    return sealed(ds, round_, result.model, Form.CAD_SR, image=None)


def hierarchical(references: Iterable[Reference]) -> list[Dataset]:
    """Hierarchical SOP Instance References (PS3.3 table C.17-3): by study, then series, then instance."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for reference in sorted(references, key=lambda found: found.sop_instance_uid):
        instance = Dataset()
        instance.ReferencedSOPClassUID = reference.sop_class_uid
        instance.ReferencedSOPInstanceUID = reference.sop_instance_uid
        series = studies.setdefault(reference.study_instance_uid, {})
        series.setdefault(reference.series_instance_uid, []).append(instance)
    return [_study_item(study, series) for study, series in studies.items()]


def _study_item(study_instance_uid: str, series: dict[str, list[Dataset]]) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID = study_instance_uid
    ds.ReferencedSeriesSequence = []
    for series_instance_uid, instances in series.items():
        item = Dataset()
        item.SeriesInstanceUID = series_instance_uid
        item.ReferencedSOPSequence = instances
        ds.ReferencedSeriesSequence.append(item)
    return ds
