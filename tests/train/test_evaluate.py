"""Evaluation on a small collection whose figures are known, and the report of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from cmmd_node.cad.sealing import seal
from cmmd_node.cmmd.split import read_split
from cmmd_node.errors import BundleRefused, NodeError
from cmmd_node.facts import BreastLabel, Classification, Mark
from cmmd_node.settings import CLASSICAL
from cmmd_node.train.answers import Answers, ImageAnswer, read_answers, write_answers
from cmmd_node.train.evaluate import evaluate
from cmmd_node.train.evaluate_files import evaluate_files
from cmmd_node.train.failures import failures, pictures
from cmmd_node.train.manifest import LabelledImage, Manifest, read_manifest, write_manifest
from cmmd_node.train.plots import Line, line_chart
from cmmd_node.train.report import write_report
from tests.cad.bundles import golden_view, native
from tests.train.collections import CENTER_CR, answers, mark, write_collection

DRAWS = 100
FALSE_CR = (24.0, 30.0)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[LabelledImage]]:
    return write_collection(tmp_path_factory.mktemp("collection"))


def number_of(image: LabelledImage) -> int:
    return int(image.patient[1:])


def marks(image: LabelledImage) -> tuple[Mark, ...]:
    """Finds the mass of all but patient 1, and makes one false mark on all images of lower suspicion."""
    false = mark(FALSE_CR, 0.3 + 0.01 * number_of(image))
    if not image.lesions or number_of(image) == 1:
        return (false,)
    return (mark(CENTER_CR, 0.9), mark((CENTER_CR[0] + 2, CENTER_CR[1]), 0.8), false)


def probability(image: LabelledImage) -> float:
    """Right for all but two patients."""
    high = image.label.classification is Classification.MALIGNANT
    return 0.85 if high != (number_of(image) in (2, 5)) else 0.15


@pytest.fixture(scope="module")
def metrics(collection: tuple[Path, list[LabelledImage]]) -> dict[str, Any]:
    path, images = collection
    return evaluate(
        read_manifest(path),
        answers(images, "mine", marks=marks, probability=probability),
        [answers(images, "blind")],
        draws=DRAWS,
    )


def rows(table: dict[str, Any]) -> dict[str, Any]:
    return {row["model"]: row for row in table["models"]}


def test_parts_come_before_the_whole_and_baselines_beside_the_model(metrics: dict[str, Any]) -> None:
    parts = metrics["malignancy"]["parts"]
    assert [part["name"] for part in parts] == ["cohort D1", "cohort D2", "all"]
    assert [row["model"] for row in parts[0]["models"]] == ["mine 1", "blind 1", "age and cohort only"]
    assert (parts[2]["breasts"], parts[2]["malignant"]) == (24, 12)
    told = rows(parts[2])
    assert told["mine 1"]["auc"]["value"] == pytest.approx(1 - (11 * 2 + 1) / 144 + (11 * 2) / 2 / 144)
    assert told["mine 1"]["auc"]["low"] < told["mine 1"]["auc"]["value"] < told["mine 1"]["auc"]["high"]
    assert told["blind 1"]["auc"]["value"] == 0.5
    gain = told["blind 1"]["first_is_better_by"]
    assert gain["value"] == pytest.approx(told["mine 1"]["auc"]["value"] - 0.5)
    assert gain["low"] > 0


def test_calibration_operating_points_and_subgroups(metrics: dict[str, Any]) -> None:
    calibration = metrics["malignancy"]["parts"][2]["calibration"]
    assert calibration["brier"]["value"] == pytest.approx((22 * 0.15**2 + 2 * 0.85**2) / 24)
    assert calibration["brier_of_the_share_of_cancers"] == 0.25
    assert [one["count"] for one in calibration["bins"]] == [12, 12]
    points = metrics["malignancy"]["operating_points"]
    assert [point["part"] for point in points] == ["cohort D1"] * 2
    assert points[0]["sensitivity"]["value"] >= 0.9
    assert points[1]["specificity"]["value"] >= 0.9
    assert {one["by"] for one in metrics["malignancy"]["subgroups"]} == {"age", "abnormality", "side", "images"}
    (side,) = [one for one in metrics["malignancy"]["subgroups"] if one["by"] == "side"]
    assert (side["name"], side["breasts"]) == ("L", 24)
    (none,) = [one for one in metrics["malignancy"]["subgroups"] if one["name"] == "none"]
    assert none["auc"] == {"value": None, "low": None, "high": None}  # one class only


def test_subtypes_are_told_against_the_rest(metrics: dict[str, Any]) -> None:
    told = metrics["subtypes"]
    assert told["breasts"] == 12
    assert {one["name"]: one["positive"] for one in told["questions"]} == {
        "luminal": 6,
        "luminal-a": 3,
        "luminal-b": 3,
        "her2-enriched": 3,
        "triple-negative": 3,
    }


def test_froc_is_that_of_the_marks(metrics: dict[str, Any]) -> None:
    detection = metrics["detection"]
    (mass,) = detection["kinds"]
    assert (detection["images"], detection["images_without_lesion"]) == (48, 24)
    assert (mass["lesions"], mass["images"], mass["images_without"]) == (24, 24, 24)
    mine = rows(mass)["mine 1"]
    assert mine["over_images_with_lesions"]["0.25"]["value"] == pytest.approx(22 / 24)
    assert mine["over_images_with_lesions"]["4.0"]["value"] == pytest.approx(22 / 24)
    assert mine["over_images_without"]["1.0"]["value"] == pytest.approx(22 / 24)
    assert mine["over_images_with_lesions"]["1.0"]["low"] < 22 / 24
    assert rows(mass)["blind 1"]["over_images_with_lesions"]["4.0"]["value"] == 0.0
    shares = {(one["by"], one["name"]): one["found"] for one in detection["subgroups"]}
    assert shares["kind", "mass"] == pytest.approx(22 / 24)
    assert shares["view", "CC"] == pytest.approx(11 / 12)


def test_files_and_settings_are_named_with_their_digests(
    metrics: dict[str, Any], collection: tuple[Path, list[LabelledImage]], tmp_path: Path
) -> None:
    data = metrics["data"]
    assert (data["images"], data["patients"], data["left_out"]) == (48, 24, {})
    assert len({data["manifest_sha256"], data["images_sha256"], data["split"]["sha256"]}) == 3
    assert data["split"]["cmmd_split_sha256"] is None
    assert metrics["models"][0] == {"name": "mine 1", "digest": "0" * 64}
    assert metrics["sources"] == ["Somebody et al. 2020, CC BY 4.0"]
    assert metrics["latency"][0]["median_seconds"] == 0.5
    path, images = write_collection(tmp_path / "other")
    images[0].path.write_bytes(images[1].path.read_bytes())
    other = evaluate(read_manifest(path), answers(images), draws=DRAWS)["data"]
    assert other["images_sha256"] != data["images_sha256"]
    assert other["split"] == data["split"]
    json.dumps(metrics, allow_nan=False)


def test_same_evaluation_gives_the_same_figures(collection: tuple[Path, list[LabelledImage]]) -> None:
    path, images = collection
    told = [evaluate(read_manifest(path), answers(images, marks=marks), draws=DRAWS) for _ in range(2)]
    assert told[0] == told[1]


def changed(collection: tuple[Path, list[LabelledImage]], folder: Path, **differences: Any) -> Manifest:
    """The collection with differences in the images of patient 0."""
    _, images = collection
    written = [replace(image, **differences) if image.patient == "P00" else image for image in images]
    write_manifest(folder / "changed.csv", written)
    return read_manifest(folder / "changed.csv")


def test_unlabelled_breast_is_unknown_and_not_negative(
    collection: tuple[Path, list[LabelledImage]], tmp_path: Path
) -> None:
    manifest = changed(collection, tmp_path, label=BreastLabel(), lesions=None)
    told = evaluate(manifest, answers(collection[1], probability=probability), draws=DRAWS)
    assert told["malignancy"]["unlabelled_breasts"] == 1
    assert told["malignancy"]["compared_breasts"] == 23
    assert told["detection"]["images"] == 46


def test_collection_without_labels_is_measured_by_its_outlines(
    collection: tuple[Path, list[LabelledImage]], tmp_path: Path
) -> None:
    images = [replace(image, label=BreastLabel()) for image in collection[1]]
    write_manifest(tmp_path / "manifest.csv", images)
    metrics = evaluate(read_manifest(tmp_path / "manifest.csv"), answers(images, marks=marks), draws=DRAWS)
    assert (metrics["malignancy"]["labelled_breasts"], metrics["malignancy"]["unlabelled_breasts"]) == (0, 24)
    assert [part["breasts"] for part in metrics["malignancy"]["parts"]] == [0]
    assert metrics["detection"]["kinds"]


def test_left_out_images_are_told_and_not_used(collection: tuple[Path, list[LabelledImage]], tmp_path: Path) -> None:
    told = evaluate(changed(collection, tmp_path, excluded="damaged: holes"), answers(collection[1]), draws=DRAWS)
    assert told["data"]["left_out"] == {"damaged: holes": 2}
    assert (told["data"]["images"], told["malignancy"]["compared_breasts"]) == (46, 23)


def test_faulty_rows_are_told(collection: tuple[Path, list[LabelledImage]], tmp_path: Path) -> None:
    told = evaluate(changed(collection, tmp_path, path=tmp_path / "gone.png"), answers(collection[1]), draws=DRAWS)
    assert len(told["data"]["faulty_rows"]) == 2
    assert "row 2: there is no file" in told["data"]["faulty_rows"][0]


def test_unanswered_image_is_no_advantage(collection: tuple[Path, list[LabelledImage]]) -> None:
    path, images = collection
    own = answers(images, marks=marks)
    silent = {
        image.path: ImageAnswer(problem="the process crashed") if image.patient == "P03" else own.images[image.path]
        for image in images
    }
    told = evaluate(read_manifest(path), Answers(model=own.model, images=silent), draws=DRAWS)
    assert told["malignancy"]["unanswered"] == {"model 1": 1}
    assert told["malignancy"]["compared_breasts"] == 23
    assert told["detection"]["unanswered"] == {"model 1": 2}
    (mass,) = told["detection"]["kinds"]
    assert mass["lesions"] == 24
    assert rows(mass)["model 1"]["over_images_with_lesions"]["4.0"]["value"] == pytest.approx(20 / 24)


def test_only_the_wanted_folds_are_used(collection: tuple[Path, list[LabelledImage]]) -> None:
    path, images = collection
    told = evaluate(read_manifest(path), answers(images), folds={3}, draws=DRAWS)
    assert told["data"]["folds"] == [3]
    assert told["data"]["patients"] == 5
    with pytest.raises(NodeError, match="no image of fold 9"):
        evaluate(read_manifest(path), answers(images), folds={9}, draws=DRAWS)


def test_two_models_of_one_name_are_refused(collection: tuple[Path, list[LabelledImage]]) -> None:
    path, images = collection
    with pytest.raises(NodeError, match="two sets of answers are of model 1"):
        evaluate(read_manifest(path), answers(images), [answers(images)], draws=DRAWS)


def test_published_split_is_recognised(collection: tuple[Path, list[LabelledImage]], tmp_path: Path) -> None:
    _, images = collection
    patients = dict(zip(sorted({image.patient for image in images}), read_split().rows.values(), strict=False))
    own = [
        replace(image, patient=row.patient_id, group=row.group, fold=row.fold)
        for image in images
        for row in [patients[image.patient]]
    ]
    write_manifest(tmp_path / "cmmd.csv", own)
    told = evaluate(read_manifest(tmp_path / "cmmd.csv"), answers(own), draws=DRAWS)
    assert told["data"]["split"]["cmmd_split_sha256"] == read_split().sha256
    write_manifest(tmp_path / "own.csv", [replace(image, fold=0) for image in own])
    told = evaluate(read_manifest(tmp_path / "own.csv"), answers(own), draws=DRAWS)
    assert told["data"]["split"]["cmmd_split_sha256"] is None


def test_malignancy_of_lesions_is_that_of_the_marks_in_them(
    collection: tuple[Path, list[LabelledImage]], tmp_path: Path
) -> None:
    _, images = collection
    words = {True: Classification.MALIGNANT, False: Classification.BENIGN}
    own = [
        replace(
            image, lesions=tuple(replace(o, classification=words[number_of(image) % 4 == 1]) for o in image.lesions)
        )
        if image.lesions
        else image
        for image in images
    ]
    write_manifest(tmp_path / "m.csv", own)

    def told_marks(image: LabelledImage) -> tuple[Mark, ...]:
        if number_of(image) == 1:
            return ()
        told = 0.8 if number_of(image) % 4 == 1 else 0.2
        return mark(CENTER_CR, 0.3, 0.99), mark(CENTER_CR, 0.5, told), mark(FALSE_CR, 0.9, 0.99)

    told = evaluate(read_manifest(tmp_path / "m.csv"), answers(own, marks=told_marks), draws=DRAWS)
    lesions = told["detection"]["malignancy_of_lesions"]
    assert (lesions["lesions"], lesions["malignant"]) == (24, 12)
    (row,) = lesions["models"]
    assert row["marked"] == 22
    assert row["auc"]["value"] == pytest.approx(10 / 12)  # the patient without marks scores 0
    calibration = lesions["calibration"]
    assert calibration["brier"]["value"] == pytest.approx(0.04)
    assert [(one["count"], one["observed"]) for one in calibration["bins"]] == [(12, 0.0), (10, 1.0)]
    page, _ = write_report(tmp_path / "out", told, [])
    assert "Reliability, lesions" in page.read_text()
    assert told["malignancy"]["scores"]["model 1"] == "probability of malignancy"


def test_gallery_shows_the_worst_by_the_stated_rule(collection: tuple[Path, list[LabelledImage]]) -> None:
    _, images = collection
    own = answers(images, marks=marks, probability=probability)
    chosen = failures(images, own, most=2)
    by_sort: dict[str, list[str]] = {}
    for failure in chosen:
        by_sort.setdefault(failure.sort, []).append(failure.image.patient)
    assert by_sort["malignant breasts with the lowest scores"][:2] == ["P05", "P05"]
    assert by_sort["others with the highest"][:2] == ["P02", "P02"]
    assert by_sort["lesions that were missed"] == ["P01", "P01"]
    assert by_sort["most suspicious false marks"] == ["P23", "P23"]
    for _, drawn in pictures(chosen, own):
        assert drawn is not None
        assert drawn.startswith("data:image/png;base64,iVBOR")
    gone = [replace(chosen[0], image=replace(chosen[0].image, path=Path("gone.png")))]
    assert pictures(gone, own)[0][1] is None


class _Tags(HTMLParser):
    """Which tags there are, and whether they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, _attrs: Any) -> None:
        self.seen.add(tag)
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_report_is_one_page_with_tables_plots_and_pictures(
    metrics: dict[str, Any], collection: tuple[Path, list[LabelledImage]], tmp_path: Path
) -> None:
    _, images = collection
    own = answers(images, "mine", marks=marks, probability=probability)
    page, figures = write_report(tmp_path / "out", metrics, pictures(failures(images, own, most=1), own))
    assert json.loads(figures.read_text()) == metrics
    html = page.read_text()
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    assert {"table", "svg", "img"} <= tags.seen
    charts = re.findall(r"<svg.*?</svg>", html)
    assert len(charts) == 3 + 3 + 1  # ROC and reliability of three parts, one FROC
    for chart in charts:
        ET.fromstring(chart)
    for words in (metrics["disclaimer"], "Somebody et al. 2020", metrics["data"]["images_sha256"], "mine 1"):
        assert words in html
    assert not re.search(r'(src|href)="(?!data:)', html)  # needs nothing beside it


