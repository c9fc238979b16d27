"""The configuration: a TOML file and ``CMMD_NODE_<SECTION>__<KEY>`` variables, read once, frozen, handed down.

Nothing else in the package reads the environment. The commented file to copy is ``config/cmmd-node.toml``; a test
compares it with these classes.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableVariable
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from cmmd_node.errors import SettingsError
from cmmd_node.facts import USUAL_FORMS, Analysis, Codes, Form

CONFIG_VARIABLE = "CMMD_NODE_CONFIG"
_PREFIX, _DELIMITER = "CMMD_NODE_", "__"
#: Keys whose values no message repeats.
_SECRETS = frozenset({"token", "password", "client_secret"})


def _ae_title(value: str) -> str:
    """PS3.5 6.2, AE: 1 to 16 characters of the default repertoire, no backslash, no control characters."""
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", value):
        raise ValueError(f"an AE title has 1 to 16 ASCII characters and no backslash; {value!r} has not")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
        raise ValueError(f"a name has 1 to 64 letters, digits, dots, dashes and underscores; {value!r} has not")
    return value


def _peer_certificate(value: str) -> str:
    """A SHA-256 fingerprint as 64 lower-case digits, however it was written; a name as it is."""
    digits = value.casefold().removeprefix("sha256:").replace(":", "")
    return digits if re.fullmatch(r"[0-9a-f]{64}", digits) else value


def _proxy(value: str) -> str:
    """An HTTP proxy by host and port, or none."""
    parts = urlsplit(value)
    if parts.username or parts.password:
        raise ValueError("holds a user; proxies that ask for one cannot be used")
    if value and not (parts.hostname and parts.port and value.rstrip("/") == f"http://{parts.netloc}"):
        raise ValueError("is no address of a proxy; http://HOST:PORT is wanted")
    return value


AETitle = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_ae_title)]
Name = Annotated[str, AfterValidator(_name)]
PeerCertificate = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_peer_certificate)]
ProxyUrl = Annotated[str, AfterValidator(_proxy)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Megabytes = Annotated[int, Field(ge=1)]

#: The AE title under which ``check`` and the health page talk to their own node, from loopback only.
CHECK_AE_TITLE = "CMMD_NODE_CHECK"
CHECK_PEER = "self-check"
#: The source of what was fetched as a prior, in the index and in the files; no peer may call itself so.
PRIOR_SOURCE = "CMMD_NODE_PRIOR"


def _is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens there."""
    return host in {"localhost", "::1"} or host.startswith("127.")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeSettings(_Section):
    """Who the node is and where it keeps things."""

    ae_title: AETitle = "CMMD_NODE"
    data_dir: Path = Path("./cmmd-node-data")
    database_url: str = ""
    keep_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    check_port: Port = 11119
    proxy: ProxyUrl = ""

    @field_validator("database_url")
    @classmethod
    def _is_a_database_we_know(cls, value: str) -> str:
        if not value:
            return value
        try:
            backend = make_url(value).drivername
        except ArgumentError:
            raise ValueError("is no database URL; postgresql+psycopg://USER:PASSWORD@HOST/DATABASE is wanted") from None
        if backend != "postgresql+psycopg":
            raise ValueError(f"names {backend}; postgresql+psycopg, or nothing for SQLite in data_dir, is wanted")
        return value


class ReceiveSettings(_Section):
    """The C-STORE SCP: where it listens, whom it takes, its limits."""

    host: str = "127.0.0.1"
    port: Port = 11112
    accept: Literal["known", "any"] = "known"
    processes: Annotated[int, Field(ge=1, le=16)] = 1
    associations: Annotated[int, Field(ge=1, le=200)] = 20
    associations_per_host: Annotated[int, Field(ge=0, le=200)] = 0
    pdu_bytes: Annotated[int, Field(ge=4096, le=1048576)] = 131072
    association_seconds: Seconds = 5
    pdu_seconds: Seconds = 30
    idle_seconds: Seconds = 60
    object_seconds: Seconds = 3600
    object_limit_mb: Megabytes = 2048
    depth_limit: Annotated[int, Field(ge=8, le=100)] = 60
    element_limit: Annotated[int, Field(ge=1000, le=5_000_000)] = 50_000
    reserve_mb: Megabytes = 1024


