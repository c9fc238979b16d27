"""Line charts as SVG, drawn by hand: a report needs three kinds of them, and no plotting library is worth that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH, HEIGHT = 460, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 30, 44
_TICKS: Final = 5
#: Told apart by eyes of all kinds (Okabe and Ito).
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    name: str
    points: Sequence[Sequence[float]]
    """(x, y) pairs."""
    spans: Sequence[tuple[float, float]] = ()
    """Lowest and highest y of each point; drawn as bars, and the points as dots."""


def line_chart(
    title: str, x_name: str, y_name: str, lines: Sequence[Line], *, x_end: float = 1.0, diagonal: bool = False
) -> str:
    """A chart from 0 to `x_end` and from 0 to 1, as an SVG element.

    Parameters
    ----------
    diagonal : bool
        Also the line from corner to corner, where chance or perfect calibration lies.
    """

    def at(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (WIDTH - _LEFT - _RIGHT) * min(x / x_end, 1.0)
        return round(across, 1), round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * y, 1)

    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" role="img">',
        f'<text x="{WIDTH / 2}" y="16" text-anchor="middle" font-size="13">{escape(title)}</text>',
    ]
    for step in range(_TICKS + 1):
        share = step / _TICKS
        (x, bottom), (_, top) = at(share * x_end, 0.0), at(share * x_end, 1.0)
        (left, y), (right, _) = at(0.0, share), at(x_end, share)
        parts += [
            f'<path d="M{x} {bottom}V{top}M{left} {y}H{right}" stroke="#ddd" fill="none"/>',
            f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{share * x_end:.3g}</text>',
            f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{share:.1f}</text>',
        ]
    parts += [
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>',
    ]
    if diagonal:
        (x0, y0), (x1, y1) = at(0.0, 0.0), at(x_end, 1.0)
        parts.append(f'<path d="M{x0} {y0}L{x1} {y1}" stroke="#999" stroke-dasharray="4 4" fill="none"/>')
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [at(x, y) for x, y in line.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline points="{path}" stroke="{colour}" stroke-width="1.8" fill="none"/>')
        for (x, y), (low, high) in zip(line.points, line.spans, strict=False):
            (across, center), (_, bottom), (_, top) = at(x, y), at(x, low), at(x, high)
            parts.append(f'<path d="M{across} {bottom}V{top}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{across}" cy="{center}" r="3" fill="{colour}"/>')
        row = HEIGHT - _BOTTOM - 12 - 16 * (len(lines) - 1 - number)
        parts += [
            f'<path d="M{WIDTH - 200} {row - 4}h16" stroke="{colour}" stroke-width="3"/>',
            f'<text x="{WIDTH - 180}" y="{row}">{escape(line.name)}</text>',
        ]
    return "".join([*parts, "</svg>"])
