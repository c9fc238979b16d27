"""What all families of verbs share: where they print, how they log, the options that many of them have."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
progress = Console(stderr=True)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file; default: the one CMMD_NODE_CONFIG names.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


def log(role: str, level: int = logging.INFO) -> None:
    # What no line shows is not looked up for each; the receiver writes one for every image.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.basicConfig(
        level=level, stream=sys.stderr, format=f"%(asctime)s {role} %(levelname)s %(name)s: %(message)s", force=True
    )
    for name in ("pynetdicom", "alembic", "dbos", "highdicom", "pydicom", "uvicorn"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it prints tracebacks of what peers do


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
