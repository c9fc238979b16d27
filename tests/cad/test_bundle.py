"""Bundles: each kind marks a view, and whatever is wrong with one is refused in a sentence before it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cmmd_node.cad import ClassicalDetector, model_of, open_detector
from cmmd_node.cad.bundle import read_bundle
from cmmd_node.cad.mass_map import CELL_MM, REACH_MM
from cmmd_node.cad.sealing import install, seal
from cmmd_node.errors import BundleRefused, ModelFault, NodeError, NotAnalysed
from cmmd_node.facts import Kind, Mark
from tests.cad.bundles import SCRIPT, SPACING, VIEW, command, exported, golden_view, native, small_breast

KINDS = {"native": native, "torch.export": exported, "command": command}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind; tests that change one make a copy."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {}
    for number, (kind, make) in enumerate(KINDS.items()):
        made[kind] = make(folder / str(number))
        seal(made[kind], golden_view())
    return made


def marks_of(folder: Path, threshold: float = 0.0) -> tuple[Mark, ...]:
    detector = open_detector(str(folder))
    return detector.marks(small_breast(), view=VIEW, spacing=SPACING, threshold=threshold)


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "metadata.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_marks_masses_and_the_classical_detector_clusters(
    sealed: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    triangle = ((1.0, 1.0), (9.0, 1.0), (9.0, 9.0))
    cluster = Mark(
        kind=Kind.CALCIFICATION_CLUSTER,
        center_cr=(5.0, 5.0),
        outline_cr=triangle,
        suspicion=0.9,
        calcifications_cr=triangle,
    )
    detector = open_detector(str(sealed[kind]))
    monkeypatch.setattr("cmmd_node.cad.detector.cluster_marks", lambda pixels, breast: [cluster])
    marks = detector.marks(small_breast(), view=VIEW, spacing=SPACING, threshold=0.0)
    assert any(mark.kind is Kind.MASS for mark in marks)
    assert cluster in marks
    height, width = small_breast().shape
    assert all(0 <= x <= width and 0 <= y <= height for mark in marks for x, y in mark.outline_cr)
    suspicions = [mark.suspicion for mark in marks]
    assert suspicions == sorted(suspicions, reverse=True)


@pytest.mark.parametrize("kind", ["native", "torch.export"])
def test_marks_of_a_mirrored_image_are_mirrored(sealed: dict[str, Path], kind: str) -> None:
    detector, width = open_detector(str(sealed[kind])), small_breast().shape[1]

    def centers(pixels: np.ndarray, turn: Callable[[float], float]) -> list[tuple[float, float]]:
        marks = detector.marks(pixels, view=VIEW, spacing=SPACING, threshold=0.0)
        found = [mark.center_cr for mark in marks if mark.kind is Kind.MASS]
        return sorted((round(turn(x), 3), round(y, 3)) for x, y in found)

    here = centers(small_breast(), lambda x: x)
    assert here == centers(np.ascontiguousarray(small_breast()[:, ::-1]), lambda x: width - x)


def test_model_is_known_without_opening_it_and_has_its_own_digest(sealed: dict[str, Path]) -> None:
    models = {kind: model_of(str(folder)) for kind, folder in sealed.items()}
    assert {(model.name, model.version) for model in models.values()} == {("tiny", "1.0")}
    assert len({model.digest for model in models.values()} | {ClassicalDetector().model.digest}) == 4
    assert open_detector(str(sealed["native"])).model == models["native"]


def test_an_unknown_spacing_is_not_analysed(sealed: dict[str, Path]) -> None:
    with pytest.raises(NotAnalysed, match="spacing"):
        open_detector(str(sealed["native"])).marks(small_breast(), view=VIEW, spacing=None)


def test_no_breast_no_marks(sealed: dict[str, Path]) -> None:
    black = np.zeros((600, 500), np.float32)
    assert open_detector(str(sealed["native"])).marks(black, view=VIEW, spacing=SPACING) == ()


def test_probability_of_malignancy_is_given_only_where_it_is_calibrated(tmp_path: Path) -> None:
    folder = native(tmp_path / "b", probability_malignant=True)
    seal(folder, golden_view())
    assert all(m.probability_malignant is not None for m in marks_of(folder) if m.kind is Kind.MASS)
    folder = native(tmp_path / "c")
    seal(folder, golden_view())
    assert all(m.probability_malignant is None for m in marks_of(folder))


def spoil_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"something else")


def add_file(folder: Path) -> None:
    (folder / "surprise.py").write_text("")


def add_link(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")


REFUSALS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no metadata": (lambda f: (f / "metadata.json").unlink(), "there is no metadata.json"),
    "not JSON": (lambda f: (f / "metadata.json").write_text("{"), "not JSON"),
    "a list": (lambda f: (f / "metadata.json").write_text("[]"), "schema is None"),
    "schema": (lambda f: rewrite(f, schema="cmmd-node-bundle/9"), "schema is 'cmmd-node-bundle/9'"),
    "unknown key": (lambda f: rewrite(f, colour="blue"), "colour"),
    "missing key": (lambda f: rewrite(f, threshold=None), "threshold"),
    "out of range": (lambda f: rewrite(f, threshold=2.0), "threshold"),
    "unprintable name": (lambda f: rewrite(f, name="a\nb"), "name"),
    "torch": (lambda f: rewrite(f, pytorch_version=["1.4"]), "pytorch_version is 1.4; this is torch 2"),
    "architecture": (lambda f: rewrite(f, architecture="vit-giant"), "architecture is 'vit-giant'"),
    "an older architecture": (
        lambda f: rewrite(f, architecture="second-look/3"),
        "architecture is 'second-look/3'; this program knows 'second-look/6'",
    ),
    "no architecture": (lambda f: rewrite(f, architecture=None), "architecture"),
    "foreign key": (lambda f: rewrite(f, command=["rm"]), "command is for bundles of kind command"),
    "kinds": (
        lambda f: rewrite(f, kinds=["mass", "calcification-cluster"]),
        "calcification-cluster.members.0.alone.0.bias is missing",
    ),
    "digest": (spoil_weights, "model.safetensors has sha256 "),
    "missing file": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "missing card": (lambda f: (f / "MODEL_CARD.md").unlink(), "MODEL_CARD.md is missing"),
    "surplus file": (add_file, "surprise.py is not listed"),
    "link": (add_link, "link is a link"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_bundle_that_is_not_what_it_says_is_refused(tmp_path: Path, sealed: dict[str, Path], what: str) -> None:
    folder = copy_of(sealed["native"], tmp_path)
    spoil, sentence = REFUSALS[what]
    spoil(folder)
    with pytest.raises(BundleRefused) as refusal:
        open_detector(str(folder))
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def copy_of(folder: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy"
    for path in folder.rglob("*"):
        if path.is_file():
            (target / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(folder)).write_bytes(path.read_bytes())
    return target


def test_weights_of_another_shape_or_with_nan_are_refused(tmp_path: Path) -> None:
    folder = native(tmp_path / "b")
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"mass.members.1.subtype.bias": torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(BundleRefused, match=r"subtype.bias is of shape \(3,\); the network takes of shape \(4,\)"):
        seal(folder, golden_view())
    save_file(
        weights | {"mass.members.1.subtype.bias": torch.tensor([0.0, torch.nan, 0.0, 0.0])},
        folder / "model.safetensors",
    )
    with pytest.raises(BundleRefused, match=r"subtype.bias holds NaN"):
        seal(folder, golden_view())


MAP = "mass-map.share"
RINGS = "mass-characterisation.malignant.sum.weight"


def test_what_there_is_beside_the_second_look_is_added(tmp_path: Path) -> None:
    whole, alone = (native(tmp_path / str(is_whole), whole=is_whole, probability_malignant=True) for is_whole in (1, 0))
    weights = load_file(whole / "model.safetensors")
    unheard = {
        MAP: torch.zeros(2),
        RINGS: torch.zeros_like(weights[RINGS]),
        RINGS.replace("weight", "bias"): torch.zeros(1),
    }
    heard = {}
    for name, told in {"both": {}, "maps": {RINGS: unheard[RINGS]}, "neither": unheard}.items():
        save_file(weights | told, whole / "model.safetensors")
        seal(whole, golden_view())
        heard[name] = marks_of(whole)
    seal(alone, golden_view())
    said = [{(m.suspicion, m.probability_malignant) for m in marks} for marks in (heard["neither"], marks_of(alone))]
    assert set() < said[0] <= said[1]
    assert all(one != other for one, other in combinations(heard.values(), 2))
    suspicion = {name: [(m.center_cr, m.suspicion) for m in marks] for name, marks in heard.items()}
    assert suspicion["both"] == suspicion["maps"] != suspicion["neither"]  # rings say nothing of suspicion
    here, there = (
        np.array([m.center_cr for m in marks]) * SPACING.row_mm for marks in (heard["both"], marks_of(alone))
    )
    apart = np.linalg.norm(here[:, None] - there, axis=2).min(axis=1)
    assert 0.1 < apart.max() <= REACH_MM + CELL_MM  # marks lie where the maps see their centres


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mass-map.members.1.answer.bias", r"\(2,\)"),
        ("mass.members.0.subtype.bias", r"\(4,\)"),
        ("mass-characterisation.log_radius.sum.bias", r"\(1,\)"),
    ],
)
def test_what_networks_there_are_must_be_whole(tmp_path: Path, name: str, shape: str) -> None:
    folder = native(tmp_path / "b")
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(BundleRefused, match=f"{name} is missing; the network takes of shape {shape}"):
        seal(folder, golden_view())


def test_a_model_that_no_longer_repeats_its_golden_marks_is_refused(tmp_path: Path, sealed: dict[str, Path]) -> None:
    folder = copy_of(sealed["command"], tmp_path)
    (folder / "run.py").write_text(SCRIPT.replace("0.75", "0.25"))
    digests = read_json(folder)["sha256"]
    rewrite(folder, sha256=digests | {"run.py": sha256(folder / "run.py")})
    read_bundle(folder)  # its files are what it says
    with pytest.raises(BundleRefused, match=r"no mass of suspicion 0.750"):
        open_detector(str(folder))


def read_json(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
    return content


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Answer(torch.nn.Module):
    """A network whose map is wrong in one way."""

    def __init__(self, value: float, stride: int) -> None:
        super().__init__()
        self.value, self.stride = value, stride

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(image, self.stride) * 0.0 + self.value


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (Answer(float("nan"), 8), "NaN"),
        (Answer(1.5, 8), "from 1.5 to 1.5, not within 0 to 1"),
        (Answer(0.5, 4), "a map of shape"),
    ],
)
def test_an_exported_network_that_answers_nonsense_is_refused(
    tmp_path: Path, network: torch.nn.Module, sentence: str
) -> None:
    with pytest.raises((BundleRefused, ModelFault), match=f"model tiny 1.0: .*{sentence}"):
        seal(exported(tmp_path / "b", network), golden_view())


def test_a_pt2_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = exported(tmp_path / "b")
    (folder / "model.pt2").write_bytes(b"PK nothing")
    with pytest.raises(BundleRefused, match=r"model.pt2 cannot be opened"):
        seal(folder, golden_view())


MARK = '{"kind": "mass", "outline": [[10, 10], [30, 10], [30, 40]], "suspicion": 0.75}'


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("raise SystemExit(3)", "ended with status 3"),
        ("pass", "left no marks.json"),
        (SCRIPT + "\n(folder / 'marks.json').write_text('[')", "not JSON"),
        (SCRIPT + "\n(folder / 'marks.json').write_text('{}')", "no list"),
        (SCRIPT + "\n(folder / 'marks.json').write_text('[{}]')", "mark 1 of marks.json: an object with"),
        (SCRIPT.replace("0.75", "float('nan')"), "nan is no number"),
        (SCRIPT.replace("0.75", "1.5"), "suspicion is 1.5"),
        (SCRIPT.replace("[30, 40]", "[30, 999999]"), "outside of the image"),
        (SCRIPT.replace("[30, 10], ", ""), "encloses nothing"),
        (SCRIPT.replace('"mass"', '"calcification-cluster"'), "none of the bundle's kinds"),
        (SCRIPT + "\nimport time; time.sleep(600)", "did not finish within 5 s"),
    ],
)
def test_a_command_that_answers_nonsense_is_a_fault_of_the_model(tmp_path: Path, script: str, sentence: str) -> None:
    with pytest.raises(ModelFault, match=f"model tiny 1.0: .*{sentence}"):
        seal(command(tmp_path / "b", script, seconds=5), golden_view())


def test_a_command_sees_no_setting_of_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMMD_NODE_NODE__DATABASE_URL", "postgresql://user:secret@host/db")
    script = SCRIPT + "\nimport os\nassert not [name for name in os.environ if name.startswith('CMMD_NODE')]"
    seal(command(tmp_path / "b", script), golden_view())


def test_a_command_may_mark_clusters_and_give_probabilities(tmp_path: Path) -> None:
    cluster = (
        '{"kind": "calcification-cluster", "outline": [[1, 1], [9, 1], [9, 9]], "suspicion": 0.6,'
        ' "calcifications": [[2, 2], [3, 3], [4, 4]], "center": [3, 3], "probability_malignant": 0.25}'
    )
    script = SCRIPT + f"\n(folder / 'marks.json').write_text('''[{MARK}, {cluster}]''')"
    kinds = ["mass", "calcification-cluster"]
    folder = command(tmp_path / "b", script, kinds=kinds, probability_malignant=True)
    seal(folder, golden_view())
    mass, group = marks_of(folder)
    assert mass.probability_malignant is None
    assert (group.kind, group.center_cr, group.probability_malignant) == (Kind.CALCIFICATION_CLUSTER, (3.0, 3.0), 0.25)
    assert len(group.calcifications_cr) == 3


def test_install_checks_and_never_replaces(tmp_path: Path, sealed: dict[str, Path]) -> None:
    target = install(sealed["native"], tmp_path / "models")
    assert target == tmp_path / "models" / "tiny-1.0"
    assert model_of(str(target)) == model_of(str(sealed["native"]))
    with pytest.raises(NodeError, match="there already"):
        install(sealed["native"], tmp_path / "models")
    broken = copy_of(sealed["native"], tmp_path)
    add_file(broken)
    with pytest.raises(BundleRefused):
        install(broken, tmp_path / "other")
    assert not (tmp_path / "other").exists()