class TLSSettings(_Section):
    """The node's certificate for DICOM over TLS, and whose certificates count."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> TLSSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key are wanted together")
        return self


class WebSettings(_Section):
    """HTTP: health, metrics and DICOMweb; where it listens, whom it lets in, its limits."""

    host: str = "127.0.0.1"
    port: Port = 8080
    url: str = ""
    token: SecretStr = SecretStr("")
    user: str = ""
    password: SecretStr = SecretStr("")
    connections: Annotated[int, Field(ge=1, le=1000)] = 100
    header_seconds: Seconds = 20
    idle_seconds: Seconds = 60
    request_seconds: Seconds = 3600
    request_limit_mb: Megabytes = 20480
    results: Annotated[int, Field(ge=1, le=10000)] = 1000

    @property
    def asks_who(self) -> bool:
        """Whether DICOMweb wants a token, or a user and password."""
        return bool(self.token.get_secret_value() or self.user)

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./~-]*)?", value, re.ASCII):
            raise ValueError("a URL like https://node.hospital.example/dicom-web is wanted, or nothing")
        return value

    @model_validator(mode="after")
    def _guarded(self) -> WebSettings:
        if bool(self.user) != bool(self.password.get_secret_value()):
            raise ValueError("user and password are wanted together")
        if ":" in self.user or not (self.user + self.password.get_secret_value()).isprintable():
            raise ValueError("user has a colon, or user or password a control character; neither can be sent")
        if not re.fullmatch(r"[A-Za-z0-9._~+/-]*=*", self.token.get_secret_value()):
            raise ValueError("token has characters that a bearer token cannot have (RFC 6750 2.1)")
        if not self.asks_who and not _is_loopback(self.host):
            raise ValueError(
                f"host is {self.host}, which other machines reach, and anybody there could read and store images over "
                "DICOMweb; set token, or user and password, or leave host on 127.0.0.1"
            )
        return self


class SettleSettings(_Section):
    """When an exam counts as complete."""

    quiet_seconds: Seconds = 20
    complete_seconds: Seconds = 1
    limit_seconds: Seconds = 900

    @model_validator(mode="after")
    def _in_order(self) -> SettleSettings:
        if not self.complete_seconds <= self.quiet_seconds <= self.limit_seconds:
            raise ValueError("complete_seconds <= quiet_seconds <= limit_seconds is wanted")
        return self


#: The words for the models that come with the program: networks, and the detector that needs none.
BUILTIN, CLASSICAL = "builtin", "classical"


class CadSettings(_Section):
    """Which model speaks, and with how many processes."""

    bundle: str = BUILTIN
    analyses: tuple[Analysis, ...] = (Analysis.DETECTION,)
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    view_seconds: Seconds = 120

    @field_validator("bundle")
    @classmethod
    def _there(cls, value: str) -> str:
        if value not in (BUILTIN, CLASSICAL) and not (Path(value) / "metadata.json").is_file():
            ours = f"{BUILTIN!r} nor {CLASSICAL!r}"
            raise ValueError(f"{value!r} is neither {ours} nor the folder of a model bundle, with a metadata.json")
        return value

    @field_validator("analyses")
    @classmethod
    def _detects(cls, value: tuple[Analysis, ...]) -> tuple[Analysis, ...]:
        if Analysis.DETECTION not in value:
            raise ValueError("detection cannot be left out: everything else is said of what was detected")
        return value


class DeliverSettings(_Section):
    """How long and how often a result is tried."""

    retry_seconds: Seconds = 2
    retry_limit_seconds: Seconds = 900
    give_up_hours: Annotated[float, Field(gt=0, le=8760)] = 72


class PriorsSettings(_Section):
    """Earlier mammograms of the patient of an exam: where they are fetched from, and how many."""

    source: str = ""
    studies: Annotated[int, Field(ge=1, le=20)] = 2
    years: Annotated[int, Field(ge=1, le=50)] = 5
    limit_seconds: Seconds = 1800


class PeerSettings(_Section):
    """A DICOM AE that may send to us, may be sent to, or both."""

    name: Name
    ae_title: AETitle
    host: str = ""
    port: Port | None = None
    tls: bool = False
    certificate: PeerCertificate = ""
    results: tuple[Form, ...] = ()
    codes: Codes = Codes.SCT
    commitment: bool = False
    retrieve: Literal["move", "get"] = "move"

    @property
    def can_be_sent_to(self) -> bool:
        """Whether it is known where it listens."""
        return bool(self.host and self.port)

    @property
    def certificate_is_fingerprint(self) -> bool:
        """Whether `certificate` is a SHA-256 fingerprint, not a name."""
        return re.fullmatch(r"[0-9a-f]{64}", self.certificate) is not None

    @model_validator(mode="after")
    def _reachable(self) -> PeerSettings:
        if self.results and not (self.host and self.port):
            raise ValueError(f"peer {self.name} is to get results but has no host and port")
        if self.commitment:
            raise ValueError(f"peer {self.name}: commitment is not offered by this version; set it to false")
        return self


class DicomwebSettings(_Section):
    """An archive over HTTP: to fetch from, to send to, or both."""

    name: Name
    url: str
    results: tuple[Form, ...] = ()
    codes: Codes = Codes.SCT
    token: SecretStr = SecretStr("")
    user: str = ""
    password: SecretStr = SecretStr("")
    token_url: str = ""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    scope: str = ""
    ca: Path | None = None
    proxy: ProxyUrl = ""

    @property
    def can_be_sent_to(self) -> bool:
        """It has a url, or there is no such section."""
        return True

    @field_validator("url", "token_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment):
            raise ValueError("is no http or https URL without query")
        if parts.username or parts.password:
            raise ValueError("holds a user; user and password have keys of their own")
        return value

    @model_validator(mode="after")
    def _usable(self) -> DicomwebSettings:
        if not self.url:
            raise ValueError(f"archive {self.name} has no url")
        client = (self.token_url, self.client_id, self.client_secret.get_secret_value())
        if any(client) != all(client):
            raise ValueError(f"archive {self.name}: token_url, client_id and client_secret are wanted together")
        if bool(self.user) != bool(self.password.get_secret_value()):
            raise ValueError(f"archive {self.name}: user and password are wanted together")
        ways = [bool(self.token.get_secret_value()), bool(self.user), any(client)]
        if sum(ways) > 1:
            raise ValueError(f"archive {self.name}: one of token, user and token_url is wanted, not several")
        for url in (self.url, self.token_url):
            parts = urlsplit(url)
            if any(ways) and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
                raise ValueError(f"archive {self.name}: credentials would cross the network in clear text; use https")
        return self


class Settings(BaseSettings):
    """All sections together, frozen."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=_PREFIX,
        env_nested_delimiter=_DELIMITER,
        nested_model_default_partial_update=True,
    )

    node: NodeSettings = NodeSettings()
    receive: ReceiveSettings = ReceiveSettings()
    tls: TLSSettings = TLSSettings()
    web: WebSettings = WebSettings()
    settle: SettleSettings = SettleSettings()
    cad: CadSettings = CadSettings()
    deliver: DeliverSettings = DeliverSettings()
    priors: PriorsSettings = PriorsSettings()
    peer: tuple[PeerSettings, ...] = ()
    dicomweb: tuple[DicomwebSettings, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which comes in as keyword arguments."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        names = [peer.name for peer in self.peer] + [archive.name for archive in self.dicomweb]
        for name in names:
            if names.count(name) > 1 or name in {CHECK_PEER, PRIOR_SOURCE}:
                raise ValueError(f"the name {name} is given twice or reserved; names of peers must differ")
        for peer in self.peer:
            if peer.ae_title in {CHECK_AE_TITLE, PRIOR_SOURCE}:
                raise ValueError(f"peer {peer.name}: the AE title {peer.ae_title} is reserved for the node itself")
            if peer.certificate and self.tls.ca is None:
                raise ValueError(
                    f"peer {peer.name}: its certificate is only checked where tls.ca says which authorities count"
                )
            own = {self.receive.host, self.own_host, "localhost", "127.0.0.1", "::1"}
            if peer.results and peer.port == self.receive.port and peer.host in own:
                raise ValueError(f"peer {peer.name} is this node itself; its results would come back for ever")
        self._check_priors()
        ports = [self.receive.port, self.web.port, self.node.check_port]
        if len(set(ports)) < len(ports):
            raise ValueError(f"receive.port, web.port and node.check_port must differ, not be {ports}")
        return self

    def _check_priors(self) -> None:
        """After a C-MOVE a prior would come in by the front door, where nobody can tell it from an exam."""
        name = self.priors.source
        peer = next((one for one in self.peer if one.name == name), None)
        if peer is not None and not (peer.can_be_sent_to and peer.retrieve == "get"):
            raise ValueError(f'priors.source is {name}, which needs a host, a port and retrieve = "get"')
        if name and peer is None and all(archive.name != name for archive in self.dicomweb):
            raise ValueError(f"priors.source is {name}; the name of a [[peer]] or [[dicomweb]] is wanted")

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the index."""
        return self.node.database_url or f"sqlite:///{self.node.data_dir.absolute() / 'index.sqlite'}"

    @property
    def own_host(self) -> str:
        """Where this machine reaches its own receiver."""
        return "127.0.0.1" if self.receive.host in {"", "0.0.0.0", "::"} else self.receive.host

    @property
    def openness(self) -> str | None:
        """What the administrator should know who lets other machines in without TLS; None when nobody does."""
        if self.tls.certificate is not None or _is_loopback(self.receive.host):
            return None
        return (
            f"{self.receive.host}:{self.receive.port} takes associations without TLS: images cross the network in "
            "clear text, and AE titles and hosts are all that tells peers apart; tls.certificate would change that"
        )

    @property
    def http_openness(self) -> str | None:
        """The same of HTTP, which has no TLS; None when only this machine reaches it."""
        if _is_loopback(self.web.host):
            return None
        return (
            f"{self.web.host}:{self.web.port} speaks HTTP without TLS: images and credentials cross the network in "
            "clear text; a proxy with TLS in front, and web.host on loopback, would change that"
        )

    @property
    def check_peer(self) -> PeerSettings:
        """The stand-in of ``check``: gets the results of the exams it sent itself, and no others."""
        return PeerSettings(
            name=CHECK_PEER, ae_title=CHECK_AE_TITLE, host="127.0.0.1", port=self.node.check_port, results=USUAL_FORMS
        )

    @property
    def models_dir(self) -> Path:
        """Where installed model bundles are."""
        return self.node.data_dir / "models"

    def peer_named(self, name: str) -> PeerSettings | None:
        """The peer of that name, the self-check included; None when nobody has it."""
        return next((peer for peer in (*self.peer, self.check_peer) if peer.name == name), None)

    def destination_named(self, name: str) -> PeerSettings | DicomwebSettings | None:
        """The peer or archive of that name, as somewhere to send to; None when nobody has it."""
        return self.peer_named(name) or next((archive for archive in self.dicomweb if archive.name == name), None)

    def masked(self) -> dict[str, Any]:
        """Plain values for people and logs, with secrets masked."""
        values = self.model_dump(mode="json")
        if self.node.database_url:
            values["node"]["database_url"] = make_url(self.node.database_url).render_as_string(hide_password=True)
        return values


def load_settings(path: Path | None = None) -> Settings:
    """Read the configuration from `path`, else from the file that ``CMMD_NODE_CONFIG`` names, else the defaults.

    Raises
    ------
    SettingsError
        The file is missing or no TOML, a key or variable is unknown (the nearest known one is named), or a value is
        not usable.
    """
    if path is None and os.environ.get(CONFIG_VARIABLE):
        path = Path(os.environ[CONFIG_VARIABLE])
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"configuration {path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"configuration {path} is no TOML: {error}") from error
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except UnreadableVariable as error:
        raise SettingsError(f"the environment: {error}; a list or a whole section is wanted as JSON") from error
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from error


def _refuse_unknown_variables() -> None:
    """Keys of a known section are checked like those of the file; of an unknown section nobody else would tell."""
    for variable in os.environ:
        prefix, _, rest = variable.partition(_PREFIX)
        section, delimiter, _ = rest.lower().partition(_DELIMITER)
        if not prefix and delimiter and section not in Settings.model_fields:
            near = difflib.get_close_matches(section, Settings.model_fields, n=1)
            hint = f"; did you mean {_PREFIX}{near[0].upper()}{_DELIMITER}?" if near else ""
            raise SettingsError(f"environment: {variable} names no known section{hint}")


def _sentence(error: ValidationError) -> str:
    """The first complaint of pydantic as a sentence that names the key; unknown keys before what they leave missing."""
    complaints = error.errors(include_url=False)
    first = min(complaints, key=lambda one: one["type"] != "extra_forbidden")
    where = [str(part) for part in first["loc"]]
    key = ".".join(where)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], _keys_at(where[:-1]), n=1)
        hint = f"; did you mean {'.'.join([*where[:-1], near[0]])}?" if near else ""
        return f"configuration: {key} is not a known key{hint}"
    if first["type"] == "tuple_type":
        return f"configuration: {key}: a list is wanted; in the file, a table under [[{key}]] for each entry"
    message = re.sub(r"^(Value error|Input), ?", "", first["msg"])
    if first["type"] != "value_error" and not isinstance(first.get("input"), dict) and not _SECRETS & set(where):
        message = f"{message}, not {first['input']!r}"
    return f"configuration: {key}: {message}" if key else f"configuration: {message}"


def _keys_at(where: list[str]) -> list[str]:
    """The known keys of the section that `where` leads to; list positions are stepped over."""
    model: type[BaseModel] = Settings
    for part in where:
        if part in model.model_fields:
            annotation = model.model_fields[part].annotation
            inner = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type)]
            model = next((one for one in inner if issubclass(one, BaseModel)), model)
    return list(model.model_fields)
