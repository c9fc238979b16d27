"""Draw the picture of the README: one view of a phantom exam, as its Secondary Capture shows it.

python -m tests.bench.picture deploy/capture.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from pydicom import dcmread

from cmmd_node.analyze import analyze_files
from cmmd_node.facts import Form, Laterality, View, ViewPosition
from cmmd_node.phantom import make_exam, to_datasets
from cmmd_node.settings import CadSettings

SEED = 7
VIEW = View(Laterality.RIGHT, ViewPosition.MLO)
#: The capture's 2002 x 1290 pixels at half the size; a palette of its own choice would lose the yellow.
_SIZE = (1001, 645)
_LEVELS = [round(255 * number / 47) for number in range(48)]
_PALETTE = [(level, level, level) for level in _LEVELS] + [(level, level, 0) for level in _LEVELS]


def draw(path: Path) -> None:
    """Write the picture as a PNG."""
    exam = make_exam(SEED)
    with TemporaryDirectory(prefix="cmmd-node-picture-") as folder:
        source = Path(folder) / "image.dcm"
        images = to_datasets(exam, study="picture")
        next(ds for ds, drawn in zip(images, exam.views, strict=True) if drawn.view == VIEW).save_as(source)
        (study,) = analyze_files([source], Path(folder) / "out", CadSettings(), threshold=None, forms=[Form.SC])[
            "studies"
        ]
        capture = dcmread(next(name for name in study["files"] if f"-{Form.SC}-" in name))
    whole = Image.fromarray(capture.pixel_array).resize(_SIZE, Image.Resampling.LANCZOS)
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in _PALETTE for value in colour])
    whole.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
