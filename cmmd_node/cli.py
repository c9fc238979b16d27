"""The command ``cmmd-node``: one verb for each thing an operator does.

Results go to standard output (``--json`` for machines), logs to standard error. Exit status 0: done, 1: the work
failed, 2: wrong usage or configuration; then one sentence, no traceback.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from cmmd_node import __version__
from cmmd_node.errors import NodeError, SettingsError, StartRefused
from cmmd_node.facts import USUAL_FORMS, Codes, Form
from cmmd_node.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydicom.dataset import Dataset

    from cmmd_node.cad.golden import GoldenView

Seen = TypeVar("Seen")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A DICOM node for mammography CAD. Research software, not a medical device.",
)
deliveries_app = typer.Typer(help="What is on the way to the peers, and what is stuck.", invoke_without_command=True)
config_app = typer.Typer(no_args_is_help=True, help="The effective configuration.")
cmmd_app = typer.Typer(no_args_is_help=True, help="The Chinese Mammography Database.")
app.add_typer(cmmd_app, name="cmmd")
app.add_typer(deliveries_app, name="deliveries")
app.add_typer(config_app, name="config")
models_app = typer.Typer(no_args_is_help=True, help="Model bundles: what is installed, and whether it can be used.")
app.add_typer(models_app, name="models")

#: Of each kind of fault; a folder that lacks a thousand patients says so in fewer.
_MOST_LINES = 20

out = Console(highlight=False, soft_wrap=True)
progress = Console(stderr=True)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file; default: the one CMMD_NODE_CONFIG names.")
]
SheetOption = Annotated[
    Path | None, typer.Option("--sheet", exists=True, dir_okay=False, help="Label sheet; default: the one in DIR.")
]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A download.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
BundleArgument = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The folder of a bundle.")]
FilesArgument = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="DICOM files.")]


def main() -> None:
    """Entry point: errors of ours become one sentence and an exit status."""
    try:
        app(prog_name="cmmd-node")
    except NodeError as error:
        progress.print(f"cmmd-node: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, SettingsError | StartRefused) else 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        progress.print(f"cmmd-node: {where}{error.strerror or error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def demo(
    data_dir: Annotated[Path, typer.Option(help="Where the demo keeps its node and what its PACS received.")] = Path(
        "cmmd-node-demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Send a phantom exam through the front door and back, everything on loopback with the embedded database."""
    from cmmd_node.demo import run_demo  # noqa: PLC0415 - each command loads what it needs

    with progress.status("starting the node") as status:
        came_back = run_demo(data_dir, tell=status.update)
    _print_round_trip(came_back, as_json)


@app.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Prove a running node's health by traffic: a C-ECHO, a phantom exam, its CAD SR back."""
    from cmmd_node.demo import run_check  # noqa: PLC0415

    settings = load_settings(config)
    with progress.status("echo") as status:
        came_back = run_check(settings, tell=status.update)
    _print_round_trip(came_back, as_json)


