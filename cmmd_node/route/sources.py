"""Configured peers and archives as something to fetch from."""

from __future__ import annotations

from typing import Any

from cmmd_node.errors import SettingsError
from cmmd_node.receive.scp import STORAGE_CLASSES, TRANSFER_SYNTAXES
from cmmd_node.retrieve.dicomweb import DicomwebArchive
from cmmd_node.retrieve.dimse import GettingPacs, MovingPacs
from cmmd_node.settings import PeerSettings, Settings
from cmmd_node.tls import to_peer


def source_named(settings: Settings, name: str) -> MovingPacs | GettingPacs | DicomwebArchive:
    """The configured peer or archive of that name, as something to fetch from.

    Raises
    ------
    SettingsError
        There is none, or it cannot be asked.
    """
    archive = next((one for one in settings.dicomweb if one.name == name), None)
    if archive is not None:
        return DicomwebArchive(archive)
    peer = next((one for one in settings.peer if one.name == name), None)
    if peer is None or not (peer.host and peer.port):
        raise SettingsError(f"neither a peer {name} with a host and port nor an archive {name} is configured")
    return pacs_of(settings, peer)


def pacs_of(settings: Settings, peer: PeerSettings) -> MovingPacs | GettingPacs:
    """A peer as something to fetch from."""
    common: dict[str, Any] = {
        "name": peer.name,
        "host": peer.host,
        "port": peer.port,
        "called_ae_title": peer.ae_title,
        "calling_ae_title": settings.node.ae_title,
        "tls": to_peer(settings, peer),
    }
    if peer.retrieve == "move":
        return MovingPacs(**common)
    return GettingPacs(**common, storage_classes=STORAGE_CLASSES, transfer_syntaxes=TRANSFER_SYNTAXES)
