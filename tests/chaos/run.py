"""One run: the real stream against a server, a network, a Redis and an operator of which a seed decides."""

import contextlib
import json
import logging
import random
import threading
import time
from datetime import UTC, datetime

from pipeline import build_pipeline
from pipeline.embedded import RedisServer
from pipeline.sinks.callback import CallbackSink
from tests.chaos.hands import Fate, Loop, Operator
from tests.chaos.links import Forwarder
from tests.chaos.market import BUSY, EVENT_TYPES, PAIRS, S_NS, TICKERS, USUAL, Market, serial_of
from tests.chaos.schedule import CONNECTIONS, faults, steps
from tests.chaos.server import Server
from tests.chaos.verdict import Verdict
from tests.conftest import wait_until
from tests.integration.harness import KEY, RedisListener

MIDNIGHT_NS = round(datetime(2026, 3, 4, 5, tzinfo=UTC).timestamp()) * S_NS  # in New York
QUIET_S = 12.0
"""At the end: a half-open socket is noticed, and everything is carried again."""
FLOWING_S = 4.0
"""For so long nothing may be missing any more."""
SLOW_S = 0.004
RAW = "tickstock.data.raw"


class Defects(logging.Handler):
    """Keeps what our own code logs as an error."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.words = []

    def emit(self, record):
        self.words.append(self.format(record)[:2000])


class Run:
    """A run by a seed.

    Args:
        seed: decides everything but how the threads run.
        seconds: how long it lasts, the quiet end counted.
        with_redis: publish, too.
    """

    def __init__(self, seed, seconds, *, with_redis=True):
        self.seed = seed
        self.seconds = seconds
        chance = random.Random(f"{seed}/settings")
        self.connections = CONNECTIONS[: chance.choice((2, 3, 3))]
        self.strategy = chance.choice(("manual", "round-robin", "load-balanced", "hash", "priority"))
        self.evicts = chance.choice(("oldest", "newest"))
        self.band = chance.choice(("answered", "never", "unacknowledged"))
        self.slow_overflow = chance.choice(("drop_oldest", "drop_newest", "conflate"))
        self._is_midnight = chance.random() < 0.5
        self.wanted = [*BUSY, *USUAL, *PAIRS, *chance.sample(TICKERS, 6)]
        self.wanted = list(dict.fromkeys(self.wanted))
        self.redundant = chance.sample((*BUSY, *USUAL), 2)
        # Where ids begin anew in the middle of a run, its clock says that it is midnight.
        in_the_middle_ns = MIDNIGHT_NS - round(0.5 * seconds * S_NS)
        self._shift_ns = in_the_middle_ns - time.time_ns() if self._is_midnight else 0
        self._with_redis = with_redis
        until_s = max(seconds - QUIET_S, seconds / 2)
        self.faults = faults(seed, until_s)
        self.steps = steps(seed, until_s)
        self._over = threading.Event()
        self.got = []
        self.slow_got = []
        self.events = []
        self.defects = []
        self.accounts = {}
        self.published = None
        self.healed_ns = 0

    def clock(self):
        """Return the true time of this run, ns."""
        return time.time_ns() + self._shift_ns

    def at(self, at_ns):
        """Return a time as seconds since the begin."""
        return f"{(at_ns - self.begin_ns) / S_NS:.3f}"

    def describe(self):
        """Say what the seed chose."""
        return (
            f"seed {self.seed}, {self.seconds} s: {len(self.connections)} connections, {self.strategy},"
            f" {self.evicts} evicted, LULD {self.band}, redundant {', '.join(self.redundant)},"
            f" slow one {self.slow_overflow}{', over midnight' if self._is_midnight else ''}"
        )

    def play(self):
        """Run it and return the verdict."""
        defects = Defects()
        logging.getLogger("tickbraid").addHandler(defects)
        self.begin_ns = self.clock()
        try:
            with contextlib.ExitStack() as stack:
                stack.callback(self._over.set)
                self._set_up(stack)
                self._go()
        finally:
            logging.getLogger("tickbraid").removeHandler(defects)
        self.defects = defects.words
        return Verdict(self)

    # -- setting up -----------------------------------------------------------------------------------------

    def _set_up(self, stack):
        self.market = Market(
            random.Random(f"{self.seed}/market"),
            self.clock(),
            MIDNIGHT_NS if self._is_midnight else None,
        )
        loop = Loop()
        stack.callback(loop.close)
        self.server = Server(
            self.market,
            self.clock,
            random.Random(f"{self.seed}/server"),
            limit=len(self.connections),
            evicts=self.evicts,
            band=self.band,
        )
        self._forwarder = loop.call(Forwarder, random.Random(f"{self.seed}/links"))
        stack.callback(lambda: loop.run(self._forwarder.close()))
        self._forwarder.port = loop.run(self.server.start(self._forwarder.link_of))
        stack.callback(lambda: loop.run(self.server.stop()))
        self._redis = stack.enter_context(RedisServer.start()) if self._with_redis else None
        if self._redis is not None:
            self._listener = RedisListener(self._redis.url, RAW)
            stack.callback(self._listener.close)
            stack.callback(self._redis.resume)
        self.stream = stack.enter_context(build_pipeline(self._config(), clock=self.clock))
        self.operator = Operator(self.stream, self.clock, self.wanted, self.connections)
        self.fate = Fate(
            loop=loop,
            server=self.server,
            forwarder=self._forwarder,
            operator=self.operator,
            redis=self._redis,
            stopped=self._over,
        )

    def _config(self):
        config = {
            "USE_MASSIVE_API": True,
            "MASSIVE_API_KEY": KEY,
            "MASSIVE_WEBSOCKET_URL": f"ws://127.0.0.1:{self._forwarder.listens_on}/feed",
            "MASSIVE_EVENT_TYPES": ",".join(EVENT_TYPES),
            "MASSIVE_WEBSOCKET_RECONNECT_DELAY": 0.2,
            "MASSIVE_WEBSOCKET_RECONNECT_MAX_DELAY": 1.0,
            "MASSIVE_PING_INTERVAL": 1.0,
            "MASSIVE_PING_TIMEOUT": 1.5,
            "USE_MULTI_CONNECTION": True,
            "WEBSOCKET_ROUTING_STRATEGY": self.strategy,
            "WEBSOCKET_FAILOVER_AFTER": 0.5,
            "WEBSOCKET_HEALTH_CHECK_INTERVAL": 2.0,
            "WEBSOCKET_REDUNDANT_SYMBOLS": self.redundant,
            "SUBSCRIBER_OVERFLOW": "block",
        }
        if self._redis is not None:
            config |= {"REDIS_URL": self._redis.url, "REDIS_CHANNEL_RAW": RAW, "REDIS_CHANNEL_MARKET": ""}
        for number, connection in enumerate(self.connections):
            prefix = f"WEBSOCKET_{connection.upper()}"
            its = self.wanted[number :: len(self.connections)]
            config |= {f"{prefix}_ENABLED": True, f"{prefix}_SYMBOLS": its}
        return config

    # -- running --------------------------------------------------------------------------------------------

    def _go(self):
        stream = self.stream
        stream.status.subscribe(self.events.append)
        slow = CallbackSink(self._take_slowly, "slow")
        stream.subscribe(lambda tick: self.got.append(serial_of(tick)))
        stream.attach(slow, capacity=400, overflow=self.slow_overflow, max_age_ms=0)
        began_s = time.monotonic()
        players = [
            threading.Thread(target=self._follow, args=(plan, act, began_s), name=f"chaos-{name}")
            for name, plan, act in (
                ("fate", self.faults, self.fate.act),
                ("operator", self.steps, self.operator.act),
            )
        ]
        for player in players:
            player.start()
        for player in players:
            player.join()
        self.fate.heal()
        self._over.wait(max(0.0, began_s + self.seconds - FLOWING_S - time.monotonic()))
        self.healed_ns = self.clock()
        self._over.wait(FLOWING_S)
        self._end()

    def _follow(self, plan, act, began_s):
        for event in plan:
            if self._over.wait(max(0.0, began_s + event.at_s - time.monotonic())):
                return
            try:
                act(event)
            except Exception as error:
                self.defects.append(f"{event} raised {error!r}")
                logging.getLogger("tickbraid").exception("%s raised", event)

    def _end(self):
        self.server.open = False
        wait_until(
            lambda: all(session.idle for session in self.server.live()), 20, "the last messages being sent"
        )
        wait_until(self._is_settled, 30, "all being delivered")
        self.stream.close()
        self.accounts = self.stream.accounts()
        if self._redis is not None:
            self.published = [
                int(json.loads(message)["price"]) for message in tuple(self._listener.messages[RAW])
            ]

    def _is_settled(self):
        """Tell whether nothing has come for a moment, and nothing waits anywhere."""
        before = len(self.got)
        self._over.wait(0.5)
        redis_ready = self._redis is None or self.stream.account("redis").queued == 0
        return redis_ready and len(self.got) == before and self.stream.account("callback").queued == 0

    def _take_slowly(self, tick):
        self.slow_got.append(serial_of(tick))
        time.sleep(SLOW_S)
