"""Verbs for files: DICOM objects that are analysed, sent, checked, shown."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cmmd_node.cli.console import ConfigOption, JsonOption, log, out, print_json, progress
from cmmd_node.errors import NodeError, SettingsError
from cmmd_node.facts import USUAL_FORMS, Codes, Form
from cmmd_node.settings import CHECK_PEER, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydicom.dataset import Dataset

Seen = TypeVar("Seen")

app = typer.Typer()

FilesArgument = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="DICOM files.")]


@app.command()
def analyze(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    *,
    out_dir: Annotated[Path, typer.Option("--out", help="Where the results go.")],
    config: ConfigOption = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Report marks from this suspicion; 0: every candidate.")
    ] = None,
    forms: Annotated[
        list[Form] | None,
        typer.Option("--form", help="A form to write; may be repeated. Default: cad-sr, seg."),
    ] = None,
    codes: Annotated[Codes, typer.Option(help="SNOMED CT codes, or the older ones.")] = Codes.SCT,
    as_json: JsonOption = False,
) -> None:
    """The route without the network: DICOM in, result files out; the CAD SR is always among them."""
    from cmmd_node.analyze import analyze_files  # noqa: PLC0415

    settings = load_settings(config)
    log("analyze", level=logging.WARNING)
    with progress.status("analysing"):
        answer = analyze_files(
            paths, out_dir, settings.cad, threshold=threshold, forms=forms or USUAL_FORMS, codes=codes
        )
    if as_json:
        print_json(answer)
    else:
        _print_answer(answer)
    named = {str(path) for path in paths}  # what merely lies in a folder may be something else
    skipped = any(one["path"] in named for one in answer["skipped"])
    if skipped or not answer["studies"] or any(study["outcome"] == "failed" for study in answer["studies"]):
        raise typer.Exit(1)


@app.command()
def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    to: Annotated[str, typer.Option("--to", help="Name of a configured peer or archive.")],
    config: ConfigOption = None,
) -> None:
    """Send files to a configured destination: by C-STORE to a peer, by STOW-RS to an archive."""
    from cmmd_node.deliver import Outgoing, Verdict, send_to, verdict_of  # noqa: PLC0415
    from cmmd_node.files import files_below  # noqa: PLC0415

    settings = load_settings(config)
    destination = settings.destination_named(to)
    if destination is None or not destination.can_be_sent_to or destination.name == CHECK_PEER:
        raise SettingsError(f"neither a peer {to} with a host and port nor an archive {to} is configured")
    outgoing = [Outgoing.from_file(path) for path in files_below(paths)]
    failed = 0
    for answer in send_to(settings, destination, outgoing):
        stored = answer.status is not None and verdict_of(answer.status) is Verdict.STORED
        failed += not stored
        out.print(f"{answer.outgoing.path}: {'stored' if stored else answer.problem}", markup=False)
    if failed:
        raise NodeError(f"{failed} of {len(outgoing)} files were not stored")


@app.command("check-object")
def check_objects(
    files: FilesArgument,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", exists=True, dir_okay=False, help="An image that they are about, to compare with."),
    ] = None,
    ours: Annotated[bool, typer.Option("--ours", help="Also the rules that only our objects follow.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Hold any result object, ours or another's, against the standard: the row and the path of each fault."""
    from cmmd_node.report.check import check_object  # noqa: PLC0415
    from cmmd_node.report.reading import read_object  # noqa: PLC0415

    images = [read_object(path, pixels=False) for path in image or ()]
    answer: list[dict[str, Any]] = []
    for path, faults, problem in _look_at_each(files, lambda ds: check_object(ds, images)):
        told = [
            {"rule": fault.rule, "path": fault.path, "message": fault.message, "ours": fault.ours}
            for fault in faults or ()
            if ours or not fault.ours
        ]
        answer.append({"path": str(path), "faults": told, "problem": problem})
    if as_json:
        print_json(answer)
    else:
        for one in answer:
            lines = [f"{fault['rule']}: {fault['path'] or 'object'}: {fault['message']}" for fault in one["faults"]]
            for line in lines or ([] if one["problem"] else ["no fault found"]):
                out.print(f"{one['path']}: {line}", markup=False)
    problems = [one["problem"] for one in answer if one["problem"]]
    if problems:
        raise NodeError("; ".join(problems))
    if any(one["faults"] for one in answer):
        raise typer.Exit(1)


def _look_at_each(
    files: list[Path], look: Callable[[Dataset], list[Seen]]
) -> Iterator[tuple[Path, list[Seen] | None, str | None]]:
    """What is seen in each file, or the problem with it, which costs that file only."""
    from cmmd_node.report.reading import read_object  # noqa: PLC0415

    for path in files:
        try:
            yield path, look(read_object(path)), None
        except NodeError as error:
            words = str(error)
            yield path, None, words if words.startswith(str(path)) else f"{path}: {words}"


@app.command("show")
def show_objects(files: FilesArgument) -> None:
    """Print a result object the way a person reads it: model, summary, marks by breast and view."""
    from cmmd_node.report.reading import reading  # noqa: PLC0415

    problems = []
    for path, lines, problem in _look_at_each(files, reading):
        if problem:
            problems.append(problem)
        for line in () if lines is None else (str(path), *lines):
            out.print(line, markup=False)
    if problems:
        raise NodeError("; ".join(problems))


@app.command()
def conformance() -> None:
    """Print the DICOM conformance statement, as Markdown."""
    from cmmd_node.conformance import statement  # noqa: PLC0415

    sys.stdout.write(statement())


def _print_answer(answer: dict[str, Any]) -> None:
    for study in answer["studies"]:
        reason = f" ({study['reason']})" if study["reason"] else ""
        out.print(f"{study['StudyInstanceUID']}: {study['outcome']}{reason}", markup=False)
        for image in study["images"]:
            view = f"{image['ImageLaterality'] or '?'} {image['view'] or '?'}"
            out.print(f"  {view:6} {image['status']}{': ' + image['reason'] if image['reason'] else ''}", markup=False)
            for finding in image["findings"]:
                column, row = finding["center_cr"]
                out.print(
                    f"         {finding['kind']:22} at column {column:.0f}, row {row:.0f}"
                    f"   suspicion {finding['suspicion']:.2f}",
                    markup=False,
                )
        for path in study["files"]:
            out.print(f"  wrote {path}", markup=False)
    for one in answer["skipped"]:
        out.print(f"{one['path']}: {one['reason']}", markup=False)
    out.print("Research software, not a medical device.", markup=False)
