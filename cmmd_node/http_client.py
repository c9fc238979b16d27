"""HTTP requests that we make: who we are there, how long we wait, and failures as a sentence that says whose they are.

Passwords, authorities and proxies come from the configuration alone, and nothing from the environment.
Redirects are not followed, since a login page is no archive; credentials and query strings are in no message.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError as BrokenBody

from cmmd_node import __version__
from cmmd_node.errors import PeerFailed, PeerRefused
from cmmd_node.settings import DicomwebSettings
from cmmd_node.tls import CIPHER_SUITES

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10
#: Between two pieces of an answer, and before its first; more where there is more to prepare.
PROGRESS_SECONDS = 60
SLOWEST_BYTES_PER_SECOND = 200_000
#: How often a request is made that the server is too busy for, and how long it may ask us to wait.
ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 600
_PIECE_BYTES = 1 << 18
#: A token is renewed so long before it ends.
_EARLY_SECONDS = 30
_BUSY = frozenset({429, 503})
_MAY_PASS = frozenset({408, 500, 502, 504, 507, *_BUSY})

Body = Any
"""Bytes, or an object that requests reads; a function that makes one where it may be sent twice."""


class HttpClient:
    """Requests to one server."""

    def __init__(self, name: str, settings: DicomwebSettings | None = None, *, proxy: str = "") -> None:
        """`proxy` is that by which a server without settings is reached."""
        self.name = name
        self._proxy = proxy if settings is None else settings.proxy
        self._login = None if settings is None else _login(name, settings)
        self.session = _Session(self)
        self.session.trust_env = False
        self.session.proxies = {"all": self._proxy} if self._proxy else {}
        self.session.auth = _NoLogin() if self._login is None else self._login
        self.session.headers.update({"User-Agent": f"cmmd-node/{__version__}", "Accept-Encoding": "identity"})
        self.session.mount("https://", _Adapter(None if settings is None or settings.ca is None else str(settings.ca)))

    @contextmanager
    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, params: Any = None
    ) -> Iterator[requests.Response]:
        """A successful answer, to be read piece by piece; a busy server is asked again when it wants to be.

        Raises
        ------
        PeerFailed, PeerRefused
            There is none.
        """
        with self.session.get(url, headers=headers, params=params, stream=True, timeout=_timeout(0)) as answer:
            yield answer

    def post(self, url: str, body: Body, *, headers: Mapping[str, str], size_bytes: int) -> requests.Response:
        """The answer to one attempt, whatever its status; `body` is called for a body as often as one is sent."""
        for renewed in (False, True):
            answer = self.attempt("POST", url, data=body(), headers=headers, timeout=_timeout(size_bytes))
            if answer.status_code != 401 or renewed or self._login is None or not self._login.renew():
                break
        return answer

    def post_form(self, url: str, form: Mapping[str, str]) -> requests.Response:
        """A successful answer to a form, to be read piece by piece; a busy server is asked again as by `get`."""
        return self.patient("POST", url, data=form, stream=True, timeout=_timeout(0))

    def attempt(self, method: str, url: str, **more: Any) -> requests.Response:
        """One request and its answer, whatever its status."""
        more["allow_redirects"] = False
        try:
            return requests.Session.request(self.session, method, url, **more)
        except (requests.RequestException, OSError) as error:
            raise self.failure(error) from error

    def patient(self, method: str, url: str, **more: Any) -> requests.Response:
        """An answer of success; waits where the server is too busy, and logs in anew where it has forgotten us."""
        renewed = False
        for attempt in range(ATTEMPTS):
            answer = self.attempt(method, url, **more)
            if answer.status_code in {200, 204, 206}:
                return answer
            answer.close()
            if answer.status_code == 401 and not renewed and self._login is not None and self._login.renew():
                renewed = True
                continue
            if answer.status_code not in _BUSY or attempt == ATTEMPTS - 1:
                break
            wait_seconds = retry_after(answer)
            if wait_seconds is not None and wait_seconds > LONGEST_WAIT_SECONDS:
                break
            wait_seconds = 2.0**attempt if wait_seconds is None else wait_seconds
            logger.warning("%s is busy (%d); asked again in %.0f s", self.name, answer.status_code, wait_seconds)
            time.sleep(wait_seconds)
        raise self.refusal(answer)

    def pieces(self, answer: requests.Response) -> Iterator[bytes]:
        """The body as it comes, as long as Content-Length says; what was compressed on the way is refused."""
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise PeerFailed(f"{self.name} compressed its answer although we asked it not to")
        try:
            yield from answer.raw.stream(_PIECE_BYTES, decode_content=False)
        except (BrokenBody, OSError) as error:
            raise PeerFailed(f"{self.name} broke off in the middle of an answer") from error

    def whole(self, answer: requests.Response, limit: int) -> bytes:
        """The body at once; one of more than `limit` bytes is refused."""
        body = bytearray()
        for piece in self.pieces(answer):
            body += piece
            if len(body) > limit:
                raise PeerFailed(f"{self.name} answered with more than {limit} bytes where few were expected")
        return bytes(body)

    def refusal(self, answer: requests.Response) -> PeerFailed:
        """What an answer that is no success means; with the time after which to ask again, if the server told one."""
        status = answer.status_code
        words = f"{self.name} answered {status} {answer.reason or ''}".rstrip()
        if status in {401, 403}:
            return PeerRefused(f"{words}: it does not let us in; the credentials in the configuration are wrong")
        if status == 407:
            return PeerRefused(f"{words}: the proxy {self._proxy} wants a user, and we have none")
        if 300 <= status < 400:
            return PeerRefused(
                f"{words}: it sends us elsewhere; the url in the configuration is wrong, or a login page"
            )
        if status in _MAY_PASS:
            failure = PeerFailed(words)
            failure.retry_after_seconds = retry_after(answer)
            return failure
        return PeerRefused(words)

    def failure(self, error: Exception) -> PeerFailed:
        """What a request without an answer means."""
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return PeerRefused(f"{self.name} has no certificate that counts: {cause.verify_message}")
        if isinstance(error, requests.exceptions.SSLError):
            return PeerFailed(f"{self.name} has no secure connection for us")
        if isinstance(error, requests.Timeout):
            return PeerFailed(f"{self.name} did not answer in time")
        if isinstance(error, requests.exceptions.ProxyError):
            return PeerFailed(f"{self.name} cannot be reached by the proxy {self._proxy}, which {_of_proxy(error)}")
        if isinstance(error, requests.ConnectionError):
            return PeerFailed(f"{self.name} cannot be reached, or broke off")
        return PeerFailed(f"{self.name} gave no answer that can be read ({type(error).__name__})")


class _Session(requests.Session):
    """Hands requests, those of dicomweb-client included, to the client's own rules."""

    def __init__(self, client: HttpClient) -> None:
        super().__init__()
        self._client = client

    def request(self, method: str | bytes, url: str | bytes, *arguments: Any, **more: Any) -> requests.Response:
        assert not arguments
        return self._client.patient(str(method), str(url), **more)


