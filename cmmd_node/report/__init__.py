"""Findings to DICOM: Mammography CAD SR and Segmentation, their UIDs, and the check that each object passes."""

from cmmd_node.report.envelope import ResultObject
from cmmd_node.report.results import write_results
from cmmd_node.report.uids import findings_of, new_node_uid

__all__ = ["ResultObject", "findings_of", "new_node_uid", "write_results"]
