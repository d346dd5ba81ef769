"""The HTTP part of a dial: the WebSocket upgrade and a proxy's CONNECT, in bounded bytes and time.

websocket-client makes the upgrade over a `Head`, which ends where the head of the answer does: no body is
read, and no byte of the first frame.
"""

import base64
import http.client
import io
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import websocket

from pipeline.errors import ConnectFailed

from .dial_attempt import Attempt

__all__ = ["Head", "tunnel", "upgrade"]

MAX_HEAD_BYTES: Final = 32 * 1024
YEAR_S: Final = 365 * 86_400.0
"""Any time above is as good as this one, which is finite."""
_STATUS_LINE: Final = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})(?: .*)?", re.DOTALL)
_LOCATION: Final = re.compile(r"\w+://([\w.:-]{1,100})(?:[/?#]|$)", re.ASCII)
"""No more of a redirection than its host is told, and only where it looks like one."""
_PHRASES: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_HINTS: Final = {404: ": is the path of its address right?"}
_PROXY_HINTS: Final = {407: ": it wants a user and password, as http://USER:PASSWORD@HOST:PORT"}


class Answer(NamedTuple):
    """The head of an HTTP answer; the status is 0 where it was none."""

    status: int
    headers: Message

    @property
    def words(self) -> str:
        """The status with the standard's word for it: the server's own is not ours to show."""
        return _PHRASES.get(self.status, str(self.status))


class Head:
    """A socket in the hands of websocket-client: it sends, and reads to the end of the answer's head.

    Args:
        sock: an open socket, plain or TLS.
        attempt: how long it may take.
        peer: whose answer it is, in words.
    """

    def __init__(self, sock: socket.socket, attempt: Attempt, peer: str) -> None:
        self._sock = sock
        self._attempt = attempt
        self._peer = peer
        self._data = bytearray()
        self._complete = False

    def send(self, data: bytes) -> int:
        """Send all of it; return how many bytes that was."""
        self._sock.settimeout(self._attempt.left_s())
        self._sock.sendall(data)
        return len(data)

    def recv(self, _size: int = 1) -> bytes:
        """Return the next byte of the head, none after its end and the peer's.

        Raises:
            CalledOff: nobody wants the WebSocket any more.
            ConnectFailed: it is too large.
            TimeoutError: nothing came in time.
        """
        if self._complete:
            return b""
        self._sock.settimeout(self._attempt.left_s())
        data = self._sock.recv(1)
        self._data += data
        if len(self._data) > MAX_HEAD_BYTES:
            raise ConnectFailed(f"{self._peer} answers with more than {MAX_HEAD_BYTES:,} bytes of headers")
        if data == b"\n":
            self._complete = not self._data[self._data.rfind(b"\n", 0, -1) + 1 :].strip()
        return data

    def gettimeout(self) -> float:
        """Return how much time is left, s."""
        return self._attempt.left_s()

    def close(self) -> None:
        """Leave that to whoever opened the socket."""

    def answer(self) -> Answer:
        """Read what is left of the answer; return it.

        Raises:
            CalledOff: nobody wants the WebSocket any more.
            ConnectFailed: it ends too early, is too large, or no HTTP.
            TimeoutError: it does not end.
        """
        while b"\n" not in self._data and self.recv():
            pass
        if not self._data:
            raise ConnectFailed(f"{self._peer} hung up without an answer")
        first = bytes(self._data).partition(b"\n")[0]
        match = _STATUS_LINE.fullmatch(first.rstrip())
        if match is None:
            raise ConnectFailed(f"{self._peer} does not answer in HTTP: is it another port?")
        while self.recv():  # websocket-client stops where it dislikes a header
            pass
        if not self._complete:
            raise ConnectFailed(f"{self._peer} hung up in the middle of its answer")
        try:
            headers = http.client.parse_headers(io.BytesIO(self._data[len(first) + 1 :]))
        except http.client.HTTPException:  # too many: none is of use to us
            headers = http.client.HTTPMessage()
        return Answer(int(match[1]), headers)


def upgrade(sock: socket.socket, url: str, attempt: Attempt, peer: str) -> None:
    """Make a WebSocket of an open socket.

    Args:
        sock: to the server, plain or TLS.
        url: ws:// or wss://.
        attempt: how long it may take.
        peer: the server in words.

    Raises:
        CalledOff: nobody wants it any more.
        ConnectFailed: the server answered something else.
        TimeoutError: it did not answer in time.
        OSError: the connection broke.
    """
    attempt.awaits = f"{peer} does not answer the WebSocket handshake"
    head = Head(sock, attempt, peer)
    client = websocket.WebSocket(enable_multithread=False)
    # No redirects: the key would follow them.
    options: dict[str, Any] = {"suppress_origin": True, "redirect_limit": 0, "socket": head}
    try:
        client.connect(url, **options)  # type: ignore[no-untyped-call]  # of websocket-client
    except websocket.WebSocketTimeoutException as error:
        raise TimeoutError from error
    except websocket.WebSocketException as error:
        raise _refused(head.answer(), peer, attempt.runtime.clock) from error


def tunnel(sock: socket.socket, host: str, attempt: Attempt, proxy: str, user: str | None) -> None:
    """Have an HTTP proxy connect a socket to a host.

    Args:
        sock: to the proxy.
        host: HOST:PORT.
        attempt: how long it may take.
        proxy: the proxy in words.
        user: USER:PASSWORD where it wants one.

    Raises:
        CalledOff: nobody wants it any more.
        ConnectFailed: the proxy answered something else.
        TimeoutError: it did not answer in time.
        OSError: the connection broke.
    """
    attempt.awaits = f"{proxy} does not answer"
    name = host.encode("idna").decode()
    lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
    if user is not None:
        lines.append("Proxy-Authorization: Basic " + base64.b64encode(user.encode()).decode())
    head = Head(sock, attempt, proxy)
    head.send("\r\n".join([*lines, "", ""]).encode())
    answer = head.answer()
    if not 200 <= answer.status < 300:
        hint = _PROXY_HINTS.get(answer.status, "")
        raise ConnectFailed(f"{proxy} does not connect to {host}, it answers {answer.words}{hint}")


def _refused(answer: Answer, peer: str, clock: Callable[[], int]) -> ConnectFailed:
    status = answer.status
    if status == 101:
        return ConnectFailed(f"{peer} answers {answer.words}, but not as a WebSocket server does")
    if 300 <= status < 400:
        match = _LOCATION.match(answer.headers.get("Location", ""))
        where = f" to {match[1]}" if match else ""
        return ConnectFailed(
            f"{peer} answers {answer.words}: it redirects{where}, which the key must not follow"
        )
    if 200 <= status < 300:
        return ConnectFailed(f"{peer} answers {answer.words}: it is no WebSocket server")
    after_s = _retry_after_s(answer.headers, clock) if status in {429, 503} else None
    return ConnectFailed(f"{peer} answers {answer.words}{_HINTS.get(status, '')}", after_s)


def _retry_after_s(headers: Message, clock: Callable[[], int]) -> float | None:
    """Return how long a server wants to be left alone, s: it says so in seconds or with a date."""
    text = str(headers.get("Retry-After", "")).strip()
    if text.isascii() and text.isdigit():
        return min(float(text), YEAR_S)
    until, sent = _date(text), _date(str(headers.get("Date", "")))
    if until is None:
        return None
    # By the server's own clock where it tells it: ours may be wrong.
    sent = sent or datetime.fromtimestamp(clock() / 1e9, UTC)
    return min(max(0.0, (until - sent).total_seconds()), YEAR_S)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