class _Adapter(HTTPAdapter):
    """TLS as everywhere in the node: 1.2 with the strong cipher suites, or 1.3; a certificate that counts."""

    def __init__(self, ca: str | None) -> None:
        self._context = ssl.create_default_context(cafile=ca)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_ciphers(":".join(CIPHER_SUITES))
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        return super().proxy_manager_for(proxy, **more, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context knows the authorities; requests would add its own to them."""
        conn.cert_reqs, conn.ca_certs = "CERT_REQUIRED", None


class _Login(AuthBase):
    """A header with each request; `renew` says whether there is a new one to try."""

    def renew(self) -> bool:
        return False


class _NoLogin(_Login):
    def __call__(self, request: Any) -> Any:
        return request


class _Basic(_Login):
    def __init__(self, user: str, password: str) -> None:
        self._basic = HTTPBasicAuth(user.encode(), password.encode())

    def __call__(self, request: Any) -> Any:
        return self._basic(request)


class _Bearer(_Login):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _ClientCredentials(_Login):
    """OAuth 2.0 client credentials (RFC 6749 4.4), as OpenID Connect providers give them to machines."""

    def __init__(self, name: str, settings: DicomwebSettings) -> None:
        self._settings = settings
        self._provider = HttpClient(f"the token service of {name}", proxy=settings.proxy)
        self._provider.session.mount("https://", _Adapter(str(settings.ca) if settings.ca else None))
        self._token, self._until = "", 0.0

    def __call__(self, request: Any) -> Any:
        if time.monotonic() >= self._until:
            self._fetch()
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def renew(self) -> bool:
        self._until = 0.0
        return True

    def _fetch(self) -> None:
        settings = self._settings
        form = {"grant_type": "client_credentials", **({"scope": settings.scope} if settings.scope else {})}
        login = HTTPBasicAuth(settings.client_id, settings.client_secret.get_secret_value())
        answer = self._provider.patient("POST", settings.token_url, data=form, auth=login, timeout=_timeout(0))
        try:
            told = answer.json()
            self._token = str(told["access_token"])
            self._until = time.monotonic() + float(told.get("expires_in", 300)) - _EARLY_SECONDS
        except (ValueError, KeyError, TypeError) as error:
            raise PeerFailed(f"{self._provider.name} gave no access token") from error


def _login(name: str, settings: DicomwebSettings) -> _Login | None:
    if settings.token_url:
        return _ClientCredentials(name, settings)
    if settings.token.get_secret_value():
        return _Bearer(settings.token.get_secret_value())
    if settings.user:
        return _Basic(settings.user, settings.password.get_secret_value())
    return None


def retry_after(answer: requests.Response) -> float | None:
    """Seconds of the Retry-After header (RFC 9110 10.2.3), None without one that can be read."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _timeout(size_bytes: int) -> tuple[float, float]:
    return CONNECT_SECONDS, PROGRESS_SECONDS + size_bytes / SLOWEST_BYTES_PER_SECOND


def _of_proxy(error: requests.exceptions.ProxyError) -> str:
    """What a proxy did instead of connecting us."""
    for cause in _causes(error):
        _, said, answer = str(cause).partition("Tunnel connection failed: ")  # http.client's words
        if type(cause) is OSError and said:
            return f"answered {answer}"
    return "cannot be reached itself"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps, however the libraries wrapped it."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        waiting += [cause for cause in inner if isinstance(cause, BaseException)]