def test_names_of_others_are_never_html(
    metrics: dict[str, Any], collection: tuple[Path, list[LabelledImage]], tmp_path: Path
) -> None:
    evil = "<script>alert(1)</script>"
    told = json.loads(json.dumps(metrics).replace("mine 1", evil).replace("Somebody", evil))
    own = answers(collection[1], marks=marks)
    chosen = [replace(one, image=replace(one.image, patient=evil)) for one in failures(collection[1], own, most=1)]
    page, _ = write_report(tmp_path, told, pictures(chosen, own))
    html = page.read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_chart_puts_points_where_they_belong() -> None:
    chart = ET.fromstring(line_chart("t", "x", "y", [Line("a", [(0, 0), (2, 1)], [(0, 0.5), (0.5, 1)])], x_end=2.0))
    space = "{http://www.w3.org/2000/svg}"
    (line,) = chart.iter(f"{space}polyline")
    (x0, y0), (x1, y1) = ([float(v) for v in point.split(",")] for point in line.attrib["points"].split())
    assert x0 < x1
    assert y0 > y1  # up is more
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in chart.iter(f"{space}circle")]
    assert np.allclose(dots, [(x0, y0), (x1, y1)])


def run(path: Path, folder: Path, told: list[str], **more: Any) -> dict[str, Any]:
    """Evaluate with what is usual, and differences."""
    usual: dict[str, Any] = {
        "bundle": CLASSICAL,
        "answers": None,
        "beside": (),
        "folds": (),
        "draws": DRAWS,
        "baselines": True,
        "processes": 1,
    }
    return evaluate_files(path, folder, **(usual | more), tell=told.append)


