"""Who may use DICOMweb: a bearer token (RFC 6750) or basic authentication (RFC 7617), as the settings say."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import math

from fastapi import HTTPException, Request

from cmmd_node.dicomweb.throttle import Throttle
from cmmd_node.dicomweb.urls import sender
from cmmd_node.settings import WebSettings

logger = logging.getLogger(__name__)


class Access:
    """A dependency of every route; nothing of the request's body is read before it has spoken."""

    def __init__(self, settings: WebSettings) -> None:
        self._open = not settings.asks_who
        token, password = settings.token.get_secret_value(), settings.password.get_secret_value()
        self._token = token.encode()
        self._login = f"{settings.user}:{password}".encode() if settings.user else b""
        challenges = [("Bearer", self._token), ("Basic", self._login)]
        self._throttle = Throttle()
        self._challenge = ", ".join(f'{scheme} realm="cmmd-node"' for scheme, secret in challenges if secret)

    def __call__(self, request: Request) -> None:
        """Let the request pass.

        Raises
        ------
        HTTPException
            401: it shows no credentials, or wrong ones; the answer is the same for both. 429: its host has shown wrong
            ones too often, and is not listened to for a while.
        """
        if self._open:
            return
        shown, host = request.headers.get("authorization", ""), sender(request)
        wait = self._throttle.wait_seconds(host) if shown else 0.0
        if wait:
            logger.warning("HTTP request from %s refused: too many wrong credentials before it", host)
            headers = {"Retry-After": str(math.ceil(wait))}
            raise HTTPException(429, "this host has shown wrong credentials too often; it may try again later", headers)
        if self._knows(shown):
            return
        if shown:
            self._throttle.count(host)
        logger.warning("HTTP request from %s refused: no valid credentials", host)
        raise HTTPException(401, "credentials are wanted", {"WWW-Authenticate": self._challenge})

    def _knows(self, header: str) -> bool:
        scheme, _, shown = header.partition(" ")
        if scheme.lower() == "bearer":
            return _same(shown.strip().encode("utf-8", "surrogateescape"), self._token)
        if scheme.lower() == "basic":
            try:
                return _same(base64.b64decode(shown.strip(), validate=True), self._login)
            except (binascii.Error, ValueError):
                return False
        return False


def _same(shown: bytes, secret: bytes) -> bool:
    """In a time that does not depend on where they differ; no secret is like none."""
    return hmac.compare_digest(shown, secret) and bool(secret)
