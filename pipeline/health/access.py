"""Who may read and who may change something over HTTP: decided in one place, before any route runs.

Where no token is asked for, a request must bear one of our names (a page that was rebound by DNS bears its
own), and whatever changes something must not come from another site's page. Beyond that:

===================  ==================================  ===========================================
bound to             reading                             changing something
===================  ==================================  ===========================================
loopback             everybody on this machine           with HTTP_TOKEN; everybody here if none is set
anything else        with HTTP_TOKEN; everybody if       with HTTP_TOKEN; nobody if none is set
                     none is set
===================  ==================================  ===========================================

``/livez`` and ``/readyz`` are always open: who probes has no token. A browser gives the token as the password
of HTTP Basic, which is enough to read; to change something it takes a bearer token, which no browser sends by
itself. Whoever has the bearer token is asked nothing else.
"""

import base64
import hmac
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.secret import Secret
from pipeline.shown import json_line

from .answers import PROBLEM_JSON, problem

__all__ = ["Access", "Guard", "Refusal", "is_loopback", "problem_response"]

PROBES: Final = frozenset({"/livez", "/readyz"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]*)?")
REALM: Final = 'realm="Tickbraid", charset="UTF-8"'


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says why a request is not answered.

    Args:
        status: of HTTP.
        title: in short.
        detail: in one sentence, with what to do.
        challenge: what ``WWW-Authenticate`` says, None where credentials would not help.
    """

    status: int
    title: str
    detail: str
    challenge: str | None = None


class Access:
    """Decides on requests; it holds no state, so any thread may ask.

    Args:
        host: what the server is bound to.
        token: HTTP_TOKEN; empty for none.
    """

    def __init__(self, host: str, token: Secret) -> None:
        self._token = token
        self._local = is_loopback(host)
        self._names = {name.lower() for name in (host, socket.gethostname())}

    def may_change(self, token: str) -> bool:
        """Tell whether somebody who gave this token ("" for none) may change something."""
        if self._token:
            return hmac.compare_digest(token.encode(), self._token.reveal().encode())
        return self._local

    def refusal(self, method: str, path: str, headers: Headers) -> Refusal | None:
        """Return why a request is refused, None if it is not.

        Args:
            method: of HTTP; of a WebSocket's handshake ``GET``.
            path: of the URL.
            headers: of the request.
        """
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        scheme, credentials = scheme.lower(), credentials.strip()
        if self._token and scheme == "bearer" and self.may_change(credentials):
            return None
        secured = bool(self._token) and not self._local
        hosts = headers.getlist("host")
        # What takes a token needs no name: a page that was rebound has none to give.
        if len(hosts) != 1 or not (secured or self._is_ours(hosts[0])):
            return Refusal(
                421,
                "Not our name",
                "The Host header names another server: use an IP address, localhost or the name in HTTP_HOST,"
                " or send the token of HTTP_TOKEN as a bearer token.",
            )
        changes = method not in SAFE_METHODS
        if (changes or "upgrade" in headers) and _is_of_another_site(headers, hosts[0]):
            return Refusal(403, "Another site's page", "A page of another site may not do this.")
        if changes:
            return self._refuse_to_change()
        shown = scheme == "basic" and self.may_change(_password(credentials))
        if path in PROBES or not secured or shown:
            return None
        wanted = "Send the token of HTTP_TOKEN, as a bearer token or as a password."
        return Refusal(401, "Token wanted", wanted, f"Basic {REALM}")

    def _refuse_to_change(self) -> Refusal | None:
        if self._token:
            wanted = "Send the token of HTTP_TOKEN as a bearer token."
            return Refusal(401, "Token wanted", wanted, f"Bearer {REALM}")
        if self._local:
            return None
        return Refusal(
            403,
            "No token is set",
            "Nothing can be changed from another machine as long as HTTP_TOKEN is not set.",
        )

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host.lower())
        name = match["name"].strip("[].") if match else ""
        # An address cannot be rebound: there is no name to point elsewhere.
        return name == "localhost" or name in self._names or _is_address(name)


class Guard:
    """Stands before an ASGI application and lets through what `Access` does not refuse.

    Args:
        app: what it stands before.
        access: decides.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; on the server's thread."""
        refusal = None
        if scope["type"] in {"http", "websocket"}:
            headers = Headers(scope=scope)
            refusal = self._access.refusal(scope.get("method", "GET"), scope["path"], headers)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.title})
        else:
            challenge = {"WWW-Authenticate": refusal.challenge} if refusal.challenge else None
            answer = problem_response(refusal.status, refusal.title, refusal.detail, challenge)
            await answer(scope, receive, send)


def problem_response(
    status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return what went wrong as ``application/problem+json``."""
    content = json_line(problem(status, title, detail))
    return Response(content, status, headers, media_type=PROBLEM_JSON)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches what is bound to ``host``."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_of_another_site(headers: Headers, host: str) -> bool:
    """Tell whether a browser sent it for a page of another site; whatever is no browser says neither."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != host


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:  # no base64, or no text in it
        return ""
