"""The command ``cmmd-node``: one verb for each thing an operator does.

Results go to standard output (``--json`` for machines), logs to standard error. Exit status 0: done, 1: the work
failed, 2: wrong usage or configuration; then one sentence, no traceback.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cmmd_node import __version__
from cmmd_node.cli import collections, models, objects, operation, retrieval
from cmmd_node.cli.console import out, progress
from cmmd_node.errors import NodeError, SettingsError, StartRefused

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A DICOM node for mammography CAD. Research software, not a medical device.",
)
for _family in (operation, retrieval, objects, collections, models):
    app.add_typer(_family.app)


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
