"""Networks exported by torch.export (.pt2): one image in, one map of masses out; its peaks become marks."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from scipy import ndimage

from cmmd_node.cad.breast import Breast, Field, resampled
from cmmd_node.cad.bundle import Bundle, MapFormat
from cmmd_node.cad.outlines import Points, hull_corners
from cmmd_node.errors import ModelFault
from cmmd_node.facts import Kind, Mark, View

MODEL_FILE: Final = "model.pt2"
_APART_MM: Final = 8.0
_MOST_MARKS: Final = 30
_LEAST_SUSPICION: Final = 0.01
_WIDEST_MM: Final = 40.0
"""A lesion is looked for within so much around its peak."""


class ExportedFinder:
    """Runs an exported network."""

    def __init__(self, bundle: Bundle) -> None:
        form = bundle.metadata.network_data_format
        assert form is not None
        self._form: MapFormat = form
        try:
            program = torch.export.load(bundle.folder / MODEL_FILE)
        except Exception as error:  # whatever a foreign file makes torch raise
            raise bundle.refused(f"{MODEL_FILE} cannot be opened: {error!r}") from error
        self._network = program.module()

    def __call__(self, pixels: Field, breast: Breast, view: View) -> list[Mark]:
        image = self._image(pixels, breast)
        with torch.inference_mode():
            answer = self._network(torch.from_numpy(image)[None, None])
        return self._marks(self._checked(answer, image.shape), breast)

    def _image(self, pixels: Field, breast: Breast) -> Field:
        """The whole image with the chest wall at column 0, on the grid that the network wants."""
        place, step = breast.placement, self._form.pixel_mm
        image = resampled(
            pixels[:, ::-1] if place.mirrored else pixels,
            row_step=step / place.spacing.row_mm,
            column_step=step / place.spacing.column_mm,
        )
        missing = [-size % self._form.multiple for size in image.shape]
        return np.pad(image, ((0, missing[0]), (0, missing[1])))

    def _checked(self, answer: object, shape: tuple[int, ...]) -> Field:
        wanted = (1, 1, *(size // self._form.stride for size in shape))
        if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != wanted:
            found = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
            raise ModelFault(f"the output is {found}, a map of shape {wanted} is wanted")
        suspicion: Field = answer[0, 0].float().numpy()
        if not np.isfinite(suspicion).all():
            raise ModelFault("the output holds NaN or infinity")
        if suspicion.min() < 0.0 or suspicion.max() > 1.0:
            raise ModelFault(f"the output goes from {suspicion.min():g} to {suspicion.max():g}, not within 0 to 1")
        return suspicion

    def _marks(self, suspicion: Field, breast: Breast) -> list[Mark]:
        step = self._form.pixel_mm * self._form.stride
        apart = max(1, round(_APART_MM / step))
        highest = ndimage.maximum_filter(suspicion, 2 * apart + 1, mode="constant")
        rows, columns = np.nonzero((suspicion == highest) & (suspicion >= _LEAST_SUSPICION))
        order = np.lexsort((columns, rows, -suspicion[rows, columns]))[:_MOST_MARKS]
        return [self._mark(suspicion, int(rows[i]), int(columns[i]), step, breast) for i in order]

    def _mark(self, suspicion: Field, row: int, column: int, step: float, breast: Breast) -> Mark:
        """A peak and what is around it, down to half its height."""
        reach = max(1, round(_WIDEST_MM / 2.0 / step))
        top, left = max(row - reach, 0), max(column - reach, 0)
        window = suspicion[top : row + reach + 1, left : column + reach + 1]
        parts, _ = ndimage.label(window >= suspicion[row, column] / 2.0)
        places = np.argwhere(parts == parts[row - top, column - left])[:, ::-1] + (left, top)
        corners: Points = (places + 0.5).astype(np.float64) * step
        place = breast.placement
        width, height = place.columns * place.spacing.column_mm, place.rows * place.spacing.row_mm
        outline = hull_corners(corners, margin_mm=step / 2.0, limits_mm=np.array([[0.0, 0.0], [width, height]]))
        center = np.array([column + 0.5, row + 0.5]) * step
        in_image = [place.to_image(float(x) - place.first_column_mm, float(y)) for x, y in (center, *outline)]
        return Mark(
            kind=Kind.MASS,
            center_cr=in_image[0],
            outline_cr=tuple(in_image[1:]),
            suspicion=round(float(suspicion[row, column]), 4),
        )
