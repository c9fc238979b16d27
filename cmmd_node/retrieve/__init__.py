"""In, at our own wish: from a PACS, a DICOMweb archive, a public collection, a medium.

Nothing here knows the inbox: a source is given a function that takes the pieces of one DICOM file and keeps it.
"""

from cmmd_node.retrieve.source import FoundSeries, Patient, Problem, Source, Take, Wanted

__all__ = ["FoundSeries", "Patient", "Problem", "Source", "Take", "Wanted"]
