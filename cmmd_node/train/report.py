"""The report of an evaluation: one HTML file for people, one JSON file for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from cmmd_node.train.failures import Failure
from cmmd_node.train.froc import RATES
from cmmd_node.train.plots import Line, line_chart

HTML_NAME: Final = "report.html"
JSON_NAME: Final = "metrics.json"


def write_report(
    folder: Path, metrics: Mapping[str, Any], gallery: Sequence[tuple[Failure, str | None]]
) -> tuple[Path, Path]:
    """Write both files; the HTML needs nothing beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    page, figures = folder / HTML_NAME, folder / JSON_NAME
    figures.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    page.write_text(_page(metrics, gallery), encoding="utf-8")
    return page, figures


def _page(metrics: Mapping[str, Any], gallery: Sequence[tuple[Failure, str | None]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cmmd_node.train", "."),
        autoescape=True,  # names come from manifests and answers of anybody
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["estimate"] = _estimate
    environment.filters["share"] = _share
    by_sort: dict[str, list[tuple[Failure, str | None]]] = {}
    for failure, drawn in gallery:
        by_sort.setdefault(failure.sort, []).append((failure, drawn))
    return environment.get_template("report.html.j2").render(
        metrics=metrics, charts=_charts(metrics), gallery=by_sort, rates=list(map(str, RATES))
    )


def _estimate(told: Mapping[str, float | None] | None) -> str:
    """A figure with its interval, as tables show it."""
    if told is None or told["value"] is None:
        return "–"
    if told["low"] is None:
        return f"{told['value']:.3f}"
    return f"{told['value']:.3f} ({told['low']:.3f} to {told['high']:.3f})"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _charts(metrics: Mapping[str, Any]) -> dict[str, list[Markup]]:
    """All plots, by the section that they belong to."""
    roc = [
        line_chart(
            f"ROC, {part['name']}: {part['malignant']} of {part['breasts']} breasts malignant",
            "1 - specificity",
            "sensitivity",
            [Line(name, points) for name, points in part["curves"].items()],
            diagonal=True,
        )
        for part in metrics["malignancy"]["parts"]
        if part["malignant"]
    ]
    calibration = [
        _reliability(f"Reliability, {part['name']}", "share of malignant breasts", part["calibration"])
        for part in metrics["malignancy"]["parts"]
        if part.get("calibration")
    ]
    froc = [
        line_chart(
            f"FROC, {kind['kind']}: {kind['lesions']} lesions in {kind['images']} images",
            "false marks per image with lesions",
            "share of lesions found",
            [Line(name, points) for name, points in kind["curves"].items()],
            x_end=RATES[-1],
        )
        for kind in (metrics["detection"] or {"kinds": []})["kinds"]
    ]
    lesions = (metrics["detection"] or {}).get("malignancy_of_lesions")
    of_lesions = (
        [_reliability("Reliability, lesions", "share of malignant lesions", lesions["calibration"])] if lesions else []
    )
    drawn = {"roc": roc, "calibration": calibration, "froc": froc, "lesions": of_lesions}
    return {name: [Markup(one) for one in charts] for name, charts in drawn.items()}  # `plots` escapes


def _reliability(title: str, of_what: str, calibration: Mapping[str, Any]) -> str:
    bins = calibration["bins"]
    line = Line(
        "mean of each tenth, 95 %",
        [(one["predicted"], one["observed"]) for one in bins],
        [(one["low"], one["high"]) for one in bins],
    )
    return line_chart(title, "probability told", of_what, [line], diagonal=True)
