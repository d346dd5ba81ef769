"""A server that speaks Massive's protocol on the library `websockets`; nothing of it is our simulator's."""

import asyncio
import json
from collections import Counter, defaultdict, deque

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from tests.chaos.market import PAIRS

STEP_S = 0.005
CLEAN_S = 2.0
"""An acknowledgement over a link that was well for so long has arrived."""
BACKLOG_MOST_BYTES = 8 << 20
EDGES = (125, 126, 127, 65_535, 65_536, 65_537)
"""Where a frame's length is written in another way."""
LENGTHS = (1, 1, 1, 2, 3, 8, 40, 2000)
COPIES = 0.03
PADDED = 0.1
NEWCOMER_GRACE_S = 0.3


class Session:
    """One client's connection: what it holds, and what waits to be sent."""

    def __init__(self, websocket, link, number):
        self.websocket = websocket
        self.link = link
        self.number = number
        self.held = {}
        self.authenticated = False
        self.over = False
        self.cause = None
        self._waiting = deque()
        self._waiting_bytes = 0
        self._more = asyncio.Event()
        self._sent = asyncio.Event()
        """Nothing waits, or nothing will be sent any more."""

    @property
    def live(self):
        """Whether its client gets what it is sent."""
        return self.authenticated and not self.over and not self.link.zombie and not self.link.over

    @property
    def idle(self):
        """Whether nothing waits to be sent."""
        return not self._waiting

    def put(self, text):
        """Send a message after those that wait; drop the connection of a reader that is far too slow."""
        self._waiting.append(text)
        self._waiting_bytes += len(text)
        self._more.set()
        self._sent.clear()
        if self._waiting_bytes > BACKLOG_MOST_BYTES:
            self.end("slow reader")

    def say(self, status, *messages):
        """Send status elements in one message."""
        self.put(json.dumps([{"ev": "status", "status": status, "message": m} for m in messages]))

    def end(self, cause):
        """Abort the connection as a server does that has had enough."""
        self.cause = self.cause or cause
        self.websocket.transport.abort()

    async def close(self, code, cause):
        """Send what waits and close in good order."""
        self.cause = self.cause or cause
        await self._sent.wait()
        await self.websocket.close(code, cause)

    async def send_all(self):
        """Send what is put, until the connection ends."""
        try:
            while True:
                while self._waiting:
                    text = self._waiting[0]
                    await self.websocket.send(text)
                    self._waiting.popleft()
                    self._waiting_bytes -= len(text)
                self._sent.set()
                self._more.clear()
                await self._more.wait()
        except ConnectionClosed:
            pass
        finally:
            self.over = True
            self._sent.set()


class Foreigner:
    """Another program's connection with the same key: it only takes up a place."""

    live = authenticated = True

    def __init__(self):
        self.over = False

    def leave(self):
        """Give the place up."""
        self.over = True


