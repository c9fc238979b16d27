"""Which models a node has: those that come with it, the installed bundles and the one in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmmd_node.cad.detector import model_of
from cmmd_node.errors import BundleRefused
from cmmd_node.settings import BUILTIN, CLASSICAL, Settings

_OURS = (BUILTIN, CLASSICAL)


def inventory(settings: Settings) -> list[dict[str, Any]]:
    """A row for each: ``bundle``, ``in_use``, ``name``, ``version``, ``digest``, ``problem``; plain values for JSON."""
    used, models = settings.cad.bundle, settings.models_dir
    folders = [str(folder) for folder in sorted(models.glob("[!.]*"))] if models.is_dir() else []
    if used not in _OURS and Path(used).absolute() not in {Path(folder).absolute() for folder in folders}:
        folders.append(used)
    return [_row(bundle, in_use=_same(bundle, used)) for bundle in (*_OURS, *folders)]


def _row(bundle: str, *, in_use: bool) -> dict[str, Any]:
    try:
        model = model_of(bundle)
    except BundleRefused as refusal:
        return {"bundle": bundle, "in_use": in_use, "name": "", "version": "", "digest": "", "problem": str(refusal)}
    return {
        "bundle": bundle,
        "in_use": in_use,
        "name": model.name,
        "version": model.version,
        "digest": model.digest,
        "problem": "",
    }


def _same(bundle: str, used: str) -> bool:
    if bundle in _OURS or used in _OURS:
        return bundle == used
    return Path(bundle).absolute() == Path(used).absolute()
