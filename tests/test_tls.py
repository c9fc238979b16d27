"""Our own certificate, proven before the node starts, and whose certificate a peer's is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cmmd_node.errors import StartRefused
from cmmd_node.settings import Settings
from cmmd_node.tls import Certificate, check_certificate
from cmmd_node.web.health import warnings
from tests.certificates import Authority, tls_section
from tests.conftest import MakeSettings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.mark.parametrize("mutual", [False, True])
def test_a_sound_certificate_is_proven_and_its_end_is_known(
    make_settings: MakeSettings, authority: Authority, tmp_path: Path, mutual: bool
) -> None:
    # Its own C-ECHO works whoever signed it: what counts for peers may be another authority.
    ours = Authority(tmp_path / "pki", "public").issue("node", days=100)
    ends = check_certificate(make_settings(tls=tls_section(ours, authority if mutual else None)))
    assert ends is not None
    assert timedelta(days=99) < ends - datetime.now(UTC) < timedelta(days=101)


def test_without_a_certificate_there_is_nothing_to_prove(settings: Settings) -> None:
    assert check_certificate(settings) is None


@pytest.mark.fault("A11")
def test_an_expired_certificate_refuses_the_start(make_settings: MakeSettings, authority: Authority) -> None:
    with pytest.raises(StartRefused, match=r"node\.pem: certificate has expired"):
        check_certificate(make_settings(tls=tls_section(authority.issue("node", days=-1))))


@pytest.mark.fault("A11")
def test_a_key_of_another_certificate_refuses_the_start(make_settings: MakeSettings, authority: Authority) -> None:
    mixed = authority.issue("node")._replace(key=authority.issue("other").key)
    with pytest.raises(StartRefused, match=r"other\.key is not .* private key .* key values mismatch"):
        check_certificate(make_settings(tls=tls_section(mixed)))


@pytest.mark.parametrize("which", ["certificate", "key", "ca"])
def test_a_file_that_is_missing_or_something_else_refuses_the_start(
    make_settings: MakeSettings, authority: Authority, tmp_path: Path, which: str
) -> None:
    section = tls_section(authority.issue("node"), authority)
    with pytest.raises(StartRefused, match=f"tls.{which} /nowhere cannot be read"):
        check_certificate(make_settings(tls={**section, which: "/nowhere"}))
    (tmp_path / "text").write_text("no PEM")
    with pytest.raises(StartRefused, match=f"tls.{which} .*text") as refusal:
        check_certificate(make_settings(tls={**section, which: str(tmp_path / "text")}))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("days", "told"), [(20, True), (40, False), (None, False)])
def test_health_warns_thirty_days_before_the_end(settings: Settings, days: int | None, told: bool) -> None:
    ends = None if days is None else datetime.now(UTC) + timedelta(days=days)
    assert any("tls.certificate ends on" in one for one in warnings(settings, ends)) == told


@pytest.mark.parametrize(("host", "told"), [("0.0.0.0", True), ("192.0.2.1", True), ("127.0.0.1", False)])
def test_health_says_that_other_machines_come_in_without_tls(
    make_settings: MakeSettings, authority: Authority, host: str, told: bool
) -> None:
    assert any("without TLS" in one for one in warnings(make_settings(receive={"host": host}), None)) == told
    secured = make_settings(receive={"host": host}, tls=tls_section(authority.issue("node")))
    assert warnings(secured, None) == []


def test_a_certificate_is_known_by_name_or_fingerprint() -> None:
    one = Certificate(frozenset({"pacs.example", "192.0.2.7"}), "ab" * 32)
    assert one.is_of("PACS.example")
    assert one.is_of("192.0.2.7")
    assert one.is_of("ab" * 32)
    assert not one.is_of("example")
    assert not one.is_of("cd" * 32)