@app.command()
def serve(
    config: ConfigOption = None,
    role: Annotated[str, typer.Option(help="all, or one of receive, work and web.")] = "all",
    number: Annotated[int, typer.Option(hidden=True)] = 0,
    supervised: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run the node until it is told to stop."""
    if role == "receive":
        _load_no_decoders()
    from cmmd_node.serve import ROLES, run_role, supervise  # noqa: PLC0415

    if role not in ("all", *ROLES):
        raise typer.BadParameter(f"{role} is none of all, {', '.join(ROLES)}", param_hint="--role")
    settings = load_settings(config)
    _log(role)
    if role == "all":
        supervise(settings, config, ROLES)
    elif role == "receive" and settings.receive.processes > 1 and not supervised:
        supervise(settings, config, (role,))
    else:
        run_role(settings, role, number=number, supervised=supervised)


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
    _log("analyze", level=logging.WARNING)
    with progress.status("analysing"):
        answer = analyze_files(
            paths, out_dir, settings.cad, threshold=threshold, forms=forms or USUAL_FORMS, codes=codes
        )
    if as_json:
        _print_json(answer)
    else:
        _print_answer(answer)
    named = {str(path) for path in paths}  # what merely lies in a folder may be something else
    skipped = any(one["path"] in named for one in answer["skipped"])
    if skipped or not answer["studies"] or any(study["outcome"] == "failed" for study in answer["studies"]):
        raise typer.Exit(1)


@app.command()
def evaluate(
    manifest: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV file: images and labels.")],
    *,
    out_dir: Annotated[Path, typer.Option("--out", help="Where report.html, metrics.json and answers go.")],
    bundle: Annotated[str, typer.Option(help="The model: builtin, or the folder of a bundle.")] = "builtin",
    answers: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="What another model said, instead of a bundle.")
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="Answers of a model to compare with; may be repeated."),
    ] = None,
    fold: Annotated[list[int] | None, typer.Option(help="Only this fold; may be repeated.")] = None,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap draws of patients.")] = 2000,
    baselines: Annotated[
        bool, typer.Option(help="Compare with the classical detector and an untrained network.")
    ] = True,
    processes: Annotated[int, typer.Option(min=0, help="Images asked about at once; 0: one a core.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure a model on labelled images, beside baselines, with intervals; writes a report with plots and pictures."""
    from cmmd_node.train.evaluate_files import evaluate_files  # noqa: PLC0415

    _log("evaluate", level=logging.WARNING)
    with progress.status("reading") as status:
        metrics = evaluate_files(
            manifest,
            out_dir,
            bundle=bundle,
            answers=answers,
            beside=beside or (),
            folds=frozenset(fold or ()),
            draws=draws,
            baselines=baselines,
            processes=processes,
            tell=status.update,
        )
    for problem in metrics["data"]["faulty_rows"]:
        progress.print(f"{manifest}: {problem}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        _print_json(metrics)
    else:
        _print_metrics(metrics)
        out.print(f"wrote {out_dir / 'report.html'}", markup=False)


@app.command()
def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    to: Annotated[str, typer.Option("--to", help="Name of a configured peer.")],
    config: ConfigOption = None,
) -> None:
    """Send files to a configured destination by C-STORE."""
    from cmmd_node.deliver import Outgoing, Verdict, verdict_of  # noqa: PLC0415
    from cmmd_node.deliver import send as store  # noqa: PLC0415
    from cmmd_node.files import files_below  # noqa: PLC0415
    from cmmd_node.tls import to_peer  # noqa: PLC0415

    settings = load_settings(config)
    peer = next((one for one in settings.peer if one.name == to), None)
    if peer is None or not peer.port:
        raise SettingsError(f"no peer {to} with a host and port is configured")
    outgoing = [Outgoing.from_file(path) for path in files_below(paths)]
    failed = 0
    for answer in store(
        outgoing,
        host=peer.host,
        port=peer.port,
        called_ae_title=peer.ae_title,
        calling_ae_title=settings.node.ae_title,
        tls=to_peer(settings, peer),
    ):
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
        _print_json(answer)
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


@app.command()
def reindex(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Rebuild the index from the files of the data_dir, while the node is stopped."""
    from cmmd_node.repair import reindex as rebuild  # noqa: PLC0415

    settings = load_settings(config)
    _log("reindex", level=logging.WARNING)
    with progress.status("reading the index") as status:
        done = rebuild(settings, tell=status.update)
    if as_json:
        _print_json(done)
        return
    if done["damaged_index"]:
        out.print(f"the damaged index is now {done['damaged_index']}", markup=False)
    out.print(f"{done['objects']} objects are indexed, {done['indexed']} of them newly", markup=False)
    if done["put_aside"]:
        out.print(f"{done['put_aside']} cannot be read and are in quarantine", markup=False)


@app.command()
def verify(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Hash every object again and say which are missing or damaged."""
    from cmmd_node.repair import verify as look  # noqa: PLC0415

    settings = load_settings(config)
    with progress.status("reading the index") as status:
        found = look(settings, tell=status.update)
    if as_json:
        _print_json(found)
    else:
        for one in found["damaged"]:
            out.print(f"{one['path']}: {one['problem']} ({one['SOPInstanceUID']})", markup=False)
        out.print(f"{found['objects']} objects, {len(found['damaged'])} damaged", markup=False)
    if found["damaged"]:
        raise typer.Exit(1)


@app.command()
def studies(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What is known: every study, its rounds, what became of each image."""
    from cmmd_node.index import open_index  # noqa: PLC0415
    from cmmd_node.index.status import studies as known_studies  # noqa: PLC0415

    index = open_index(load_settings(config))
    with index.read() as connection:
        known = known_studies(connection)
    index.close()
    if as_json:
        _print_json(known)
        return
    table = Table("study", "images", "round", "state", "outcome", "reason", "delivered to", box=None)
    for study in known:
        for one in study["rounds"] or [{}]:
            reasons = {image["reason"] for image in one.get("images", []) if image["reason"]}
            table.add_row(
                study["StudyInstanceUID"],
                str(study["images"]),
                str(one.get("number", "")),
                one.get("state", ""),
                one.get("outcome") or "",
                study["identity_conflict"] or one.get("reason") or "; ".join(sorted(reasons)),
                ", ".join(f"{each['peer']}: {each['state']}" for each in one.get("deliveries", [])),
            )
    out.print(table)


@deliveries_app.callback()
def deliveries(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What is on the way to the peers, and what is stuck."""
    if context.invoked_subcommand is not None:
        context.obj = config
        return
    from cmmd_node.index import open_index  # noqa: PLC0415
    from cmmd_node.index.status import deliveries as known_deliveries  # noqa: PLC0415

    index = open_index(load_settings(config))
    with index.read() as connection:
        known = known_deliveries(connection)
    index.close()
    if as_json:
        _print_json(known)
        return
    table = Table("id", "study", "round", "peer", "state", "attempts", "problem", box=None)
    for one in known:
        table.add_row(*(str(value) if value is not None else "" for value in one.values()))
    out.print(table)


@deliveries_app.command("retry")
def retry_deliveries(
    context: typer.Context,
    delivery_id: Annotated[int | None, typer.Argument(help="Number of a dead delivery.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every dead delivery.")] = False,
    config: ConfigOption = None,
) -> None:
    """Send dead deliveries again."""
    from cmmd_node.index import now_ms, open_index  # noqa: PLC0415
    from cmmd_node.index.deliveries import dead_deliveries, retry_delivery  # noqa: PLC0415

    if (delivery_id is None) != every:
        raise typer.BadParameter("either the number of a delivery or --all is wanted")
    settings = load_settings(config or context.obj)
    give_up_ms = now_ms() + round(timedelta(hours=settings.deliver.give_up_hours) / timedelta(milliseconds=1))
    index = open_index(settings)
    with index.write() as connection:
        wanted = dead_deliveries(connection) if delivery_id is None else (delivery_id,)
        client = index.client()
        revived = [one for one in wanted if retry_delivery(connection, client, one, give_up_ms=give_up_ms)]
    index.close()
    if delivery_id is not None and not revived:
        raise NodeError(f"delivery {delivery_id} is not dead, or there is none")
    out.print(f"{len(revived)} deliveries will be sent again")


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
        _print_json(answer)
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


@app.command()
def train(
    manifest: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A collection, as a manifest.")],
    *,
    out_dir: Annotated[Path, typer.Option("--out", help="The bundle to be made.")],
    work: Annotated[Path, typer.Option(help="Keeps images and progress; the same command goes on from there.")],
    licence: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Licence of the weights, a text file.")],
    name: Annotated[str, typer.Option(help="Of the model.")] = "second-look",
    version: Annotated[str, typer.Option(help="Of the model.")] = "0.1.0",
    held_out: Annotated[
        int | None, typer.Option(min=0, help="Fold of the manifest that validates; default: every sixth group.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often each image is seen.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="As torch names it: cpu, cuda.")] = "cpu",
) -> None:
    """Train a mass network on outlined images and pack it as a bundle that is ready to install."""
    from cmmd_node.train.fit import Recipe  # noqa: PLC0415
    from cmmd_node.train.train import About, Step, train_bundle  # noqa: PLC0415

    about = About(name=name, version=version, licence=licence.stem, licence_text=licence.read_text())
    with progress.status("reading") as status:

        def tell(what: Step | str) -> None:
            if isinstance(what, Step):
                status.update(f"preparing images: {what.done} of {what.of}")
            else:
                progress.print(what, markup=False, highlight=False, soft_wrap=True)

        bundle = train_bundle(
            manifest,
            out_dir,
            about,
            Recipe(epochs=epochs, seed=seed),
            _golden_view(),
            work=work,
            held_out=held_out,
            device=device,
            tell=tell,
        )
    out.print(f"{bundle.label} is in {bundle.folder}", markup=False)


@models_app.command("list")
def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The built-in model and the installed bundles; what cannot be used, and why."""
    from cmmd_node.cad.inventory import inventory  # noqa: PLC0415

    rows = inventory(load_settings(config))
    if as_json:
        _print_json(rows)
        return
    table = Table("in use", "bundle", "model", "version", "digest", "problem", box=None)
    for row in rows:
        digest = (row["digest"] or "")[:12]
        table.add_row("*" if row["in_use"] else "", row["bundle"], row["name"], row["version"], digest, row["problem"])
    out.print(table)


@models_app.command("show")
def show_model(bundle: BundleArgument) -> None:
    """What a bundle says of itself: its verified metadata, for people and machines."""
    from cmmd_node.cad.bundle import read_bundle  # noqa: PLC0415

    _print_json(read_bundle(bundle).metadata.model_dump(mode="json", by_alias=True))


@models_app.command("check")
def check_model(bundle: BundleArgument) -> None:
    """Verify every file of a bundle, open the model and let it repeat its golden marks."""
    from cmmd_node.cad import open_detector  # noqa: PLC0415

    model = open_detector(str(bundle)).model
    out.print(f"{model.name} {model.version} can be used; digest {model.digest}", markup=False)


@models_app.command("install")
def install_model(bundle: BundleArgument, config: ConfigOption = None) -> None:
    """Check a bundle and copy it to the node's models; the setting [cad] bundle then names the folder."""
    from cmmd_node.cad.sealing import install  # noqa: PLC0415

    target = install(bundle, load_settings(config).models_dir)
    out.print(f'installed; to use it: [cad] bundle = "{target}"', markup=False)


@models_app.command("seal")
def seal_model(bundle: BundleArgument) -> None:
    """Finish a bundle of your own: run it on a phantom, keep the marks as golden, write the sha256 of all files."""
    from cmmd_node.cad.sealing import seal  # noqa: PLC0415

    sealed = seal(bundle, _golden_view())
    out.print(f"{sealed.label} is sealed; digest of metadata.json {sealed.digest}", markup=False)


@config_app.command("show")
def show_config(config: ConfigOption = None) -> None:
    """Print the effective settings as JSON, secrets masked."""
    _print_json(load_settings(config).masked())


@config_app.command("check")
def check_config(config: ConfigOption = None) -> None:
    """Say whether the configuration can be used, certificates included."""
    from cmmd_node.tls import check_certificate  # noqa: PLC0415

    check_certificate(load_settings(config))
    out.print("the configuration can be used")


def _load_no_decoders() -> None:
    """pydicom loads every decoder that it finds when it is imported: 20 MB for a role that decodes nothing."""
    for name in ("gdcm", "jpeg_ls", "openjpeg", "PIL"):
        sys.modules[name] = None  # type: ignore[assignment]  # Python's way to say that there is none


def _log(role: str, level: int = logging.INFO) -> None:
    logging.basicConfig(
        level=level, stream=sys.stderr, format=f"%(asctime)s {role} %(levelname)s %(name)s: %(message)s", force=True
    )
    for name in ("pynetdicom", "alembic", "dbos", "highdicom", "pydicom", "uvicorn"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it prints tracebacks of what peers do


def _golden_view() -> GoldenView:
    """A phantom with a mass: what bundles keep to prove themselves on."""
    from cmmd_node.cad.golden import GoldenView  # noqa: PLC0415
    from cmmd_node.facts import Kind, Spacing  # noqa: PLC0415
    from cmmd_node.phantom import make_exam  # noqa: PLC0415
    from cmmd_node.phantom.anatomy import PIXEL_MM  # noqa: PLC0415

    drawn = next(view for view in make_exam(1).views if any(truth.kind is Kind.MASS for truth in view.truths))
    pixels = (drawn.pixels / 255.0).astype("float32")
    return GoldenView(pixels, drawn.view, Spacing(row_mm=PIXEL_MM, column_mm=PIXEL_MM))


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _print_round_trip(came_back: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(came_back)
        return
    out.print(f"The PACS received {len(came_back['objects'])} objects after {came_back['seconds']} s:", markup=False)
    for one in came_back["objects"]:
        out.print(f"  {one['kind']:7} {one['path']}", markup=False)
    out.print("Research software, not a medical device: a phantom is no patient, and neither is a proof.", markup=False)


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


def _print_metrics(metrics: dict[str, Any]) -> None:
    def shown(estimate: dict[str, float | None]) -> str:
        value, low, high = estimate.values()
        return "-" if value is None or low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"

    table = Table("malignancy of breasts", "model", "AUC (95 %)", box=None)
    for part in metrics["malignancy"]["parts"]:
        what = f"{part['name']}: {part['malignant']} of {part['breasts']}"
        for row in part["models"]:
            table.add_row(what, row["model"], shown(row["auc"]))
    out.print(table)
    if metrics["detection"]:
        table = Table("lesions", "model", "found at 0.5 / 1 / 2 false marks per image (95 %)", box=None)
        for kind in metrics["detection"]["kinds"]:
            for row in kind["models"]:
                rates = (shown(row["over_images_with_lesions"][rate]) for rate in ("0.5", "1.0", "2.0"))
                table.add_row(f"{kind['kind']}: {kind['lesions']}", row["model"], " / ".join(rates))
        out.print(table)
    for source in metrics["sources"]:
        out.print(source, markup=False)
    out.print(metrics["disclaimer"], markup=False)


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


if __name__ == "__main__":
    main()
