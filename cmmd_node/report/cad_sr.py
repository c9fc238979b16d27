"""The Mammography CAD SR object: what stands around the content tree (PS3.3 A.35.5)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import MammographyCADSRStorage

from cmmd_node.facts import Form, Round, StudyResult
from cmmd_node.report.content import encoded, template_item
from cmmd_node.report.document import document_root
from cmmd_node.report.envelope import ResultObject, describe, sealed
from cmmd_node.report.evidence import describe_document


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
    ds.ContentTemplateSequence = [template_item("4000")]

    ds.SOPClassUID = MammographyCADSRStorage
    describe(ds, identity, round_, result.model, Form.CAD_SR)
    ds.InstanceNumber = 1
    describe_document(ds, round_, images)
    return sealed(ds, round_, result.model, Form.CAD_SR, image=None)
