"""Servers, their sockets and who reads them, moved by hand around a `Coverage`; keeps its own record."""

from collections import defaultdict, deque

from pipeline.coverage import Coverage
from pipeline.ticks import Quote, Trade

MS = 1_000_000
KINDS = {
    "T": lambda s, t: Trade(ticker=s, price=1, event_ms=t),
    "Q": lambda s, t: Quote(ticker=s, event_ms=t),
}


class Link:
    """One session: what the client asked, what the server holds, and what is on its way back."""

    def __init__(self, name):
        self.name = name
        self.up = deque()
        self.down = deque()
        self.held = set()
        self.half = self.mute = False


class CoverageWorld:
    """The true record of who was sent what, and what of it arrived."""

    def __init__(self, feeds=None):
        self.now = 1000
        self.feeds = feeds or {}
        self.links = {}
        self.wants = defaultdict(dict)
        self.made = defaultdict(list)
        self.delivered = defaultdict(list)
        self.due = {}
        self.gone = defaultdict(list)
        self.told = []
        self.last = {}
        self.last_on = {}
        self.homes = {}
        self.confirmed = set()
        self.coverage = Coverage(self.begin_ns, self._end_ns, self.tell)

    # -- what a coverage asks of the world

    def begin_ns(self, key, connections, since_ns):
        channel = key.partition(" ")[0]
        if channel in self.last:
            return self.last[channel] * MS
        times = [self.last_on[name] * MS - 1 for name in connections if name in self.last_on]
        return max([since_ns, *times])

    def tell(self, outage, spans):
        for span in spans:
            self.told.append((span.channel, span.from_ns, span.to_ns, outage.connection, outage.reason))

    # -- what the client does

    def begin(self, name):
        self.tick_clock()
        if name in self.links:
            return
        link = self.links[name] = Link(name)
        channels = tuple(self.wants[name])
        self.coverage.begin(
            name,
            self.feeds.get(name, "u"),
            channels,
            since_ns=self.now * MS,
            prove=lambda mark: link.up.append(("ping", mark)),
            is_mute=lambda: link.mute,
        )
        link.up.extend(("sub", channel) for channel in channels)

    def ask(self, name, channel):
        self.tick_clock()
        self.due.setdefault(channel, None)
        if channel in self.wants[name]:
            return
        self.wants[name][channel] = None
        if name in self.links:
            self.coverage.ask(name, [channel], self.now * MS)
            self.links[name].up.append(("sub", channel))

    def give_back(self, name, channel):
        self.tick_clock()
        self.confirmed.discard((name, channel))
        if self.wants[name].pop(channel, self) is None and name in self.links:
            self.links[name].up.append(("unsub", channel))
            self.coverage.give_back(name, [channel])

    def renew(self, name):
        """The watch found it silent."""
        self.tick_clock()
        if name in self.links:
            for action in ("unsub", "sub"):
                self.links[name].up.extend((action, channel) for channel in self.wants[name])
            self.coverage.renew(name)  # its ping comes behind the requests

    def forget(self, channel):
        self.tick_clock()
        for link in (self.links[name] for name in self.links if channel in self.wants[name]):
            link.up.append(("unsub", channel))
        self.coverage.forget([channel], lambda _feed: self.now * MS, self.now / 1000)
        if self.due.get(channel) is not None:
            self.gone[channel].append((self.due[channel], self.now))
        self.due.pop(channel, None)
        for wanted in self.wants.values():
            wanted.pop(channel, None)

    # -- what happens

    def make(self, channel):
        self.tick_clock()
        self.made[channel].append(self.now)
        kind, _, _ = channel.partition(".")
        for link in self.links.values():
            if not link.half and not link.mute and {channel, f"{kind}.*"} & link.held:
                link.down.append(("tick", channel, self.now))

    def serve(self, name, *, lost=False, refuse=False):
        """Let a server take its next request."""
        self.tick_clock()
        link = self.links.get(name)
        if link is None or link.half or not link.up:
            return
        action, what = link.up.popleft()
        if action == "ping":
            link.down.append(("pong", what))
        elif action == "sub" and refuse:
            pass
        elif action == "sub":
            link.held.add(what)
            if not lost:
                link.down.append(("ack", what))
        else:
            link.held.discard(what)
            if not lost:
                link.down.append(("unack", what))

    def answer(self, name):
        """Let a server take and answer all, as it does where nothing is wrong."""
        while name in self.links and self.links[name].up and not self.links[name].half:
            self.serve(name)
        self.read(name)

    def serve_badly(self, name, lost, refuse):
        """Let a server take its next request, and lose the acknowledgement or refuse."""
        self.serve(name, lost=lost, refuse=refuse)

    def read(self, name, most=1000):
        self.tick_clock()
        link = self.links.get(name)
        for _ in range(min(most, len(link.down)) if link else 0):
            self._read_one(link, *link.down.popleft())

    def _read_one(self, link, what, *values):
        if what == "tick":
            self._bring(link.name, *values)
        elif what == "pong":
            self.coverage.answered(link.name, *values)
        elif what == "ack" and values[0] not in self.wants[link.name]:
            pass  # as the ledger does
        elif what == "ack":
            self._covered(values[0])
            self.confirmed.add((link.name, values[0]))
            self.coverage.confirm(link.name, values, self.now / 1000)
        elif what == "unack":
            self.coverage.returned(link.name, values)

    def _covered(self, channel):
        if channel in self.due and self.due[channel] is None:
            self.due[channel] = self.now

    def _bring(self, name, channel, at):
        new = at not in self.delivered[channel]
        kind, _, symbol = channel.partition(".")
        ticks = []
        if new:
            self.delivered[channel].append(at)
            ticks = [KINDS[kind](symbol, at)]
        session = self.coverage.watched.get(name)
        if new:
            # As in the stream: the memory knows the batch before the spans are looked for.
            self.last[channel] = at
            self.last_on[name] = at
        if session is not None:
            self.coverage.see(session, ticks, is_alive=True, at_s=self.now / 1000)

    def half(self, name):
        self.tick_clock()
        if name in self.links:
            self.links[name].half = True

    def mute(self, name):
        self.tick_clock()
        if name in self.links:
            self.links[name].mute = True

    def cut(self, name):
        self.tick_clock()
        if self.links.pop(name, None) is not None:
            self.coverage.end(name)

    def wait(self, ms):
        self.now += ms
        self.look()

    def look(self):
        self.coverage.look(self.now / 1000)

    def _end_ns(self, _span, confirmed_s):
        return self.now * MS if confirmed_s is None else round(confirmed_s * 1000) * MS

    def tick_clock(self):
        self.now += 1

    # -- the end

    def move(self, name, channel):
        """Ask for a channel elsewhere; where it is confirmed the others give it back."""
        self.homes[channel] = name
        self.ask(name, channel)
        self.settle_moves()

    def settle_moves(self):
        """Let those give back whose channel is confirmed where it belongs."""
        for channel, home in self.homes.items():
            if (home, channel) in self.confirmed:
                for name in self.links:
                    if name != home:
                        self.give_back(name, channel)

    def quiet(self, names, channels):
        """Let what is dead be found out, all be asked for again, and everything tick and be read."""
        for name in list(self.links):
            if self.links[name].half or self.links[name].mute:
                self.cut(name)
        for name in names:
            self.begin(name)
        for turn in range(4):
            for name in names:
                while self.links[name].up:
                    self.serve(name)
                self.read(name)
            for channel in channels:
                self.make(channel)
            for name in names:
                self.read(name)
            self.wait(2500 if turn % 2 else 1)
        self.look()

    def undeclared(self):
        """Return what is missing outside all that was told."""
        out = []
        for channel, times in self.made.items():
            star = f"{channel.partition('.')[0]}.*"
            spans = [told for told in self.told if told[0] in {channel, star}]
            due = [*self.gone[channel], *self.gone[star]]
            due += [(self.due[c], self.now + 1) for c in (channel, star) if self.due.get(c) is not None]
            for at in times:
                missing = at not in self.delivered[channel] and any(a < at < b for a, b in due)
                if missing and not any(a < at * MS < b for _, a, b, *_ in spans):
                    out.append((channel, at))
        return out

    def inside(self):
        """Return what was delivered inside a span, and spans of a channel that overlap."""
        out = []
        for channel, a, b, *_ in self.told:
            out += [(channel, at, a, b) for at in self.delivered[channel] if a < at * MS < b]
        for index, (channel, a, b, *_) in enumerate(self.told):
            out += [
                ("twice", channel, a, b, c, d)
                for other, c, d, *_ in self.told[index + 1 :]
                if other == channel and a < d and c < b
            ]
        return out
