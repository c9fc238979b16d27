"""Making bundles of what a person or `train` put into a folder, and keeping them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cmmd_node.cad.bundle import LICENCE, METADATA, MODEL_CARD, SCHEMA, Bundle, read_bundle, sha256_of_files
from cmmd_node.cad.detector import BundleDetector
from cmmd_node.cad.golden import GoldenView, write_golden
from cmmd_node.errors import BundleRefused, NodeError


def seal(folder: Path, view: GoldenView) -> Bundle:
    """Run the model of a folder on one view, keep its marks as golden and write what the files are now.

    The folder holds metadata.json without ``sha256``, the model, MODEL_CARD.md and LICENSE.

    Raises
    ------
    BundleRefused
        Something is missing or contradicts itself.
    """
    path = folder / METADATA
    if not path.is_file():
        raise BundleRefused(f"model bundle {folder}: there is no {METADATA}")
    for name in (MODEL_CARD, LICENCE):
        if not (folder / name).is_file():
            raise BundleRefused(f"model bundle {folder}: {name} is missing")
    try:
        content: dict[str, Any] = {"schema": SCHEMA, **json.loads(path.read_text())}
    except ValueError as error:
        raise BundleRefused(f"model bundle {folder}: {METADATA} is not JSON: {error}") from error
    write_golden(folder, lambda *_, **__: (), view)
    _write_metadata(folder, content)
    write_golden(folder, BundleDetector(read_bundle(folder), proven=False).marks, view)
    _write_metadata(folder, content)
    bundle = read_bundle(folder)
    BundleDetector(bundle)
    return bundle


def install(bundle: Path, models: Path) -> Path:
    """Copy a bundle that was checked to the folder of installed ones, under its name and version.

    Raises
    ------
    BundleRefused
        It cannot be used.
    NodeError
        That name and version is installed already.
    """
    checked = read_bundle(bundle)
    BundleDetector(checked)
    target = models / f"{checked.metadata.name}-{checked.metadata.version}"
    if target.exists():
        raise NodeError(f"{target} is there already; a changed model needs a new version")
    models.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(bundle, draft)
    draft.replace(target)
    return target


def _write_metadata(folder: Path, content: dict[str, Any]) -> None:
    content = {**content, "sha256": sha256_of_files(folder)}
    (folder / METADATA).write_text(json.dumps(content, indent=2) + "\n")
