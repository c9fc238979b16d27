"""DICOMweb (PS3.18) as origin server: STOW-RS into the inbox, QIDO-RS over the index, WADO-RS from the files."""

from cmmd_node.dicomweb.app import make_dicomweb
from cmmd_node.dicomweb.decoder import Decoder
from cmmd_node.dicomweb.headers import Cataloguer

__all__ = ["Cataloguer", "Decoder", "make_dicomweb"]