class Server:
    """Serves a market to whoever subscribes; its faults are switched on and off from outside, on its loop.

    Args:
        market: makes the ticks.
        clock: true time, ns.
        chance: seeded.
        limit: connections that the key may have.
        evicts: ``oldest`` or ``newest``, when there are more.
        band: what becomes of a subscription to LULD: ``answered``, ``never`` (neither an answer nor a tick)
            or ``unacknowledged`` (ticks and no answer).
    """

    def __init__(self, market, clock, chance, *, limit, evicts, band):
        self.market = market
        self.open = True
        self.sessions = []
        self.ends = Counter()
        """Ended sessions by cause."""
        self.acknowledged = defaultdict(list)
        """Channel to the times of those acknowledgements that must have arrived, ns."""
        self.subscribed = defaultdict(list)
        """Channel to the times of its subscriptions, ns."""
        self.sent = Counter()
        self.log = []
        """What happened, with its time, ns."""
        self.lose_acks = 0.0
        self.ack_delay_s = 0.0
        self._clock = clock
        self._chance = chance
        self._limit = limit
        self._evicts = evicts
        self._band = band
        self._places = []
        """Sessions and foreigners that have given the key, the oldest first."""
        self._tasks = set()
        self._link_of = None
        self._server = None

    async def start(self, link_of):
        """Start on a free loopback port and return it; ``link_of`` finds a link by the port it comes from."""
        self._link_of = link_of
        self._server = await serve(
            self._serve, "127.0.0.1", 0, compression=None, ping_interval=None, close_timeout=1.0
        )
        self._do(self._trade())
        return self._server.sockets[0].getsockname()[1]

    async def stop(self):
        """Close everything."""
        for session in self.sessions:
            session.end("end")
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server.close()
        await self._server.wait_closed()

    def live(self):
        """Return the sessions whose clients get what they are sent."""
        return [session for session in self.sessions if session.live]

    def crowd(self, for_s):
        """Let another program connect with the same key, for a while."""
        foreigner = Foreigner()
        self._places.append(foreigner)
        self._thin_out()
        asyncio.get_running_loop().call_later(for_s, foreigner.leave)

    def give_up_the_dead(self):
        """Close the sessions whose links are half-open, and send other programs away."""
        for place in self._places:
            if isinstance(place, Foreigner):
                place.leave()
            elif place.link.zombie:
                place.end("half-open")

    def note(self, text):
        """Write down what happens."""
        self.log.append((self._clock(), text))

    # -- the protocol ---------------------------------------------------------------------------------------

    async def _serve(self, websocket):
        link = self._link_of(websocket.remote_address[1])
        session = Session(websocket, link, len(self.sessions) + 1)
        self.sessions.append(session)
        sender = asyncio.create_task(session.send_all())
        session.say("connected", "Connected Successfully")
        self.note(f"session {session.number} on link {link.number} begins")
        try:
            async for text in websocket:
                self._take(session, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            session.over = True
            sender.cancel()
            cause = link.cause or session.cause or "client"
            self.ends[cause] += 1
            self.note(f"session {session.number} ends: {cause}; {link.lost_bytes} bytes lost on the way")

    def _take(self, session, asked):
        if asked["action"] == "auth":
            session.authenticated = True
            session.say("auth_success", "authenticated")
            self._places.append(session)
            self._thin_out()
            return
        channels = [_canonical(channel) for channel in asked["params"].split(",")]
        if asked["action"] == "subscribe":
            self._subscribe(session, channels)
        else:
            for channel in channels:
                session.held.pop(channel, None)
            self._acknowledge(session, "unsubscribed", channels)

    def _subscribe(self, session, channels):
        new = [c for c in channels if c not in session.held and not self.is_never(c)]
        for channel in new:
            session.held[channel] = None
            self.subscribed[channel].append(self._clock())
        told = [c for c in new if self._chance.random() >= self.lose_acks and not self._is_band(c)]
        if len(told) < len(channels):
            self.note(f"session {session.number}: {len(channels) - len(told)} of {len(channels)} unanswered")
        if self.ack_delay_s:
            delay_s = self._chance.uniform(0, self.ack_delay_s)
            later = asyncio.get_running_loop().call_later
            later(delay_s, lambda: session.over or self._acknowledge(session, "subscribed", told))
        else:
            self._acknowledge(session, "subscribed", told)

    def _acknowledge(self, session, what, channels):
        messages = [f"{what} to: {_answered(channel)}" for channel in channels if channel]
        if not messages:
            return
        if self._chance.random() < 0.5:
            session.say("success", *messages)
        else:
            for message in messages:
                session.say("success", message)
        if what == "subscribed":
            loop = asyncio.get_running_loop()
            loop.call_later(CLEAN_S, self._count_on, session, channels, self._clock(), loop.time())

    def _count_on(self, session, channels, at_ns, at_s):
        """Count acknowledgements as received, if nothing has happened to the link since."""
        if session.live and session.link.clean and session.link.troubled_s < at_s:
            for channel in channels:
                if channel in session.held:
                    self.acknowledged[channel].append(at_ns)

    def _is_band(self, channel):
        return channel.startswith("LULD.") and self._band != "answered"

    def is_never(self, channel):
        """Tell whether a channel is one that is neither answered nor served."""
        return channel.startswith("LULD.") and self._band == "never"

    def _thin_out(self):
        """Send somebody away if there are too many; a client that has died counts as long as its socket."""
        self._places = [place for place in self._places if not place.over]
        while len(self._places) > self._limit:
            place = self._places.pop(0 if self._evicts == "oldest" else -1)
            if isinstance(place, Session):
                self._do(self._evict(place))
            else:
                place.over = True

    async def _evict(self, session):
        if self._evicts == "newest":
            await asyncio.sleep(NEWCOMER_GRACE_S)  # it gets its acknowledgements first
        self.note(f"session {session.number} is evicted")
        session.say("max_connections", "Maximum number of websocket connections exceeded.")
        await session.close(1008, "evicted")

    # -- the market -----------------------------------------------------------------------------------------

    async def _trade(self):
        while True:
            elements = self.market.step(self._clock()) if self.open else []
            if elements:
                for session in self.sessions:
                    if session.authenticated and not session.over:
                        self._send(session, [e for e in elements if e.channel in session.held])
            await asyncio.sleep(STEP_S)

    def _send(self, session, elements):
        chance = self._chance
        while elements:
            count = chance.choice(LENGTHS)
            text = "[" + ",".join(element.text for element in elements[:count]) + "]"
            del elements[:count]
            if chance.random() < PADDED:
                text = _padded(text, chance.choice(EDGES))
            session.put(text)
            self.sent[session.number] += 1
            if chance.random() < COPIES:
                session.put(text)

    def _do(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _canonical(channel):
    """Return a channel as the market calls it: pairs may be asked for in either spelling."""
    kind, _, symbol = channel.partition(".")
    return f"{kind}.{symbol if symbol in PAIRS else _slashed(symbol)}"


def _slashed(symbol):
    slashed = symbol.replace("-", "/", 1)
    return slashed if slashed in PAIRS else symbol


def _answered(channel):
    """Return a channel as the server calls it: it has its own spelling of pairs."""
    return channel.replace("/", "-")


def _padded(text, length):
    """Return a message of so many bytes, if it is no longer."""
    return text[:-1] + " " * (length - len(text)) + "]" if len(text) < length else text
