"""Verbs for models: measuring, training, model bundles."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cmmd_node.cli.console import ConfigOption, JsonOption, log, out, print_json, progress
from cmmd_node.settings import load_settings

if TYPE_CHECKING:
    from cmmd_node.cad.golden import GoldenView

app = typer.Typer()
models_app = typer.Typer(no_args_is_help=True, help="Model bundles: what is installed, and whether it can be used.")
app.add_typer(models_app, name="models")

BundleArgument = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The folder of a bundle.")]
BundleName = Annotated[str, typer.Argument(help="builtin, or the folder of a bundle.")]


@app.command()
def evaluate(
    manifest: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV file: images and labels.")],
    *,
    out_dir: Annotated[Path, typer.Option("--out", help="Where report.html, metrics.json and answers go.")],
    bundle: Annotated[str, typer.Option(help="The model: builtin, classical, or the folder of a bundle.")] = "builtin",
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

    log("evaluate", level=logging.WARNING)
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
        print_json(metrics)
    else:
        _print_metrics(metrics)
        out.print(f"wrote {out_dir / 'report.html'}", markup=False)


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
    left_out: Annotated[
        int | None, typer.Option(min=0, help="Fold that is not looked at, to be measured on afterwards.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often each image is seen.")] = 30,
    map_epochs: Annotated[
        int, typer.Option(min=0, help="The same for the first turn of maps of masses; 0: without any.")
    ] = 40,
    members: Annotated[int, typer.Option(min=1, help="How many of each network; they answer the mean.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    processes: Annotated[int, typer.Option(min=0, help="That prepare images, and draw for a GPU; 0: one a core.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="As torch names it: cpu, cuda; default: a GPU where torch finds one.")
    ] = None,
) -> None:
    """Train on outlined or labelled images, and pack the networks as a bundle that is ready to install."""
    from cmmd_node.train.fit import Recipe  # noqa: PLC0415
    from cmmd_node.train.fit_map import MapRecipe  # noqa: PLC0415
    from cmmd_node.train.packing import About  # noqa: PLC0415
    from cmmd_node.train.train import Step, train_bundle  # noqa: PLC0415

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
            _golden_view(),
            recipe=Recipe(epochs=epochs, seed=seed),
            map_recipe=MapRecipe(epochs=map_epochs, seed=seed) if map_epochs else None,
            members=members,
            work=work,
            held_out=held_out,
            left_out=left_out,
            processes=processes or os.cpu_count() or 1,
            device=device,
            tell=tell,
        )
    out.print(f"{bundle.label} is in {bundle.folder}", markup=False)


@models_app.command("list")
def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The models that come with the node and the installed bundles; what cannot be used, and why."""
    from cmmd_node.cad.inventory import inventory  # noqa: PLC0415

    rows = inventory(load_settings(config))
    if as_json:
        print_json(rows)
        return
    table = Table("in use", "bundle", "model", "version", "digest", "problem", box=None)
    for row in rows:
        digest = (row["digest"] or "")[:12]
        table.add_row("*" if row["in_use"] else "", row["bundle"], row["name"], row["version"], digest, row["problem"])
    out.print(table)


@models_app.command("show")
def show_model(bundle: BundleName) -> None:
    """What a bundle says of itself: its verified metadata, for people and machines."""
    from cmmd_node.cad.bundle import bundle_named  # noqa: PLC0415

    print_json(bundle_named(bundle).metadata.model_dump(mode="json", by_alias=True))


@models_app.command("check")
def check_model(bundle: BundleName) -> None:
    """Verify every file of a bundle, open the model and let it repeat its golden marks."""
    from cmmd_node.cad import open_detector  # noqa: PLC0415

    model = open_detector(bundle).model
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


def _golden_view() -> GoldenView:
    """A phantom with a mass: what bundles keep to prove themselves on."""
    from cmmd_node.cad.golden import GoldenView  # noqa: PLC0415
    from cmmd_node.facts import Kind, Spacing  # noqa: PLC0415
    from cmmd_node.phantom import make_exam  # noqa: PLC0415
    from cmmd_node.phantom.anatomy import PIXEL_MM  # noqa: PLC0415

    drawn = next(view for view in make_exam(1).views if any(truth.kind is Kind.MASS for truth in view.truths))
    pixels = (drawn.pixels / 255.0).astype("float32")
    return GoldenView(pixels, drawn.view, Spacing(row_mm=PIXEL_MM, column_mm=PIXEL_MM))


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
