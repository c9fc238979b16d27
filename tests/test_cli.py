"""The command line as others script against it: exit status, standard output, shapes of JSON, no traceback."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from pydicom import dcmread
from pydicom.uid import MammographyCADSRStorage, SegmentationStorage

from cmmd_node import __version__
from cmmd_node.cli import app
from cmmd_node.deliver import echo
from cmmd_node.phantom import make_exam, to_datasets
from cmmd_node.phantom.pacs import PacsStandIn
from cmmd_node.train.answers import write_answers
from cmmd_node.train.manifest import read_manifest
from tests.cad.bundles import command as make_command_bundle
from tests.cmmd.collections import write_collection
from tests.conftest import free_ports
from tests.nodes import wait_until
from tests.report.mutations import places, remove
from tests.train.collections import answers
from tests.train.collections import write_collection as write_labelled

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environment() -> dict[str, str]:
    """That of whoever runs the tests, without settings of a node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CMMD_NODE_")}


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "cmmd_node.cli", *map(str, words)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in the test's folder; whatever happens, it ends without a traceback."""

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*words),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> Path:
    """The configuration of a node that was never started."""
    receive_port, web_port, check_port = free_ports(3)
    path = tmp_path / "cmmd-node.toml"
    path.write_text(
        f"""\
[node]
data_dir = "{tmp_path / "node"}"
database_url = "{database_url}"
check_port = {check_port}
[receive]
port = {receive_port}
accept = "any"
reserve_mb = 16
[web]
port = {web_port}
[[peer]]
name = "modality"
ae_title = "MODALITY"
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a phantom exam and a file that is no image."""
    folder = tmp_path_factory.mktemp("exam")
    for number, ds in enumerate(to_datasets(make_exam(7), study="command line")):
        ds.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def analyzed(exam: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Any]]:
    """Two runs of ``analyze`` over that folder: where each wrote, and what it said."""
    answers = []
    for _ in range(2):
        out = tmp_path_factory.mktemp("out") / "results"
        done = subprocess.run(
            command("analyze", exam, "--out", out, "--json"),
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr  # that one file in the folder is no image does not matter
        assert "Traceback" not in done.stderr, done.stderr
        answers.append((out, json.loads(done.stdout)))
    return answers


def verbs() -> list[tuple[str, ...]]:
    """Every command, with the groups that it is in."""
    found: list[tuple[str, ...]] = []

    def walk(group: Any, words: tuple[str, ...]) -> None:
        for name, one in sorted(group.commands.items()):
            if hasattr(one, "commands"):
                if one.invoke_without_command:
                    found.append((*words, name))
                walk(one, (*words, name))
            else:
                found.append((*words, name))

    walk(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("words", verbs(), ids=" ".join)
def test_command_helps_and_is_in_the_readme(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"cmmd-node {' '.join(words)}" in done.stdout
    assert f"| `cmmd-node {' '.join(words)}` |" in README


def test_version_is_printed(run: Run) -> None:
    assert run("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["analyse"], "analyse"),
        (["serve", "--port", "1"], "--port"),
        (["serve", "--role", "sleep"], "sleep is none of all, receive, work, web"),
        (["analyze", "exam"], "--out"),
        (["analyze", "exam", "--out", "out", "--threshold", "2"], "--threshold"),
        (["analyze", "exam", "--out", "out", "--form", "pdf"], "--form"),
        (["analyze", "exam", "--out", "out", "--codes", "icd"], "--codes"),
        (["send", "exam"], "--to"),
        (["check-object"], "files"),
        (["check-object", "nowhere.dcm"], "nowhere.dcm"),
        (["deliveries", "retry"], "--all"),
        (["deliveries", "retry", "1", "--all"], "--all"),
        (["deliveries", "retry", "one"], "delivery_id"),
    ],
    ids=lambda words: "-".join(words) if isinstance(words, list) else "",
)
def test_wrong_usage_ends_with_status_2(run: Run, tmp_path: Path, words: list[str], named: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert list(tmp_path.iterdir()) == []


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed said: one line, and nothing on standard output."""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("cmmd-node: ")
    return done.stderr


def test_config_show_masks_the_password(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "cmmd-node.toml"
    path.write_text('[node]\ndatabase_url = "postgresql+psycopg://node:n0t-for-logs@h/d"\n', encoding="utf-8")
    done = run("config", "show", "--config", path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["node"]["database_url"] == "postgresql+psycopg://node:***@h/d"
    assert "n0t-for-logs" not in done.stdout + done.stderr


def test_config_check_says_that_a_file_can_be_used(run: Run, config: Path) -> None:
    done = run("config", "check", "--config", config)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the configuration can be used\n", "")


def test_node_that_was_never_started_knows_nothing(run: Run, config: Path) -> None:
    for words in (["studies"], ["deliveries"]):
        done = run(*words, "--json", "--config", config)
        assert (done.returncode, json.loads(done.stdout)) == (0, [])
    again = run("deliveries", "retry", "--all", "--config", config)
    assert (again.returncode, again.stdout) == (0, "0 deliveries will be sent again\n")


def test_delivery_that_is_not_there_cannot_be_sent_again(run: Run, config: Path) -> None:
    for words in (
        ["deliveries", "retry", "999", "--config", config],
        ["deliveries", "--config", config, "retry", "999"],
    ):
        done = run(*words)
        assert done.returncode == 1
        assert "999" in one_sentence(done)


def test_check_of_a_node_that_does_not_run_fails(run: Run, config: Path) -> None:
    done = run("check", "--config", config)
    assert done.returncode == 1
    assert "C-ECHO" in one_sentence(done)


@pytest.mark.parametrize("name", ["nobody", "modality"])
def test_nothing_is_sent_to_a_peer_without_an_address(run: Run, config: Path, exam: Path, name: str) -> None:
    done = run("send", exam, "--to", name, "--config", config)
    assert done.returncode == 2
    assert name in one_sentence(done)


def test_send_brings_files_to_a_peer_and_says_so(run: Run, config: Path, exam: Path, tmp_path: Path) -> None:
    pacs = PacsStandIn(tmp_path / "pacs", ae_title="PACS")
    try:
        with config.open("a", encoding="utf-8") as file:
            file.write(f'[[peer]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n')
        files = sorted(exam.glob("*.dcm"))
        done = run("send", *files, "--to", "pacs", "--config", config)
    finally:
        pacs.stop()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{path}: stored" for path in files]
    assert [one.sop_instance_uid for one in pacs.received] == [str(dcmread(path).SOPInstanceUID) for path in files]


def test_send_to_a_peer_that_is_away_fails(run: Run, config: Path, exam: Path) -> None:
    (port,) = free_ports(1)
    with config.open("a", encoding="utf-8") as file:
        file.write(f'[[peer]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\n')
    done = run("send", exam / "0.dcm", "--to", "pacs", "--config", config)
    assert done.returncode == 1
    assert "PACS" in one_sentence(done)


def test_send_refuses_a_file_that_is_no_dicom(run: Run, config: Path, exam: Path) -> None:
    with config.open("a", encoding="utf-8") as file:
        file.write('[[peer]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 4242\n')
    done = run("send", exam / "notes.txt", "--to", "pacs", "--config", config)
    assert done.returncode == 1
    assert "notes.txt is no DICOM file" in one_sentence(done)


def spoil(analyzed: list[tuple[Path, Any]], path: Path) -> Path:
    """A report of ours without its centers, in the way of another vendor."""
    ds = dcmread(next(one for one in analyzed[0][0].iterdir() if dcmread(one).Modality == "SR"))
    ds.SeriesDescription = "CAD"
    remove(ds, next(place for place, _ in places(ds) if place.names[-1] == "111010"))  # Center
    ds.save_as(path)
    return path


def test_check_object_finds_nothing_in_what_we_wrote(run: Run, analyzed: list[tuple[Path, Any]], exam: Path) -> None:
    written = sorted(analyzed[0][0].iterdir())
    images = [word for path in sorted(exam.glob("*.dcm")) for word in ("--image", path)]
    done = run("check-object", *written, *images, "--ours")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{path}: no fault found" for path in written]


def test_check_object_names_row_and_path_of_a_fault(run: Run, analyzed: list[tuple[Path, Any]], tmp_path: Path) -> None:
    path = spoil(analyzed, tmp_path / "spoilt.dcm")
    done = run("check-object", path)
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = done.stdout.splitlines()
    assert re.fullmatch(r".*/spoilt\.dcm: TID 4021 row 1: 1\.3(?:\.[0-9]+)+: 111010 DCM Center is missing", line)
    done = run("check-object", path, "--ours", "--json")
    assert done.returncode == 1
    (one,) = json.loads(done.stdout)
    assert (one["path"], one["problem"]) == (str(path), None)
    assert {(fault["rule"], fault["ours"]) for fault in one["faults"]} == {
        ("TID 4021 row 1", False),
        ("PS3.6 LO", True),
    }


def test_check_object_says_what_it_does_not_check(run: Run, exam: Path) -> None:
    done = run("check-object", exam / "0.dcm")
    assert (done.returncode, done.stderr) == (1, "")
    assert "is not a class that is checked here" in done.stdout
    done = run("check-object", exam / "notes.txt")
    assert done.returncode == 1
    assert "notes.txt is no DICOM file" in one_sentence(done)


def test_show_prints_what_was_written(run: Run, analyzed: list[tuple[Path, Any]], exam: Path) -> None:
    out, answer = analyzed[0]
    written = sorted(out.iterdir())
    done = run("show", *written)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if not line.startswith(" ") and line.startswith("/")] == [
        str(path) for path in written
    ]
    for image in answer["studies"][0]["images"]:
        for finding in image["findings"]:
            column, row = finding["center_cr"]
            assert f"at column {column:.1f}, row {row:.1f}, suspicion {100 * finding['suspicion']:.4g}" in done.stdout
    done = run("show", exam / "0.dcm")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is nothing that can be shown" in one_sentence(done)


def test_analyze_of_a_path_that_is_not_there_fails(run: Run, tmp_path: Path) -> None:
    done = run("analyze", "nowhere", "--out", "out")
    assert done.returncode == 1
    assert "nowhere does not exist" in one_sentence(done)
    assert not (tmp_path / "out").exists()


def test_analyze_answers_in_the_documented_shape(analyzed: list[tuple[Path, Any]], exam: Path) -> None:
    out, answer = analyzed[0]
    assert set(answer) == {"studies", "skipped"}
    (study,) = answer["studies"]
    assert set(study) == {"StudyInstanceUID", "outcome", "reason", "model", "images", "files"}
    assert (study["outcome"], study["reason"]) == ("findings", None)
    assert set(study["model"]) == {"name", "version", "digest"}
    sent = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in exam.glob("*.dcm")}
    assert {image["SOPInstanceUID"] for image in study["images"]} == sent
    for image in study["images"]:
        assert set(image) == {
            *("SOPInstanceUID", "ImageLaterality", "view", "status", "reason", "remark", "findings"),
            *("spacing_mm", "breast_outline_cr", "nipple_cr", "composition", "quality"),
        }
        assert (image["status"], image["reason"]) == ("analysed", None)
        assert min(image["spacing_mm"].values()) > 0
        assert len(image["nipple_cr"]) == 2
        assert (image["composition"], image["quality"]) == (None, None)
        for finding in image["findings"]:
            assert finding["kind"] in {"mass", "calcification-cluster"}
            assert 0 <= finding["suspicion"] <= 1
            assert len(finding["center_cr"]) == 2
    assert {(image["ImageLaterality"], image["view"]) for image in study["images"]} == {
        (side, view) for side in "LR" for view in ("CC", "MLO")
    }
    written = {Path(path) for path in study["files"]}
    assert written == set(out.iterdir())
    classes = [dcmread(path).SOPClassUID for path in sorted(written)]
    marked = sum(bool(image["findings"]) for image in study["images"])
    assert sorted(classes) == sorted([MammographyCADSRStorage, *[SegmentationStorage] * marked])


def test_analyze_writes_the_older_codes_when_asked(run: Run, exam: Path, tmp_path: Path) -> None:
    done = run("analyze", str(exam / "0.dcm"), "--out", str(tmp_path), "--codes", "srt", "--json")
    assert done.returncode == 0, done.stderr
    (study,) = json.loads(done.stdout)["studies"]
    assert b"SRT" in Path(study["files"][0]).read_bytes()
    assert b"SCT" not in Path(study["files"][0]).read_bytes()


def test_analyze_names_what_it_skipped(analyzed: list[tuple[Path, Any]], exam: Path) -> None:
    (skipped,) = analyzed[0][1]["skipped"]
    assert skipped["path"] == str(exam / "notes.txt")
    assert skipped["reason"]


def test_second_run_of_analyze_writes_the_same_bytes(analyzed: list[tuple[Path, Any]]) -> None:
    (first, answer), (second, repeated) = analyzed
    names = sorted(path.name for path in first.iterdir())
    assert filecmp.cmpfiles(first, second, names, shallow=False) == (names, [], [])
    for one in (answer, repeated):
        del one["studies"][0]["files"]
    assert answer == repeated


@pytest.fixture(scope="module")
def cmmd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of phantoms in the shape of CMMD."""
    return write_collection(tmp_path_factory.mktemp("cmmd"))


def test_cmmd_check_tells_numbers_and_faults_and_ends_with_status_1(run: Run, cmmd: Path) -> None:
    done = run("cmmd", "check", cmmd)
    assert done.returncode == 1
    assert re.search(r"^ *images +18 +5202 *$", done.stdout, re.M)
    assert "missing: D1-0002: no image at all\n" in done.stdout
    assert "missing: and 1749 more; --json tells all\n" in done.stdout
    assert "found identical here: 4" in done.stdout
    assert "10.7937/tcia.eqde-4b16" in done.stdout
    answer = json.loads(run("cmmd", "check", cmmd, "--headers-only", "--json").stdout)
    assert answer["numbers"]["images"] == {"found": 18, "known": 5202}
    assert answer["right"] is False


def test_cmmd_manifest_is_written_with_citation_and_licence(run: Run, cmmd: Path, tmp_path: Path) -> None:
    done = run("cmmd", "manifest", cmmd, "--out", "cmmd.csv", "--keep", "damaged")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cmmd.csv: 18 images, 12 of them left out\n" in done.stdout
    assert "10.7937/tcia.eqde-4b16 CC BY 4.0" in done.stdout
    manifest = read_manifest(tmp_path / "cmmd.csv")
    assert (len(manifest.images), manifest.problems) == (18, ())
    assert all("10.7937/tcia.eqde-4b16" in str(image.source) for image in manifest.images)


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (["cmmd", "check", "nowhere"], 2, "nowhere"),
        (["cmmd", "check", "."], 1, "no CMMD_clinicaldata_revision.xlsx"),
        (["cmmd", "manifest", ".", "--out", "m.csv", "--keep", "everything"], 2, "everything"),
    ],
)
def test_cmmd_commands_refuse_with_a_reason(run: Run, words: list[str], status: int, named: str) -> None:
    done = run(*words)
    assert done.returncode == status
    assert named in done.stderr


def test_evaluate_writes_a_report_and_tells_the_figures(run: Run, tmp_path: Path) -> None:
    manifest, images = write_labelled(tmp_path / "collection", patients=12)
    write_answers(tmp_path / "mine.json", answers(images, "mine"), manifest.parent)
    with manifest.open("a") as file:
        file.write("gone.png,P99,L,CC" + "," * 12 + "\n")
    words = ["evaluate", manifest, "--answers", "mine.json", "--no-baselines", "--draws", "100"]
    done = run(*words, "--out", "report")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ *all: 6 of 12 +mine 1 +0\.500 \(0\.500 to 0\.500\)", done.stdout, re.M)
    assert "Somebody et al. 2020, CC BY 4.0\n" in done.stdout
    assert "Research software, not a medical device." in done.stdout
    assert "row 26: there is no file" in done.stderr
    assert (tmp_path / "report" / "report.html").is_file()
    told = json.loads(run(*words, "--out", "report", "--json").stdout)
    assert told == json.loads((tmp_path / "report" / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("content", "status", "named"),
    [
        ("path,patient,side\n", 1, "has no column view"),
        ("path,patient,side,view\ngone.png,P,L,CC\n", 1, "has no image to evaluate"),
        (None, 2, "manifest.csv"),
    ],
)
def test_evaluate_refuses_with_a_reason(run: Run, tmp_path: Path, content: str | None, status: int, named: str) -> None:
    if content is not None:
        (tmp_path / "manifest.csv").write_text(content)
    done = run("evaluate", "manifest.csv", "--out", "report")
    assert done.returncode == status
    assert named in done.stderr


@pytest.mark.e2e
def test_second_node_on_a_data_dir_refuses_to_start(config: Path, tmp_path: Path, run: Run) -> None:
    with (tmp_path / "node.log").open("wb") as log:
        node = subprocess.Popen(command("serve", "--config", config), env=environment(), stderr=log)
    try:
        port = int(config.read_text(encoding="utf-8").split("[receive]\nport = ")[1].split("\n")[0])
        wait_until(
            lambda: echo(host="127.0.0.1", port=port, called_ae_title="CMMD_NODE", calling_ae_title="CMMD_NODE_CHECK"),
            60,
            "a node that answers",
        )
        second = run("serve", "--config", config)
        assert second.returncode == 2
        assert "another node runs on data_dir" in one_sentence(second)
        assert node.poll() is None
    finally:
        node.send_signal(signal.SIGTERM)
        assert node.wait(30) == 0


@pytest.mark.e2e
def test_node_without_a_place_to_write_refuses_to_start(config: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "node").write_text("a file where the folder should be", encoding="utf-8")
    done = run("serve", "--config", config)
    assert done.returncode == 2
    assert "data_dir" in one_sentence(done)


@pytest.mark.e2e
def test_demo_brings_a_phantom_exam_through_and_back(run: Run, tmp_path: Path) -> None:
    kinds = {MammographyCADSRStorage: "cad-sr", SegmentationStorage: "seg"}
    paths: list[str] = []
    for _ in range(2):  # a second demo on the same folder shows its own exam
        done = run("demo", "--data-dir", "here", "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert set(answer) == {"StudyInstanceUID", "seconds", "objects"}
        for one in answer["objects"]:
            ds = dcmread(one["path"])
            assert Path(one["path"]).parent == tmp_path / "here" / "pacs"
            assert (kinds[ds.SOPClassUID], ds.SOPInstanceUID) == (one["kind"], one["SOPInstanceUID"])
            assert (ds.SOPClassUID, ds.StudyInstanceUID) == (one["SOPClassUID"], answer["StudyInstanceUID"])
        assert sorted({one["kind"] for one in answer["objects"]}) == ["cad-sr", "seg"]
        paths += [one["path"] for one in answer["objects"]]
    assert len(set(paths)) == len(paths)
    shutil.rmtree(tmp_path / "here")  # nothing of it runs any more


def test_models_are_checked_installed_and_listed(run: Run, tmp_path: Path) -> None:
    bundle = make_command_bundle(tmp_path / "bundle")
    sealed = run("models", "seal", bundle)
    assert (sealed.returncode, sealed.stdout.split(" is sealed")[0]) == (0, "tiny 1.0")
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\ndata_dir = "{tmp_path / "data"}"\n')
    installed = run("models", "install", bundle, "--config", config)
    assert f'bundle = "{tmp_path / "data" / "models" / "tiny-1.0"}"' in installed.stdout
    (bundle / "LICENSE").write_text("another\n")
    refused = run("models", "check", bundle)
    assert refused.returncode == 2
    assert "LICENSE has sha256" in refused.stderr
    rows = json.loads(run("models", "list", "--config", config, "--json").stdout)
    assert [(row["name"], row["in_use"], row["problem"]) for row in rows] == [
        ("cmmd-node-builtin", True, ""),
        ("cmmd-node-classical", False, ""),
        ("tiny", False, ""),
    ]
    shown = [json.loads(run("models", "show", rows[number]["bundle"]).stdout) for number in (0, 2)]
    assert [one["kind"] for one in shown] == ["native", "command"]


def test_train_says_what_is_wrong_with_its_manifest(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,patient\n")
    (tmp_path / "L").write_text("licence\n")
    refused = run("train", "m.csv", "--out", "b", "--work", "w", "--licence", "L")
    assert refused.returncode == 1
    assert "has no column side, view" in refused.stderr
