"""What an SR document says around its content: that it is complete, and which images it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from cmmd_node.facts import Reference, Round


def describe_document(ds: Dataset, round_: Round, images: Sequence[Dataset]) -> None:
    """Set SR Document Series and SR Document General (PS3.3 C.17.1, C.17.2); no person attests the content.

    A document replaces those of its own class from the round before.
    """
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.CompletionFlag = "COMPLETE"
    ds.VerificationFlag = "UNVERIFIED"
    ds.CurrentRequestedProcedureEvidenceSequence = hierarchical(
        Reference(
            study_instance_uid=round_.study_instance_uid,
            series_instance_uid=image.SeriesInstanceUID,
            sop_class_uid=image.SOPClassUID,
            sop_instance_uid=image.SOPInstanceUID,
        )
        for image in images
    )
    replaced = [one for one in round_.predecessors if one.sop_class_uid == ds.SOPClassUID]
    if replaced:
        ds.PredecessorDocumentsSequence = hierarchical(replaced)


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
