"""A plain client for tests: websocket-client, a thread that reads, and what it read."""

import json
import socket
import threading
from contextlib import suppress

import websocket


class Reader:
    """Connects, and keeps every message and how the connection ended, until closed.

    `wait` blocks until a condition on what came holds.
    """

    def __init__(self, url, **options):
        self.socket = websocket.create_connection(url, timeout=20, **options)
        self.messages = []
        self.pings = self.pongs = 0
        self.code = None
        self.ended = False
        self.fragments = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="test-reader", daemon=True)
        self._thread.start()

    def _read(self):
        parts = b""
        try:
            while True:
                frame = self.socket.recv_frame()
                with self._changed:
                    if frame.opcode in {websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_CONT}:
                        parts += frame.data
                        self.fragments += 1
                        if frame.fin:
                            self.messages.append(parts)
                            parts = b""
                    elif frame.opcode == websocket.ABNF.OPCODE_PING:
                        self.pings += 1
                    elif frame.opcode == websocket.ABNF.OPCODE_PONG:
                        self.pongs += 1
                    elif frame.opcode == websocket.ABNF.OPCODE_CLOSE:
                        self.code = int.from_bytes(frame.data[:2], "big")
                        self.socket.send_close(self.code)
                    self._changed.notify_all()
        except (OSError, websocket.WebSocketException):
            pass
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def wait(self, condition, timeout_s=15):
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), timeout_s), self.messages[-3:]
        return self

    def wait_end(self):
        return self.wait(lambda reader: reader.ended)

    def say(self, action, params):
        self.socket.send(json.dumps({"action": action, "params": params}))

    def subscribe(self, params, *, key="key"):
        """Authenticate and subscribe, and wait for the first acknowledgement."""
        self.say("auth", key)
        self.wait(lambda reader: "auth_success" in reader.statuses)
        self.say("subscribe", params)
        return self.wait(lambda reader: "success" in reader.statuses)

    @property
    def elements(self):
        """All elements of the messages that parse."""
        found = []
        for message in list(self.messages):
            try:
                found += json.loads(message)
            except ValueError:
                continue
        return found

    @property
    def status_elements(self):
        return [one for one in self.elements if isinstance(one, dict) and one.get("ev") == "status"]

    @property
    def statuses(self):
        return [one["status"] for one in self.status_elements]

    @property
    def data(self):
        """All elements but those of status, malformed ones too."""
        return [one for one in self.elements if not (isinstance(one, dict) and one.get("ev") == "status")]

    def close(self):
        with suppress(OSError, AttributeError):  # the server may have been quicker
            self.socket.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        self._thread.join(5)
        self.socket.shutdown()
