"""Verbs that bring images in: from a PACS, an archive, a collection, a medium."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cmmd_node.cli.console import ConfigOption, JsonOption, log, out, print_json, progress
from cmmd_node.errors import NodeError
from cmmd_node.settings import DicomwebSettings, load_settings

app = typer.Typer()
pull_app = typer.Typer(invoke_without_command=True, help="Fetch mammograms from a PACS, an archive, a collection.")
app.add_typer(pull_app, name="pull")

_MOST_PROBLEMS = 20


def _http_url(value: str) -> str:
    """An address that can be asked, or none."""
    try:
        return DicomwebSettings(name="url", url=value).url if value else ""
    except ValueError as error:
        raise typer.BadParameter("is no http or https URL without query") from error


UrlOption = Annotated[str, typer.Option(callback=_http_url, help="Another server that speaks the same protocol.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what there is and fetch nothing.")]


@pull_app.callback()
def pull(
    context: typer.Context,
    *,
    source: Annotated[str, typer.Option("--from", help="Name of a configured peer or archive.")] = "",
    patient_id: Annotated[str, typer.Option(help="All studies of this patient.")] = "",
    accession: Annotated[str, typer.Option(help="The study of this accession number.")] = "",
    study_date: Annotated[str, typer.Option(help="YYYYMMDD or YYYYMMDD-YYYYMMDD.")] = "",
    study: Annotated[str, typer.Option(help="Study Instance UID.")] = "",
    modality: Annotated[str, typer.Option(help="Of the series.")] = "MG",
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch mammograms from a PACS; what is here is not fetched again, so the same command resumes."""
    if context.invoked_subcommand is not None:
        if any((source, patient_id, accession, study_date, study, dry_run, as_json)):
            raise typer.BadParameter(f"options belong behind {context.invoked_subcommand}, where they are heeded")
        context.obj = config
        return
    from cmmd_node.pull import pull as fetch  # noqa: PLC0415
    from cmmd_node.retrieve import Wanted  # noqa: PLC0415
    from cmmd_node.route.sources import source_named  # noqa: PLC0415

    if not source:
        raise typer.BadParameter("the name of a configured peer or archive is wanted", param_hint="--from")
    settings = load_settings(config)
    wanted = Wanted(
        patient_id=patient_id,
        accession_number=accession,
        study_date=study_date,
        study_instance_uid=study,
        modality=modality,
    )
    log("pull", level=logging.WARNING)
    archive = source_named(settings, source)
    with bar("images") as tell:
        answer = fetch(settings, archive, archive.search(wanted), dry_run=dry_run, tell=tell)
    print_pulled(answer, as_json)


