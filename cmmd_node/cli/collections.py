"""Verbs for collections: what a download of the Chinese Mammography Database holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cmmd_node.cli.console import JsonOption, out, print_json, progress
from cmmd_node.errors import NodeError

app = typer.Typer()
cmmd_app = typer.Typer(no_args_is_help=True, help="The Chinese Mammography Database.")
app.add_typer(cmmd_app, name="cmmd")

#: Of each kind of fault; a folder that lacks a thousand patients says so in fewer.
_MOST_LINES = 20

SheetOption = Annotated[
    Path | None, typer.Option("--sheet", exists=True, dir_okay=False, help="Label sheet; default: the one in DIR.")
]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A download.")]


@cmmd_app.command("check")
def check_cmmd(
    folder: FolderArgument,
    sheet: SheetOption = None,
    headers_only: Annotated[bool, typer.Option("--headers-only", help="Decode no pixels.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a download of CMMD holds, and what is missing, duplicate, damaged or mislabelled."""
    from cmmd_node.cmmd.check import check_download  # noqa: PLC0415

    with progress.status("reading") as status:
        answer = check_download(
            folder,
            sheet,
            pixels=not headers_only,
            tell=lambda what, done, total: status.update(f"reading {what}: {done} of {total}"),
        )
    if as_json:
        print_json(answer)
    else:
        _print_download(answer)
    if not answer["right"]:
        raise typer.Exit(1)


@cmmd_app.command("manifest")
def write_cmmd_manifest(
    folder: FolderArgument,
    out_file: Annotated[Path, typer.Option("--out", help="The CSV file to write.")],
    sheet: SheetOption = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Use what is usually left out: duplicate, damaged or side; may be repeated."),
    ] = None,
) -> None:
    """Write the manifest of a download of CMMD, for `train` and `evaluate`; says what it could not use."""
    from cmmd_node.cmmd.check import find_sheet  # noqa: PLC0415
    from cmmd_node.cmmd.known import CITATION, LICENCE, USUALLY_LEFT_OUT, Doubt  # noqa: PLC0415
    from cmmd_node.train.from_cmmd import cmmd_manifest  # noqa: PLC0415
    from cmmd_node.train.manifest import write_manifest  # noqa: PLC0415

    for word in keep or ():
        if word not in USUALLY_LEFT_OUT:
            raise typer.BadParameter(f"{word} is none of {', '.join(sorted(USUALLY_LEFT_OUT))}", param_hint="--keep")
    with progress.status("reading") as status:
        manifest = cmmd_manifest(
            folder.resolve(),
            sheet or find_sheet(folder),
            keep=frozenset(map(Doubt, keep or ())),
            tell=lambda done, total: status.update(f"reading headers: {done} of {total}"),
        )
    if not manifest.images:
        raise NodeError(f"{folder} holds no image that can be used: {'; '.join(manifest.problems[:3])}")
    write_manifest(out_file.resolve(), manifest.images)
    for problem in manifest.problems:
        progress.print(problem, markup=False, highlight=False, soft_wrap=True)
    left_out = sum(image.excluded is not None for image in manifest.images)
    out.print(f"{out_file}: {len(manifest.images)} images, {left_out} of them left out", markup=False)
    out.print(f"{CITATION} {LICENCE}", markup=False)


def _print_download(answer: dict[str, Any]) -> None:
    table = Table("", "found", "in CMMD", box=None)
    for name, number in answer["numbers"].items():
        table.add_row(name, str(number["found"]), str(number["known"]))
    out.print(table)
    for kind, faults in answer["faults"].items():
        for fault in faults[:_MOST_LINES]:
            out.print(f"{kind}: {fault}", markup=False)
        if len(faults) > _MOST_LINES:
            out.print(f"{kind}: and {len(faults) - _MOST_LINES} more; --json tells all", markup=False)
    for note in answer["notes"]:
        out.print(f"note: {note}", markup=False)
    if not answer["pixels_read"]:
        out.print("Pixels were not looked at.", markup=False)
    out.print("All is as it should be." if answer["right"] else "Something is wrong.", markup=False)
    out.print(f"{answer['citation']} {answer['licence']}", markup=False)


@app.command()
def phantoms(
    *,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to; empty or new.")],
    patients: Annotated[int, typer.Option(min=1, help="How many; a patient takes about 3 seconds and 11 MB.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
) -> None:
    """Draw a collection of phantoms in the shape of CMMD: DICOM files, label sheet, and a manifest with the truth."""
    from cmmd_node.train.phantoms import MANIFEST, write_phantoms  # noqa: PLC0415

    with progress.status("drawing") as status:
        written = write_phantoms(
            out_dir.resolve(),
            patients=patients,
            seed=seed,
            tell=lambda done, all_: status.update(f"drawing: {done} of {all_} patients"),
        )
    out.print(f"{written.patients} patients, {written.images} images; {written.folder / MANIFEST}", markup=False)
