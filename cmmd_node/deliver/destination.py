"""Files to a configured destination, whichever way it takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cmmd_node.deliver.scu import Answer, Outgoing, send
from cmmd_node.deliver.stow import store
from cmmd_node.settings import CHECK_AE_TITLE, CHECK_PEER, DicomwebSettings, PeerSettings, Settings
from cmmd_node.tls import to_peer


def send_to(
    settings: Settings, destination: PeerSettings | DicomwebSettings, files: Sequence[Outgoing]
) -> Iterator[Answer]:
    """Send `files` by C-STORE to a peer or by STOW-RS to an archive; answers come as they arrive.

    Raises
    ------
    PeerFailed, PeerRefused
        As `send` and `store`.
    """
    if isinstance(destination, DicomwebSettings):
        return store(files, destination)
    return send(
        files,
        host=destination.host,
        port=destination.port or 0,
        called_ae_title=destination.ae_title,
        calling_ae_title=CHECK_AE_TITLE if destination.name == CHECK_PEER else settings.node.ae_title,
        tls=to_peer(settings, destination),
    )
