"""A DICOM node for mammography CAD: mammograms in, Mammography CAD SR and Segmentation back."""

from importlib.metadata import version

__version__ = version("cmmd-node")

#: PS3.7 D.3.3.2, the same in every association and every file that this program writes.
IMPLEMENTATION_CLASS_UID = "2.25.264713302843215092226043286938421374127"
IMPLEMENTATION_VERSION_NAME = f"CMMDNODE_{__version__}"[:16]
