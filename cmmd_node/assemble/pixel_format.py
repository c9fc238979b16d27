"""How pixels are stored, as the Image Pixel module tells (PS3.3 C.7.6.3), checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from cmmd_node.assemble.header import integer, numbers, shown, text
from cmmd_node.errors import NotAnalysed
from cmmd_node.facts import MOST_PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """One grey image of 8 or 16 bit cells, of which some bits count."""

    rows: int
    columns: int
    bits_allocated: int
    """8 or 16."""
    bits_stored: int
    high_bit: int
    """Position of the most significant bit stored; bits above it may hold overlays."""
    signed: bool
    low_is_bright: bool
    """MONOCHROME1, or MONOCHROME2 with a negative Rescale Slope."""
    padding: tuple[int, int] | None
    """Lowest and highest stored value that stand for no image (PS3.3 C.7.5.1.1.2)."""

    @property
    def cell_bytes(self) -> int:
        return self.bits_allocated // 8

    @property
    def native_bytes(self) -> int:
        """Length of the pixel data when it is not compressed, without the padding byte."""
        return self.rows * self.columns * self.cell_bytes

    def value_of(self, bits: int) -> int:
        """The pixel value that the stored bits mean: two's complement where pixels are signed."""
        bits &= (1 << self.bits_stored) - 1
        return bits - (1 << self.bits_stored) if self.signed and bits >> (self.bits_stored - 1) else bits

    @classmethod
    def from_dataset(cls, ds: Dataset) -> PixelFormat:
        """Read and check the format.

        Raises
        ------
        NotAnalysed
            Colour, more than one frame, unusual cells, no or too many pixels, or brightness told in two ways.
        """
        rows, columns = integer(ds, "Rows"), integer(ds, "Columns")
        if not rows or not columns or not (0 < rows <= 65535 and 0 < columns <= 65535):
            raise NotAnalysed("Rows or Columns is missing or zero")
        if rows * columns > MOST_PIXELS:
            raise NotAnalysed(f"Rows {rows} x Columns {columns} is more than any mammogram has")
        if text(ds, "NumberOfFrames") and integer(ds, "NumberOfFrames") != 1:
            raise NotAnalysed("The image has several frames; the CAD takes single images")
        if integer(ds, "SamplesPerPixel") != 1:
            raise NotAnalysed("Samples per Pixel is not 1: a colour image is no mammogram")
        allocated, stored = integer(ds, "BitsAllocated"), integer(ds, "BitsStored")
        high_bit, representation = integer(ds, "HighBit"), integer(ds, "PixelRepresentation")
        if allocated not in (8, 16):
            raise NotAnalysed(f"Bits Allocated is {allocated}; the CAD reads 8 and 16")
        if stored is None or high_bit is None or not 1 <= stored <= high_bit + 1 <= allocated:
            raise NotAnalysed(f"Bits Stored {stored} and High Bit {high_bit} do not fit Bits Allocated {allocated}")
        if representation not in (0, 1):
            raise NotAnalysed("Pixel Representation is neither unsigned (0) nor signed (1)")
        bare = cls(
            rows=rows,
            columns=columns,
            bits_allocated=allocated,
            bits_stored=stored,
            high_bit=high_bit,
            signed=representation == 1,
            low_is_bright=_low_is_bright(ds),
            padding=None,
        )
        return bare._with_padding(integer(ds, "PixelPaddingValue"), integer(ds, "PixelPaddingRangeLimit"))

    def _with_padding(self, value_bits: int | None, limit_bits: int | None) -> PixelFormat:
        if value_bits is None:
            return self
        value = self.value_of(value_bits)
        limit = value if limit_bits is None else self.value_of(limit_bits)
        fields = {name: getattr(self, name) for name in self.__slots__}
        return PixelFormat(**(fields | {"padding": (min(value, limit), max(value, limit))}))


def _low_is_bright(ds: Dataset) -> bool:
    """Whether low pixel values are bright.

    Photometric Interpretation and Presentation LUT Shape tell one fact twice (PS3.3 C.8.11.3.1), so it is applied
    once; where they disagree nobody knows which is right.
    """
    interpretation, shape = text(ds, "PhotometricInterpretation"), text(ds, "PresentationLUTShape")
    if interpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise NotAnalysed(f"Photometric Interpretation is {shown(interpretation) or 'missing'}, not MONOCHROME1 or 2")
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != (interpretation == "MONOCHROME1"):
        raise NotAnalysed(f"Photometric Interpretation {interpretation} contradicts Presentation LUT Shape {shape}")
    slopes = numbers(ds, "RescaleSlope")
    if text(ds, "RescaleSlope") and (len(slopes) != 1 or slopes[0] == 0):
        raise NotAnalysed("Rescale Slope is not a number other than 0")
    return (interpretation == "MONOCHROME1") != (bool(slopes) and slopes[0] < 0)
