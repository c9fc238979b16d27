"""Findings to DICOM: Mammography CAD SR and Segmentation, their UIDs, and the check that each object passes."""

from cmmd_node.report.envelope import ResultObject
from cmmd_node.report.results import write_results
from cmmd_node.report.tracking import Place, with_findings
from cmmd_node.report.uids import new_node_uid

__all__ = ["Place", "ResultObject", "new_node_uid", "with_findings", "write_results"]
