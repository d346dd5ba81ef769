"""A Redis server on the simulated network: what it took, when, and whether its client could know."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hiredis

from tests.simulation.listener import Listener

__all__ = ["Published", "Redis", "RedisLink"]

WRITES = frozenset({b"PUBLISH", b"SET", b"HSET", b"DEL"})
WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
OK = b"+OK\r\n"
UNFINISHED = object()


class Published:
    """A message that the server took.

    Args:
        channel: where to.
        message: what.
        at_ns: when, true time.
        link: over which connection it came.
    """

    __slots__ = ("_link", "_reply_end", "at_ns", "channel", "message")

    def __init__(self, channel: str, message: bytes, at_ns: int, link: "RedisLink") -> None:
        self.channel = channel
        self.message = message
        self.at_ns = at_ns
        self._link = link
        self._reply_end: int | None = None

    def answer(self, end: int) -> None:
        """Note at which offset of what the server sent its reply ends."""
        self._reply_end = end

    @property
    def is_answered(self) -> bool:
        """Whether the client has read the reply."""
        return self._reply_end is not None and self._reply_end <= self._link.tcp.read_bytes

    @property
    def connection(self) -> int:
        """The number of its TCP connection."""
        return self._link.tcp.number


class Reply(NamedTuple):
    """An answer, and the message it is about, where it is about one that was taken."""

    data: bytes
    published: Published | None = None


class RedisLink:
    """One connection of a client: its commands in, its replies out, in order."""

    def __init__(self, server: "Redis", tcp: Any) -> None:
        self._server = server
        self._kernel = server.kernel
        self._reader = hiredis.Reader(notEnoughData=UNFINISHED)
        self._commands: deque[list[bytes]] = deque()
        self._due_ns = 0
        """When the last reply goes out that is late."""
        self.tcp = tcp
        self.is_gone = False
        self.is_mute = False
        self.is_half_open = False
        self.breaks_off = False
        """Whether it is cut in the middle of its next reply."""
        self.is_trusted = not server.password
        tcp.on_data = self._on_data
        tcp.on_end = self._on_end

    def _on_data(self, data: bytes) -> None:
        if self.is_gone:
            return
        self._reader.feed(data)
        try:
            while (command := self._reader.gets()) is not UNFINISHED:
                if isinstance(command, list) and command:
                    self._commands.append(command)
        except hiredis.ProtocolError:
            self._send([Reply(b"-ERR Protocol error\r\n")])
            self.close()
            return
        self.work()

    def _on_end(self) -> None:
        self.is_gone = True
        self._server.links.pop(self, None)

    def work(self) -> None:
        """Carry out what has come, unless the server hangs."""
        if self._server.is_hung:
            self._server.effects["commands held up"] += bool(self._commands)
            return
        replies = []
        while self._commands:
            replies.append(self._server.execute(self, self._commands.popleft()))
        if not replies:
            return
        now_ns = self._kernel.now_ns
        due_ns = max(self._due_ns, now_ns + int(self._server.reply_delay_s * 1e9))
        if due_ns > now_ns:
            self._due_ns = due_ns
            self._server.effects["replies late"] += len(replies)
            self._kernel.at((due_ns - now_ns) / 1e9, self._send, replies)
        else:
            self._send(replies)

    def _send(self, replies: Sequence[Reply]) -> None:
        data = b"".join([reply.data for reply in replies])
        if self.is_gone or self.is_mute:
            self._server.effects["replies lost"] += len(replies)
        elif self.breaks_off:
            kept = max(1, len(data) // 2)
            self._server.effects["replies cut"] += 1
            self._note(replies, kept)
            self.tcp.send(data[:kept])
            self.close()
        else:
            self._note(replies, len(data))
            self.tcp.send(data)

    def _note(self, replies: Sequence[Reply], kept_bytes: int) -> None:
        begin, size = self.tcp.sent_bytes, 0
        for reply in replies:
            size += len(reply.data)
            if reply.published and size <= kept_bytes:
                reply.published.answer(begin + size)

    def close(self) -> None:
        """End the connection in order, behind what was sent."""
        if not self.is_gone:
            self._on_end()
            self._server.effects["connections ended"] += 1
            self.tcp.close()

    def abort(self) -> None:
        """Reset the connection: what is on its way is lost. Over a cut link nobody learns of it."""
        if not self.is_gone:
            self._on_end()
            self._server.effects["connections ended"] += 1
            self._server.effects["bytes lost"] += self.tcp.unread_bytes
            if not self.is_half_open:
                self.tcp.abort()

    def go_half_open(self) -> None:
        """From now on nothing goes either way, and nobody is told."""
        self.is_half_open = True
        self.tcp.half_open()


class Redis:
    """A Redis server that takes messages and a few keys.

    Args:
        kernel: time.
        network: where it listens.
        port: on which.
        password: that clients must show; none is needed where it is empty.
        receivers: how many clients listen to each channel.

    Attributes:
        published: what it took, in order; restarts forget nothing of it.
        links: the connections that are there, in the order of arrival.
        effects: what went wrong, counted as it happens.
        refusal: what it says to whoever writes, empty where it takes it.
        forbidden: channels that nobody may publish to.
        is_hung: whether it carries out nothing of what comes.
        reply_delay_s: how late it answers.
    """

    def __init__(
        self, kernel: Any, network: Any, *, port: int = 6379, password: str = "", receivers: int = 1
    ) -> None:
        self.kernel = kernel
        self.password = password
        self.published: list[Published] = []
        self.commands: Counter[str] = Counter()
        self.links: dict[RedisLink, None] = {}
        self.effects: Counter[str] = Counter()
        self.refusal = b""
        self.forbidden: frozenset[str] = frozenset()
        self.is_hung = False
        self.reply_delay_s = 0.0
        self._receivers = receivers
        self._values: dict[bytes, bytes | dict[bytes, bytes]] = {}
        self.listener = Listener(kernel, network, port, self._accept)

    # --- up and down

    def _accept(self, tcp: Any) -> None:
        self.links[RedisLink(self, tcp)] = None

    def go_down_for(self, seconds: float) -> None:
        """Reset all connections, forget all keys, and refuse connections for a while."""
        self._values.clear()
        for link in tuple(self.links):
            link.abort()
        self.listener.close_for(seconds)

    def go_on(self) -> None:
        """Hang no more: carry out what has come meanwhile."""
        self.is_hung = False
        for link in tuple(self.links):
            link.work()

    # --- commands

    def execute(self, link: RedisLink, command: list[bytes]) -> Reply:
        """Carry out a command of a client."""
        name, *arguments = command
        name = bytes(name).upper()
        self.commands[name.decode(errors="replace")] += 1
        if not link.is_trusted and name not in {b"AUTH", b"HELLO"}:
            return Reply(b"-NOAUTH Authentication required.\r\n")
        if self.refusal and (name in WRITES or self.refusal.startswith(b"LOADING")):
            self.effects["commands refused"] += 1
            return Reply(b"-%b\r\n" % self.refusal)
        if name == b"PUBLISH" and len(arguments) == 2:
            return self._publish(link, *arguments)
        handler, counts = _COMMANDS.get(name, (None, ()))
        if handler is None or len(arguments) not in counts:
            return Reply(b"-ERR unknown command '%b', or wrong number of arguments\r\n" % name.lower())
        return Reply(handler(self, link, *arguments))

    def _publish(self, link: RedisLink, channel: bytes, message: bytes) -> Reply:
        name = channel.decode()
        if name in self.forbidden:
            self.effects["messages forbidden"] += 1
            return Reply(b"-NOPERM No permissions to access a channel\r\n")
        published = Published(name, message, self.kernel.true_ns, link)
        self.published.append(published)
        return Reply(b":%d\r\n" % self._receivers, published)

    def _auth(self, link: RedisLink, *words: bytes) -> bytes:
        if not self.password and len(words) == 1:
            return b"-ERR AUTH called without any password configured for the default user\r\n"
        if words[:-1] not in {(), (b"default",)} or (self.password and words[-1] != self.password.encode()):
            return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        link.is_trusted = True
        return OK

    def _hello(self, link: RedisLink, *words: bytes) -> bytes:
        if words[:1] not in {(), (b"2",)}:
            return b"-NOPROTO unsupported protocol version\r\n"
        if not link.is_trusted:
            return b"-NOAUTH HELLO must be called with the client already authenticated\r\n"
        return b"*4\r\n" + _bulk(b"server") + _bulk(b"redis") + _bulk(b"proto") + b":2\r\n"

    def _set(self, _: RedisLink, key: bytes, value: bytes) -> bytes:
        self._values[key] = value
        return OK

    def _get(self, _: RedisLink, key: bytes) -> bytes:
        value = self._values.get(key)
        return WRONG_TYPE if isinstance(value, dict) else _bulk(value)

    def _hset(self, _: RedisLink, key: bytes, *pairs: bytes) -> bytes:
        fields = self._values.setdefault(key, {})
        if not isinstance(fields, dict):
            return WRONG_TYPE
        before = len(fields)
        fields.update(zip(pairs[::2], pairs[1::2], strict=True))
        return b":%d\r\n" % (len(fields) - before)

    def _hget(self, _: RedisLink, key: bytes, field: bytes) -> bytes:
        fields = self._values.get(key, {})
        return _bulk(fields.get(field)) if isinstance(fields, dict) else WRONG_TYPE

    def _del(self, _: RedisLink, *keys: bytes) -> bytes:
        return b":%d\r\n" % sum(self._values.pop(key, None) is not None for key in keys)


def _bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


_MANY = range(1, 1000)
_COMMANDS: dict[bytes, tuple[Callable[..., bytes], Sequence[int]]] = {
    b"AUTH": (Redis._auth, (1, 2)),
    b"HELLO": (Redis._hello, range(10)),
    b"CLIENT": (lambda *_: OK, _MANY),
    b"SELECT": (lambda *_: OK, (1,)),
    b"PING": (lambda _server, _link, *said: _bulk(said[0]) if said else b"+PONG\r\n", (0, 1)),
    b"ECHO": (lambda _server, _link, said: _bulk(said), (1,)),
    b"SET": (Redis._set, (2,)),
    b"GET": (Redis._get, (1,)),
    b"HSET": (Redis._hset, range(3, 1000, 2)),
    b"HGET": (Redis._hget, (2,)),
    b"DEL": (Redis._del, _MANY),
    b"PUBLISH": (lambda *_: b"", ()),
}
