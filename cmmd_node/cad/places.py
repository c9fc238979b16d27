"""What each place of the breast looks like, for `masses` to judge.

Each place is described by how it stands out from its surroundings at several radii, by how well the gradients around
it point to it, by lines that run towards it, and by where in the breast it is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cmmd_node.cad.breast import GRID_MM, Breast, Field

STRIDE: Final = 2
"""Places are every STRIDE-th row and column of the coarse grid."""
RADII_MM: Final = (2.5, 3.5, 5.0, 7.0, 10.0, 14.0)
PLACE_FEATURES: Final = (
    *(f"blob {radius} mm" for radius in RADII_MM),
    *(f"contrast {radius} mm" for radius in RADII_MM),
    *(f"convergence {radius} mm" for radius in RADII_MM),
    *(f"roundness of convergence {radius} mm" for radius in (5.0, 10.0)),
    *(f"spicules {radius} mm" for radius in (5.0, 10.0)),
    "brightness",
    "brightness around",
    "brightness far around",
    "unrest",
    "unrest around",
    "depth beneath skin",
    "distance from muscle",
    "height",
)


class _Plane:
    """Convolutions over the breast that leave out what is not breast."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.shape = mask.shape
        margin = int(2.6 * max(RADII_MM) / GRID_MM)
        rows, columns = (fft.next_fast_len(size + margin, real=True) for size in mask.shape)
        self._size = (rows, columns)
        self._fy = fft.fftfreq(rows).astype(np.float32)[:, None]
        self._fx = fft.rfftfreq(columns).astype(np.float32)[None, :]
        self._mask = self.transformed(mask.astype(np.float32))
        self._coverage: dict[float, Field] = {}

    def transformed(self, field: Field) -> NDArray[np.complex64]:
        spectrum: NDArray[np.complex64] = fft.rfft2(field, self._size)
        return spectrum

    def everywhere(self, spectrum: NDArray[np.complex64]) -> Field:
        """The field of a spectrum."""
        field: Field = fft.irfft2(spectrum, self._size)[: self.shape[0], : self.shape[1]]
        return field

    def at_places(self, spectrum: NDArray[np.complex64]) -> Field:
        """Every STRIDE-th row and column of the field: the rows between never come to be, their spectrum is folded."""
        rows, columns = self._size
        if rows % STRIDE:  # rare: most sizes that are fast to transform are even
            return self.everywhere(spectrum)[::STRIDE, ::STRIDE]
        folded = spectrum.reshape(STRIDE, rows // STRIDE, -1).sum(axis=0)
        folded *= np.float32(1.0 / STRIDE)
        field: Field = fft.irfft2(folded, (rows // STRIDE, columns), overwrite_x=True)
        return field[: -(-self.shape[0] // STRIDE), : self.shape[1] : STRIDE]

    def _gaussian(self, sigma_mm: float) -> Field:
        sigma = sigma_mm / GRID_MM
        along_y = np.exp(np.float32(-2.0 * np.pi**2 * sigma**2) * self._fy**2)
        along_x = np.exp(np.float32(-2.0 * np.pi**2 * sigma**2) * self._fx**2)
        bell: Field = along_y * along_x
        return bell

    def smooth(self, spectrum: NDArray[np.complex64], sigma_mm: float) -> Field:
        """Mean over the breast around each place, weighted by a Gaussian."""
        bell = self._gaussian(sigma_mm)
        if sigma_mm not in self._coverage:
            self._coverage[sigma_mm] = _at_least(self.at_places(self._mask * bell), 1e-3)
        return self.at_places(spectrum * bell) / self._coverage[sigma_mm]

    def smooth_everywhere(self, spectrum: NDArray[np.complex64], sigma_mm: float) -> Field:
        """`smooth` around each row and column of the grid."""
        bell = self._gaussian(sigma_mm)
        return self.everywhere(spectrum * bell) / _at_least(self.everywhere(self._mask * bell), 1e-3)

    def kernel(self, weights: Field) -> NDArray[np.complex64]:
        """The spectrum that turns a spectrum into its correlation with weights, whose middle is the origin."""
        (height, width), (rows, columns) = weights.shape, self._size
        lines = np.zeros((height, columns), np.float32)
        lines[:, :width] = weights
        along = fft.rfft(np.roll(lines, -(width // 2), axis=1))
        framed = np.zeros((rows, along.shape[1]), np.complex64)
        framed[: height - height // 2], framed[-(height // 2) :] = along[height // 2 :], along[: height // 2]
        spectrum: NDArray[np.complex64] = fft.fft(framed, axis=0, overwrite_x=True)
        return np.conj(spectrum, out=spectrum)


def describe(breast: Breast, level: Field) -> Field:
    """What each place of the breast looks like.

    Parameters
    ----------
    level : numpy.ndarray, float32, shape (rows, columns)
        The breast as `flattened` gives it.

    Returns
    -------
    numpy.ndarray, float32, shape (rows / STRIDE, columns / STRIDE, len(PLACE_FEATURES))
    """
    plane = _Plane(breast.mask)
    spectrum = plane.transformed(level)
    squares = plane.transformed(level * level)

    maps: list[Field] = []
    bells = {sigma: plane.smooth(spectrum, sigma) for r in RADII_MM for sigma in (r / 2.0, r)}
    maps += [bells[radius / 2.0] - bells[radius] for radius in RADII_MM]
    unrest: dict[float, Field] = {}
    for radius in RADII_MM:
        unrest[radius] = np.sqrt(_at_least(plane.smooth(squares, radius) - bells[radius] * bells[radius], 1e-4))
    maps += [blob / unrest[radius] for blob, radius in zip(maps[: len(RADII_MM)], RADII_MM, strict=True)]
    maps += _convergence(breast, plane, spectrum)
    maps += _spicules(breast, plane, spectrum)
    maps += [bells[1.25], bells[5.0], plane.smooth(spectrum, 20.0), unrest[2.5], unrest[10.0]]
    height = np.linspace(0.0, 1.0, breast.mask.shape[0], dtype=np.float32)[::STRIDE, None]
    maps += [
        np.minimum(breast.to_skin_mm[::STRIDE, ::STRIDE], np.float32(40.0)),
        np.clip(breast.to_muscle_mm[::STRIDE, ::STRIDE], np.float32(-15.0), np.float32(40.0)),
        np.broadcast_to(height, maps[0].shape),
    ]
    return np.stack(maps, axis=-1).astype(np.float32)


def _at_least(field: Field, least: float) -> Field:
    lifted: Field = np.maximum(field, np.float32(least))
    return lifted


def flattened(breast: Breast) -> Field:
    """The image without the fall of brightness towards the skin, in standard deviations of the breast; 0 outside."""
    mask = breast.mask
    depth = np.minimum(breast.to_skin_mm[mask].astype(np.intp), 25)
    count = np.bincount(depth, minlength=26)
    profile = np.bincount(depth, breast.image[mask], minlength=26) / np.maximum(count, 1)
    profile = np.maximum.accumulate(ndimage.uniform_filter1d(profile, 3, mode="nearest"))
    flat = np.zeros(mask.shape, np.float32)
    flat[mask] = breast.image[mask] - np.interp(breast.to_skin_mm[mask], np.arange(26) + 0.5, profile)
    deep = mask & (breast.to_skin_mm > 6.0) & (breast.to_muscle_mm > 3.0)
    values = flat[deep] if deep.sum() > 100 else flat[mask]
    middle, spread = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    flat[mask] = np.clip((flat[mask] - middle) / max(spread, 0.01), -5.0, 5.0)
    return flat


def _rings(inner_mm: float, outer_mm: float) -> tuple[Field, Field, Field]:
    """A ring of weight 1 in all, and the sine and cosine of the direction to its middle."""
    reach = int(outer_mm / GRID_MM) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    distance = np.hypot(x, y)
    ring = ((distance >= inner_mm / GRID_MM) & (distance <= outer_mm / GRID_MM)).astype(np.float32)
    distance[reach, reach] = 1.0
    return ring / ring.sum(), -y / distance, -x / distance


def _convergence(breast: Breast, plane: _Plane, spectrum: NDArray[np.complex64]) -> list[Field]:
    """Mean cosine between the gradients in a ring and the direction to the ring's middle, for all radii."""
    gy, gx = np.gradient(plane.smooth_everywhere(spectrum, 1.0))
    size = np.hypot(gx, gy) + np.float32(0.015)
    valid = (breast.to_skin_mm > 2.0).astype(np.float32)
    uy, ux = gy / size * valid, gx / size * valid
    spectra = [plane.transformed(field) for field in (uy, ux)]
    twice = [plane.transformed(field) for field in ((uy * uy - ux * ux), 2.0 * uy * ux)]
    power = plane.transformed(uy * uy + ux * ux)
    seen = plane.transformed(valid)
    maps: list[Field] = []
    evenness: list[Field] = []
    for radius in RADII_MM:
        ring, dy, dx = _rings(0.4 * radius, 1.25 * radius)
        whole = plane.kernel(ring)
        cover = _at_least(plane.at_places(seen * whole), 0.35)
        towards = plane.at_places(spectra[0] * plane.kernel(ring * dy) + spectra[1] * plane.kernel(ring * dx))
        maps.append(towards / cover)
        if radius in (5.0, 10.0):
            along = plane.kernel(ring * (dy * dy - dx * dx)), plane.kernel(ring * 2.0 * dy * dx)
            radial = plane.at_places(twice[0] * along[0] + twice[1] * along[1])
            evenness.append(radial / _at_least(plane.at_places(power * whole), 0.05))
    return maps + evenness


def _spicules(breast: Breast, plane: _Plane, spectrum: NDArray[np.complex64]) -> list[Field]:
    """How far lines in a ring run towards the ring's middle, -1 to 1, weighted by their strength."""
    gy, gx = np.gradient(plane.smooth_everywhere(spectrum, 0.6))
    gyy, gyx = np.gradient(gy)
    gxx = np.gradient(gx, axis=1)
    # A bright line has a strongly negative second derivative across; its double angle in tensor form:
    even, odd = gxx - gyy, 2.0 * gyx
    strength = np.hypot(even, odd)
    bright = ((gxx + gyy) < 0.0) & (breast.to_skin_mm > 3.0)
    weight = np.where(bright, 1.0 / (strength + np.float32(0.05)), 0.0).astype(np.float32)
    even, odd, amount = even * weight, odd * weight, strength * weight
    spectra = [plane.transformed(field.astype(np.float32)) for field in (even, odd, amount)]
    maps: list[Field] = []
    for radius in (5.0, 10.0):
        ring, dy, dx = _rings(0.7 * radius, 1.7 * radius)
        along = plane.at_places(
            spectra[0] * plane.kernel(ring * (dx * dx - dy * dy)) + spectra[1] * plane.kernel(ring * 2.0 * dy * dx)
        )
        maps.append(along / _at_least(plane.at_places(spectra[2] * plane.kernel(ring)), 0.05))
    return maps
