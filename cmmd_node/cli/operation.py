"""Verbs of an operator: running a node, looking at what it does, mending it."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cmmd_node.cli.console import ConfigOption, JsonOption, log, out, print_json, progress
from cmmd_node.errors import NodeError
from cmmd_node.settings import load_settings

app = typer.Typer()
deliveries_app = typer.Typer(help="What is on the way to the peers, and what is stuck.", invoke_without_command=True)
config_app = typer.Typer(no_args_is_help=True, help="The effective configuration.")
app.add_typer(deliveries_app, name="deliveries")
app.add_typer(config_app, name="config")


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
    log(role)
    if role == "all":
        supervise(settings, config, ROLES)
    elif role == "receive" and settings.receive.processes > 1 and not supervised:
        supervise(settings, config, (role,))
    else:
        run_role(settings, role, number=number, supervised=supervised)


@app.command()
def reindex(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Rebuild the index from the files of the data_dir, while the node is stopped."""
    from cmmd_node.repair import reindex as rebuild  # noqa: PLC0415

    settings = load_settings(config)
    log("reindex", level=logging.WARNING)
    with progress.status("reading the index") as status:
        done = rebuild(settings, tell=status.update)
    if as_json:
        print_json(done)
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
        print_json(found)
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
        print_json(known)
        return
    table = Table("study", "images", "round", "state", "outcome", "reason", "delivered to", box=None)
    are_searched = any(study["priors"] for study in known)
    if are_searched:
        table.add_column("priors")
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
                *([_priors(study["priors"])] if are_searched else []),
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
        print_json(known)
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


def _priors(search: dict[str, Any] | None) -> str:
    """What became of the search for the priors of an exam; empty where there was none."""
    if search is None:
        return ""
    found = "" if search["studies"] is None else f", {search['studies']} studies"
    return f"{search['state']}{found}{': ' if search['problem'] else ''}{search['problem'] or ''}"


@config_app.command("show")
def show_config(config: ConfigOption = None) -> None:
    """Print the effective settings as JSON, secrets masked."""
    print_json(load_settings(config).masked())


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


def _print_round_trip(came_back: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(came_back)
        return
    out.print(f"The PACS received {len(came_back['objects'])} objects after {came_back['seconds']} s:", markup=False)
    for one in came_back["objects"]:
        out.print(f"  {one['kind']:7} {one['path']}", markup=False)
    out.print("Research software, not a medical device: a phantom is no patient, and neither is a proof.", markup=False)
