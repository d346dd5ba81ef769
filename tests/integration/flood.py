"""A feed that never holds back: it sends numbered trades as fast as TCP takes them, and knows how many."""

import contextlib
import json
import socket
import threading

from pipeline.massive.simulator.wire import FrameReader, answer_upgrade, encode_frame

EACH = 50
"""Trades a message."""


class Flood:
    """Serves one connection; a context manager.

    Args:
        count: trades to send.
        quotes: of so many messages each is followed by as many quotes.
    """

    def __init__(self, count, *, quotes=0):
        self.count = count
        self.quotes = quotes
        self.sent_bytes = 0
        self.trades = 0
        """Of which the last byte has gone to the kernel."""
        self.cut = 0
        """Connections that ended before all was sent."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/stocks"
        self._sock = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        for sock in filter(None, (self._listener, self._sock)):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._thread.join(5)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                self._sock = self._listener.accept()[0]
                with contextlib.suppress(OSError):
                    self._greet(self._sock)
                    self._pour(self._sock)
                    self._sock.recv(1 << 16)
                self.cut += self.trades < self.count

    def _greet(self, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += sock.recv(4096)
        sock.sendall(answer_upgrade(request)[0])
        self._say(sock, "connected", "Connected Successfully")
        reader, subscribed = FrameReader(), False
        while not subscribed:
            for _, payload in reader.feed(sock.recv(4096)):
                asked = json.loads(payload or b"{}")
                if asked.get("action") == "auth":
                    self._say(sock, "auth_success", "authenticated")
                elif asked.get("action") == "subscribe":
                    for channel in asked["params"].split(","):
                        self._say(sock, "success", f"subscribed to: {channel}")
                    subscribed = True

    @staticmethod
    def _say(sock, status, message):
        sock.sendall(
            encode_frame(json.dumps([{"ev": "status", "status": status, "message": message}]).encode())
        )

    def _pour(self, sock):
        for start in range(self.trades, self.count, EACH):
            trades = b",".join(
                b'{"ev":"T","sym":"AAPL","x":4,"i":"%d","z":3,"p":1.5,"s":1,"t":1772000000000,"q":%d}'
                % (n, n)
                for n in range(start, start + EACH)
            )
            quotes = b",".join(
                b'{"ev":"Q","sym":"AAPL","bx":4,"bp":1.5,"bs":1,"ax":4,"ap":1.6,"as":1,"t":1772000000000,"q":%d}'
                % n
                for n in range(start * self.quotes, (start + EACH) * self.quotes)
            )
            for message in filter(None, (trades, quotes)):
                frame = encode_frame(b"[%b]" % message)
                sock.sendall(frame)
                self.sent_bytes += len(frame)
            self.trades = start + EACH
