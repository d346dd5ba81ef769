"""What is done to a run: by the network, the server and Redis, and by an operator."""

import asyncio
import threading
from collections import Counter, defaultdict

from tests.chaos.market import TICKERS

CALL_TIMEOUT_S = 30.0
CLOSE_CODES = (1001, 1001, 1000, 1008, 1011)
WANTED_AT_LEAST = 8
CALL_BACK = 0.3


class Loop:
    """A thread with an asyncio loop, on which others may call."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="chaos-server", daemon=True)
        self._thread.start()

    def call(self, function, *arguments):
        """Call a function there and return what it returns."""

        async def run():
            return function(*arguments)

        return self.run(run())

    def run(self, work):
        """Run a coroutine there and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(CALL_TIMEOUT_S)

    def close(self):
        """End it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self.loop.close()


class Operator:
    """Adds, removes, moves, reconnects and rebalances, and knows what it wanted when.

    Args:
        stream: what it works on.
        clock: true time, ns.
        wanted: tickers at the begin.
        connections: their ids.
    """

    def __init__(self, stream, clock, wanted, connections):
        self.wanted = defaultdict(list)
        """Ticker to pairs of begin and end, ns; an end is None while it is wanted."""
        self.log = []
        self.done = Counter()
        self._stream = stream
        self._clock = clock
        self._connections = connections
        self._lock = threading.Lock()
        for ticker in wanted:
            self.wanted[ticker].append([clock(), None])

    def wants(self):
        """Return what is wanted now."""
        return [ticker for ticker, spans in self.wanted.items() if spans and spans[-1][1] is None]

    def act(self, event):
        """Take one step of the schedule, sometimes after a look for connections that were evicted."""
        if event.dice[-1] < CALL_BACK:
            self.call_back()
        with self._lock:
            getattr(self, event.kind)(*event.dice)

    def move(self, which, where, *_):
        """Move a ticker that is wanted."""
        self._move(pick(self.wants(), which), pick(self._connections, where))

    def move_away(self, tickers, where):
        """Move tickers to a connection that does not carry them, where they are wanted; return which."""
        with self._lock:
            carried = self._stream.tickers()
            moved = [ticker for ticker in tickers if ticker in self.wants()]
            for ticker in moved:
                others = [c for c in self._connections if ticker not in carried.get(c, ())]
                if others:
                    self._move(ticker, pick(others, where))
            return moved

    def add(self, which, *_):
        """Add a ticker that is not wanted."""
        free = [ticker for ticker in TICKERS if ticker not in self.wants()]
        if free:
            ticker = pick(free, which)
            self._note("add", ticker)
            self.wanted[ticker].append([self._clock(), None])
            self._stream.add_tickers([ticker])

    def remove(self, which, *_):
        """Remove a ticker that is wanted."""
        wanted = self.wants()
        if len(wanted) > WANTED_AT_LEAST:
            ticker = pick(wanted, which)
            self._note("remove", ticker)
            self.wanted[ticker][-1][1] = self._clock()
            self._stream.remove_tickers([ticker])

    def reconnect(self, which, *_):
        """Reconnect a connection, one that was evicted if there is any."""
        connection = pick(self._evicted() or self._connections, which)
        self._note("reconnect", connection)
        self._stream.reconnect(connection)

    def call_back(self):
        """Reconnect those that were evicted."""
        with self._lock:
            for connection in self._evicted():
                self._note("reconnect", connection)
                self._stream.reconnect(connection)

    def _evicted(self):
        connections = self._stream.health()["connections"]
        return [connection["id"] for connection in connections if connection["phase"] == "held"]

    def rebalance(self, *_):
        """Rebalance."""
        self._note("rebalance", "")
        self._stream.rebalance()

    def _move(self, ticker, connection):
        self._note("move", f"{ticker} to {connection}")
        self._stream.move_ticker(ticker, connection)

    def _note(self, kind, what):
        self.done[kind] += 1
        self.log.append((self._clock(), f"operator: {kind} {what}"))


class Fate:
    """Does to links, server and Redis what the schedule says.

    Args:
        loop: the thread of server and links.
        server: the server.
        forwarder: what all connections go through.
        operator: for what goes with a move.
        redis: None without.
        stopped: set when nothing is to be waited for any more.

    Attributes:
        done: what took effect, by kind; what found nobody to hurt is not counted.
    """

    def __init__(self, *, loop, server, forwarder, operator, redis, stopped):
        self.done = Counter()
        self.pauses = 0
        self._loop = loop
        self._server = server
        self._forwarder = forwarder
        self._operator = operator
        self._redis = redis
        self._stopped = stopped

    def act(self, event):
        """Let one event of the schedule happen."""
        act = getattr(self, f"_{event.kind}")
        if event.kind in {"half_then_move", "move_then_cut"}:
            done = act(*event.dice)
        else:
            done = self._loop.call(act, *event.dice)
        self.done[event.kind] += bool(done)

    def heal(self):
        """Switch off what goes on by itself."""
        self._server.lose_acks = self._server.ack_delay_s = 0.0
        self._loop.call(self._server.give_up_the_dead)
        self._operator.call_back()
        if self._redis is not None:
            self._redis.resume()

    # -- links; on the server's loop ------------------------------------------------------------------------

    def _victim(self, which):
        """Return one of the live sessions, None if there is none."""
        live = [session for session in self._server.live() if session.link.clean]
        return pick(live, which) if live else None

    def _hurt(self, what, which, how):
        session = self._victim(which)
        if session is not None:
            self._server.note(f"{what}: link {session.link.number} of session {session.number}")
            how(session)
        return session

    def _rst(self, which, *_):
        return self._hurt("rst", which, lambda session: session.link.reset())

    def _fin(self, which, *_):
        return self._hurt("fin", which, lambda session: session.link.finish())

    def _half(self, which, much, *_):
        return self._hurt("half-open", which, lambda s: s.link.leave_half_open(6 + 12 * much))

    def _stall(self, which, much, *_):
        return self._hurt("stall", which, lambda session: session.link.stall(0.1 + 4 * much**2))

    def _slow(self, which, much, long, *_):
        return self._hurt("slow", which, lambda s: s.link.slow(0.02 + 0.4 * much**2, 1 + 6 * long))

    def _crumble(self, which, much, long, *_):
        return self._hurt("crumble", which, lambda s: s.link.crumble(1 + int(300 * much), 1 + 6 * long))

    def _close(self, which, code, *_):
        number = pick(CLOSE_CODES, code)
        return self._hurt(f"close {number}", which, lambda s: self._do(s.close(number, f"close {number}")))

    def _abort(self, which, *_):
        return self._hurt("abort", which, lambda session: session.end("abort"))

    def _cut_both(self, which, other, *_):
        first = self._rst(which)
        return first and self._fin(other)

    # -- the server -----------------------------------------------------------------------------------------

    def _crowd(self, long, *_):
        self._server.note("another program comes")
        self._server.crowd(2 + 6 * long)
        return True

    def _lose_acks(self, much, long, *_):
        self._server.note("acknowledgements get lost")
        self._server.lose_acks = pick((0.2, 0.5, 1.0), much)
        self._loop.loop.call_later(1 + 8 * long, setattr, self._server, "lose_acks", 0.0)
        return True

    def _late_acks(self, much, long, *_):
        self._server.note("acknowledgements come late")
        self._server.ack_delay_s = 0.1 + 4 * much
        self._loop.loop.call_later(2 + 8 * long, setattr, self._server, "ack_delay_s", 0.0)
        return True

    def _refuse(self, which, long, *_):
        self._forwarder.refuse(0.5 + 3 * long)
        return self._rst(which)

    def _restart(self, _which, long, *_):
        self._server.note("all are closed with 1001")
        self._forwarder.refuse(0.2 + 2 * long)
        for session in self._server.live():
            self._do(session.close(1001, "close 1001"))
        return True

    def _hang_redis(self, _which, long, *_):
        if self._redis is None:
            return False
        self._redis.pause()
        self.pauses += 1
        self._loop.loop.call_later(0.5 + 5 * long, self._redis.resume)
        return True

    def _do(self, work):
        self._server._do(work)

    # -- pairs; on the thread of the schedule ---------------------------------------------------------------

    def _half_then_move(self, which, where, wait, much):
        session = self._loop.call(self._half, which, much)
        if session is None:
            return False
        self._stopped.wait(1.2 * wait)
        held = dict.fromkeys(channel.split(".", 1)[1] for channel in tuple(session.held))
        return self._operator.move_away(list(held)[:4], where)

    def _move_then_cut(self, which, where, wait, second):
        wants = self._operator.wants()
        moved = self._operator.move_away([pick(wants, which)], where) if wants else []
        self._stopped.wait(0.1 + 1.6 * wait)
        return moved and self._loop.call(self._cut_holders, moved[0], second)

    def _cut_holders(self, ticker, second):
        """Cut all sessions that hold a ticker one after the other, the oldest first or the newest."""
        delay_s, hurt = 0.0, False
        for session in self._server.live()[:: 1 if second < 0.5 else -1]:
            if any(channel.split(".", 1)[1] == ticker for channel in session.held):
                self._server.note(f"rst of a holder of {ticker}: session {session.number} in {delay_s:.2f} s")
                self._loop.loop.call_later(delay_s, session.link.reset)
                delay_s += 0.8 * second
                hurt = True
        return hurt


def pick(choices, dice):
    """Return one of several by a number in [0, 1)."""
    return list(choices)[int(dice * len(choices))]