def names(metrics: dict[str, Any]) -> list[str]:
    return [model["name"] for model in metrics["models"]]


def test_detector_of_this_program_is_asked_about_every_image(tmp_path: Path) -> None:
    path, images = write_collection(tmp_path / "c", patients=2)
    told: list[str] = []
    assert names(run(path, tmp_path / "out", told)) == ["cmmd-node-classical 1.0"]
    assert "model: 4 of 4 images" in told
    kept = read_answers(tmp_path / "out" / "answers-model.json", path.parent)
    assert {image.path for image in images} == set(kept.images)
    assert all(answer.problem is None and (answer.seconds or 0) > 0 for answer in kept.images.values())


def test_answers_are_compared_with_the_classical_detector_once(tmp_path: Path) -> None:
    path, images = write_collection(tmp_path / "c", patients=2)
    mine, told = tmp_path / "mine.json", list[str]()
    write_answers(mine, answers(images, "mine"), path.parent)
    assert names(run(path, tmp_path / "out", told, answers=mine)) == ["mine 1", "cmmd-node-classical 1.0"]
    classical = tmp_path / "out" / "answers-classical.json"
    both = run(path, tmp_path / "again", told, answers=mine, beside=[classical])
    assert names(both) == ["mine 1", "cmmd-node-classical 1.0"]
    told.clear()
    assert names(run(path, tmp_path / "alone", told, answers=mine, baselines=False)) == ["mine 1"]
    assert told == ["drawing patients", "drawing pictures"]


def test_network_is_compared_with_its_untrained_self(tmp_path: Path) -> None:
    path, _ = write_collection(tmp_path / "c", patients=2)
    bundle = native(tmp_path / "bundle")
    seal(bundle, golden_view())
    metrics = run(path, tmp_path / "out", [], bundle=str(bundle))
    assert names(metrics) == ["tiny 1.0", "cmmd-node-classical 1.0", "second-look-untrained 1"]
    kept = read_answers(tmp_path / "out" / "answers-untrained.json", path.parent)
    assert not any(mark.probability_malignant for answer in kept.images.values() for mark in answer.marks)
    assert names(run(path, tmp_path / "alone", [], bundle=str(bundle), baselines=False)) == ["tiny 1.0"]


def test_bundle_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path, _ = write_collection(tmp_path / "c", patients=1)
    with pytest.raises(BundleRefused):
        run(path, tmp_path / "out", [], bundle=str(tmp_path))
