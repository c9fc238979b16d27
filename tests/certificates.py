"""An authority of the tests' own, and certificates of it in files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import trustme


class Files(NamedTuple):
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates and keeps them in `folder`."""

    def __init__(self, folder: Path, name: str = "hospital") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ca = trustme.CA(organization_name=name)
        self._folder = folder
        self.path = folder / f"{name}-ca.pem"
        self._ca.cert_pem.write_to_path(self.path)

    def issue(self, name: str, *identities: str, days: float = 365, common_name: str | None = None) -> Files:
        """A certificate for servers and clients, named by `identities`; negative `days`: it ended so long ago."""
        now = datetime.now(UTC)
        leaf = self._ca.issue_cert(
            *identities or ("127.0.0.1", "localhost"),
            common_name=common_name,
            not_before=now - timedelta(days=800),
            not_after=now + timedelta(days=days),
        )
        files = Files(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        leaf.private_key_pem.write_to_path(files.key)
        files.certificate.unlink(missing_ok=True)
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(files.certificate, append=True)
        return files


def tls_section(files: Files, authority: Authority | None = None) -> dict[str, Any]:
    """The ``[tls]`` section of a node with that certificate; peers need one of `authority` if it is given."""
    section = {"certificate": str(files.certificate), "key": str(files.key)}
    return section | ({"ca": str(authority.path)} if authority else {})
