"""One world: the real stream on a simulated network, against a server and a market of its own."""

from typing import Any

from pipeline.build import braid_stream
from pipeline.massive.simulator import Options
from pipeline.massive.simulator.session import Session, status
from pipeline.massive.simulator.wire import FrameReader, Opcode, answer_upgrade, encode_frame
from pipeline.settings import load_settings
from tests.simulation.kernel import Kernel
from tests.simulation.network import Link, Network, ServerEnd, runtime_of

__all__ = ["ThinServer", "ThinWorld"]

PORT = 8765


class ThinServer:
    """Takes any key and sends what is subscribed to."""

    def __init__(self, network: Network) -> None:
        self.talks: list[Talk] = []
        network.listen(PORT, lambda end: self.talks.append(Talk(end)))

    def publish(self, channel: str, element: bytes) -> None:
        """Send a tick to whoever holds its channel."""
        frame = encode_frame(b"[" + element + b"]")
        for talk in self.talks:
            if channel in talk.session.held:
                talk.end.send(frame)


class Talk:
    """One conversation."""

    def __init__(self, end: ServerEnd) -> None:
        self.end = end
        self.session = Session(Options())
        self._request = bytearray()
        self._reader: FrameReader | None = None
        end.on_data = self._hear
        end.on_end = self.session.held.clear

    def _hear(self, data: bytes) -> None:
        if self._reader is None:
            self._request += data
            if b"\r\n\r\n" not in self._request:
                return
            self.end.send(answer_upgrade(bytes(self._request))[0])
            self._reader = FrameReader()
            self._say([status("connected", "Connected Successfully")])
            return
        for opcode, payload in self._reader.feed(data):
            if opcode == Opcode.PING:
                self.end.send(encode_frame(payload, Opcode.PONG))
            elif opcode == Opcode.CLOSE:
                self.end.close()
            elif opcode == Opcode.TEXT:
                self._say(self.session.receive(payload).statuses)

    def _say(self, statuses: Any) -> None:
        if statuses:
            self.end.send(encode_frame(b"[" + b",".join(statuses) + b"]"))


class ThinWorld:
    """A stream of a few connections that runs."""

    def __init__(
        self,
        seed: int = 0,
        *,
        connections: int = 2,
        rate: float = 5.0,
        link: Link | None = None,
        preempt: float = 0.0,
        log: bool = False,
        **settings: Any,
    ) -> None:
        self.kernel = Kernel(seed, preempt=preempt, log=log)
        self.network = Network(self.kernel, link)
        self.server = ThinServer(self.network)
        self.runtime = runtime_of(self.kernel, self.network)
        self.symbols = [[f"{chr(65 + c)}{n}" for n in range(4)] for c in range(connections)]
        config: dict[str, Any] = {
            "USE_MASSIVE_API": True,
            "MASSIVE_API_KEY": "k",
            "MASSIVE_WEBSOCKET_URL": f"ws://127.0.0.1:{PORT}/stocks",
            "MASSIVE_EVENT_TYPES": "T",
            "USE_MULTI_CONNECTION": True,
            "WEBSOCKET_CONNECTIONS_MAX": 3,
            "REDIS_ENABLED": False,
            "SYMBOL_UNIVERSE_KEY": "",
        }
        for number, symbols in enumerate(self.symbols, 1):
            config[f"WEBSOCKET_CONNECTION_{number}_ENABLED"] = True
            config[f"WEBSOCKET_CONNECTION_{number}_SYMBOLS"] = symbols
        self.settings = load_settings(config | settings)
        self.ticks: list[Any] = []
        self.events: list[Any] = []
        self.made = 0
        self._chance = self.kernel.random("market")
        self._rate = rate
        self._is_open = True

    def start(self) -> None:
        self.stream = braid_stream(self.settings, self.runtime)
        self.stream.status.subscribe(self._tell)
        self.kernel.call(self.stream.subscribe, self._deliver, name="main")
        if self._rate:
            self.kernel.at(0.5, self._make)

    def stop(self) -> None:
        self._is_open = False
        self.kernel.run(1.0)
        self.kernel.call(self.stream.close, name="main")
        self.kernel.run(5.0)

    def _tell(self, event: Any) -> None:
        self.events.append(event)
        self.kernel.note("event", repr(event))

    def _deliver(self, tick: Any) -> None:
        self.ticks.append(tick)
        self.kernel.note("tick", tick.ticker, tick.price)

    def _make(self) -> None:
        if not self._is_open:
            return
        self.made += 1
        symbols = self._chance.choice(self.symbols)
        symbol = self._chance.choice(symbols)
        ms = self.kernel.true_ns // 1_000_000
        element = b'{"ev":"T","sym":"%b","x":4,"i":"%d","z":3,"p":%d.5,"s":100,"t":%d,"q":%d}' % (
            symbol.encode(),
            self.made,
            self.made,
            ms,
            self.made,
        )
        self.server.publish(f"T.{symbol}", element)
        self.kernel.at(self._chance.expovariate(self._rate), self._make)