@pull_app.command("idc")
def pull_idc(
    context: typer.Context,
    *,
    collection: Annotated[str, typer.Option(help="As IDC calls it, cmmd for example.")],
    patient: Annotated[list[str] | None, typer.Option(help="Only this patient; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many series; 0: all.")] = 0,
    index: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV file with the columns of IDC's index, instead of that."),
    ] = None,
    dicomweb: Annotated[
        bool, typer.Option("--dicomweb", help="From IDC's DICOMweb, which has a daily quota, not from its buckets.")
    ] = False,
    url: UrlOption = "",
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch mammograms of a collection from NCI Imaging Data Commons; the same command resumes."""
    from cmmd_node.cmmd.known import CITATION, LICENCE  # noqa: PLC0415
    from cmmd_node.pull import pull as fetch  # noqa: PLC0415
    from cmmd_node.retrieve.dicomweb import DicomwebArchive  # noqa: PLC0415
    from cmmd_node.retrieve.idc import BUCKETS_URL, DICOMWEB_URL, IdcBuckets, listed_series  # noqa: PLC0415

    settings = load_settings(config or context.obj)
    found = listed_series(index, collection=collection, patient_ids=patient or (), limit=limit)
    if dicomweb and not all(series.study_instance_uid for series in found):
        raise typer.BadParameter("the list has no StudyInstanceUID, which it needs", param_hint="--dicomweb")
    log("pull", level=logging.WARNING)
    source = (
        DicomwebArchive(DicomwebSettings(name="idc", url=url or DICOMWEB_URL, proxy=settings.node.proxy))
        if dicomweb
        else IdcBuckets(url or BUCKETS_URL, proxy=settings.node.proxy)
    )
    with bar("images") as tell:
        answer = fetch(settings, source, found, dry_run=dry_run, tell=tell)
    if collection == "cmmd":
        answer["terms"] = [{"licence": LICENCE, "citation": CITATION}]
    print_pulled(answer, as_json)


@pull_app.command("tcia")
def pull_tcia(
    context: typer.Context,
    *,
    manifest: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A .tcia file, as TCIA's pages give it.")],
    url: UrlOption = "",
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the mammograms of a manifest from The Cancer Imaging Archive; the same command resumes."""
    from cmmd_node.pull import pull as fetch  # noqa: PLC0415
    from cmmd_node.retrieve.tcia import NBIA_URL, Nbia, read_manifest  # noqa: PLC0415

    settings = load_settings(config or context.obj)
    uids = read_manifest(manifest, any_server=bool(url))
    log("pull", level=logging.WARNING)
    source = Nbia(url or NBIA_URL, settings.node.data_dir, proxy=settings.node.proxy)
    with bar("images") as tell:
        answer = fetch(settings, source, source.search(uids), dry_run=dry_run, tell=tell)
    print_pulled(answer, as_json)


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Folders, ZIP files, DICOMDIRs, files.")],
    tiff: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV file about TIFF and PNG pictures in the one folder."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring mammograms from a medium into the node; what else lies there is counted."""
    from cmmd_node.pull import import_files  # noqa: PLC0415
    from cmmd_node.retrieve.media import media_files  # noqa: PLC0415
    from cmmd_node.retrieve.pictures import picture_files  # noqa: PLC0415

    if tiff is not None and (len(paths) != 1 or not paths[0].is_dir()):
        raise typer.BadParameter("the pictures of a table lie in one folder", param_hint="PATHS")
    settings = load_settings(config)
    log("import", level=logging.WARNING)
    files = media_files(paths) if tiff is None else picture_files(tiff, paths[0])
    with bar("files") as tell:
        answer = import_files(settings, files, tell=tell)
    if as_json:
        print_json(answer)
    else:
        for reason, count in answer["skipped"].items():
            out.print(f"{count} files skipped: {reason}", markup=False)
        for one in answer["failed"][:_MOST_PROBLEMS]:
            out.print(f"{one['path']}: {one['reason']}", markup=False)
        out.print(f"{answer['new']} images imported, {answer['here_before']} were here", markup=False)
    if answer["failed"]:
        raise NodeError(f"{len(answer['failed'])} files could not be imported")
    if not answer["new"] + answer["here_before"]:
        raise NodeError("there was no mammogram")


@contextmanager
def bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, with the time that is left."""
    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=progress) as shown:
        task = shown.add_task(unit, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total or None)


def print_pulled(answer: dict[str, Any], as_json: bool) -> None:
    """What came and what did not; raises when something did not."""
    if as_json:
        print_json(answer)
    else:
        table = Table("study", "date", "series", "images", "here before", "fetched", box=None)
        for one in answer["studies"]:
            numbers = (str(one[key]) for key in ("series", "images", "here_before", "fetched"))
            study = one["StudyInstanceUID"] or f"that of series {one['SeriesInstanceUID']}"
            table.add_row(study, one["StudyDate"], *numbers)
        if answer["studies"]:
            out.print(table)
        problems = [problem for one in answer["studies"] for problem in one["problems"]]
        for problem in problems[:_MOST_PROBLEMS]:
            out.print(f"{problem['SOPInstanceUID'] or 'a series'}: {problem['reason']}", markup=False)
        if len(problems) > _MOST_PROBLEMS:
            out.print(f"and {len(problems) - _MOST_PROBLEMS} more; --json tells all", markup=False)
        size = f" ({answer['size_bytes'] / 1e6:.1f} MB)" if answer["size_bytes"] else ""
        out.print(
            f"{answer['images']} images found{size}, {answer['here_before']} of them were here, "
            f"{answer['fetched']} fetched",
            markup=False,
        )
        for terms in answer["terms"]:
            out.print(" ".join(filter(None, (terms["citation"], terms["licence"]))), markup=False)
    if answer["failed"]:
        raise NodeError(f"{answer['failed']} of {answer['images']} images did not come; the same command tries again")
