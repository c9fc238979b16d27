"""A DICOM node for mammography CAD: mammograms in, Mammography CAD SR and Segmentation back."""

from importlib.metadata import version

__version__ = version("cmmd-node")
