"""What was delivered and told, held against what the server made."""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import pairwise
from math import inf

from pipeline import status
from tests.chaos.market import MS_NS

EXAMPLES = 3
APART_NS = 500_000_000


class Span:
    """A told span of a channel, and how many ids were missing in it.

    Args:
        gap: as it was told.
        at_ns: when.
        shown: writes a time as seconds since the begin.
    """

    def __init__(self, gap, at_ns, shown):
        self._shown = shown
        self.from_ns = gap.from_ns
        self.to_ns = gap.to_ns
        self.at_ns = at_ns
        self.missing = 0

    def __str__(self):
        from_s, to_s, at_s = map(self._shown, (self.from_ns, self.to_ns, self.at_ns))
        return f"{from_s}-{to_s} told at {at_s}"

    def covers(self, event_ns):
        """Tell whether something of that time may be missing by it; times are floored to a ms."""
        return self.from_ns - MS_NS <= event_ns <= self.to_ns + MS_NS

    def holds(self, made):
        """Tell whether a tick happened strictly within, and was sent within: a bar is sent after its end."""
        return self.from_ns + MS_NS < made.event_ns and made.made_ns < self.to_ns - MS_NS


def spans_of(events, shown):
    """Return the told spans by channel."""
    spans = defaultdict(list)
    for event in events:
        if isinstance(event, status.Loss):
            for gap in event.gaps:
                spans[gap.channel].append(Span(gap, event.at_ns, shown))
    return spans


class Verdict:
    """Says what is wrong with a run, and its figures.

    Args:
        run: a `Run` that is over.
    """

    def __init__(self, run):
        self.problems = []
        self.untold = []
        """Serials of those of `missing` that are in no span."""
        self.sent_within = 0
        """How many of these were sent within a span: a bar is sent two seconds after its time."""
        self._run = run
        self._made = run.market.made
        self._delivered = Counter(run.got)
        self.spans = spans_of(run.events, run.at)
        self.missing = self._find_missing()
        self._check_ids()
        self._check_spans()
        self._check_subscribers()
        self._check_redis()
        for words in run.defects:
            self._blame(f"logged: {words}")
        self._check_end()

    def figures(self):
        """Return what was counted."""
        told = [span for spans in self.spans.values() for span in spans]
        run = self._run
        disconnects = [event for event in run.events if isinstance(event, status.Disconnected)]
        return {
            "made": len(self._made),
            "delivered": len(self._delivered),
            "missing of due channels": len(self.missing),
            "of these in spans": len(self.missing) - len(self.untold),
            "untold": len(self.untold),
            "of these sent within a span": self.sent_within,
            "twice": sum(count > 1 for count in self._delivered.values()),
            "spans": len(told),
            "spans without a missing id": sum(not span.missing for span in told),
            "told so long after their end, s": self._delays_s(told),
            "disconnects": len(disconnects),
            "as told": dict(Counter(re.sub(r"[\d.:]+", "#", event.reason) for event in disconnects)),
            "sessions ended": dict(run.server.ends),
            "faults": dict(run.fate.done),
            "steps": dict(run.operator.done),
            "slow subscriber": self._slow_figures(),
            "redis": self._redis_figures(),
            "days": run.market.days,
        }

    # -- ids ------------------------------------------------------------------------------------------------

    def _find_missing(self):
        """Return what was not delivered of what was due."""
        missing = []
        for channel, all_made in self._run.market.by_channel.items():
            ticker = channel.split(".", 1)[1]
            for from_ns, to_ns in self._run.operator.wanted[ticker]:
                due_ns, until_ns = self._due(channel, all_made, from_ns, to_ns)
                missing += [
                    made
                    for made in all_made
                    if due_ns <= made.made_ns < until_ns and made.serial not in self._delivered
                ]
        return missing

    def _due(self, channel, all_made, from_ns, to_ns):
        """Return when a channel that was wanted is due.

        From its first tick, or from an acknowledgement that must have come. Where it was given up, until the
        last that came of it before: nobody waits for its return.
        """
        server, end_ns = self._run.server, to_ns or inf
        since_ns = next((at for at in server.subscribed[channel] if at >= from_ns), inf)
        known = [
            m.made_ns for m in all_made if since_ns <= m.made_ns < end_ns and m.serial in self._delivered
        ]
        known += [at for at in server.acknowledged[channel] if since_ns <= at < end_ns]
        if not known:
            return inf, inf
        return min(known), inf if to_ns is None else max(known)

    def _check_ids(self):
        twice = [serial for serial, count in self._delivered.items() if count > 1]
        strange = [serial for serial in self._delivered if serial not in self._made]
        for made in self.missing:
            spans = self.spans[made.channel]
            covering = [span for span in spans if span.covers(made.event_ns)]
            for span in covering:
                span.missing += 1
            if not covering:
                self.untold.append(made.serial)
                self.sent_within += any(span.covers(made.made_ns) for span in spans)
        for what, serials in (("untold", self.untold), ("delivered twice", twice), ("never made", strange)):
            if serials:
                known = [self._made[serial] for serial in serials if serial in self._made]
                channels = Counter(made.channel for made in known)
                examples = "; ".join(map(self._shown, known[:EXAMPLES]))
                self._blame(f"{len(serials)} ids {what}: {channels.most_common(8)}, as {examples}")

    def _check_spans(self):
        """Check that nothing came strictly within a span of its channel, and that none was told twice."""
        within, again = [], []
        for channel, all_made in self._run.market.by_channel.items():
            spans = sorted(self.spans[channel], key=lambda span: span.from_ns)
            came = sorted((made.event_ns, made) for made in all_made if made.serial in self._delivered)
            for span in spans:
                around = came[bisect_left(came, (span.from_ns,)) : bisect_left(came, (span.to_ns,))]
                within += [f"{self._shown(made)} in {span}" for _, made in around if span.holds(made)]
            pairs = ((a, b) for a, b in pairwise(spans) if a.to_ns > b.from_ns + MS_NS)
            again += [f"{channel}: {a} and {b}" for a, b in pairs]
        for what, found in (("ids came within a span", within), ("spans overlap", again)):
            if found:
                self._blame(f"{len(found)} {what}, as {'; '.join(found[:EXAMPLES])}")

    def _shown(self, made):
        return f"{made.channel} {made.serial} made at {self._run.at(made.made_ns)}"

    def _delays_s(self, told):
        """Return how long after their end most spans were told, and the last of them."""
        delays_s = sorted((span.at_ns - span.to_ns) / 1e9 for span in told)
        return (
            [round(delays_s[int(part * (len(delays_s) - 1))], 3) for part in (0.5, 0.99, 1)] if told else []
        )

    # -- counts ---------------------------------------------------------------------------------------------

    def _check_subscribers(self):
        run, accounts = self._run, self._run.accounts
        for name, by_connection in accounts.items():
            for connection, account in by_connection.items():
                if account.imbalance:
                    self._blame(f"the account of {name} for {connection} does not balance: {account}")
        fast, slow = (_total(accounts[name]) for name in ("callback", "slow"))
        if fast.dropped or fast.failed or fast.rejected or fast.queued:
            self._blame(f"the callback had room for all, but {fast}")
        if fast.delivered != self._delivered.total():
            self._blame(f"the callback got {self._delivered.total()}, counted as {fast.delivered}")
        seen = Counter(run.slow_got)
        if seen.total() != len(seen) or not seen.keys() <= self._delivered.keys():
            self._blame("the slow subscriber got what the other did not, or got it twice")
        if len(self._delivered) - len(seen) != slow.dropped:
            self._blame(f"the slow one missed {len(self._delivered) - len(seen)}, counted as {slow.dropped}")

    def _check_redis(self):
        run = self._run
        if run.published is None:
            return
        due = {s for s in self._delivered if s in self._made and not self._made[s].channel.startswith("LULD")}
        got = Counter(run.published)
        account = _total(run.accounts["redis"])
        resent = sum(event.resent for event in run.events if isinstance(event, status.SinkUp))
        if account.dropped or account.failed:
            self._blame(f"Redis had room for all, but {account}")
        if due != got.keys():
            self._blame(f"Redis: {len(due - got.keys())} missing, {len(got.keys() - due)} too many")
        if got.total() - len(got) > resent:
            self._blame(f"Redis: {got.total() - len(got)} came twice, {resent} were told as sent again")

    def _check_end(self):
        """Check that everything wanted flows at the end, when all has healed for a while."""
        run = self._run
        silent = []
        for ticker in run.operator.wants():
            for channel, all_made in run.market.by_channel.items():
                late = [made for made in all_made if made.made_ns > run.healed_ns]
                if channel.split(".", 1)[1] == ticker and late and not run.server.is_never(channel):
                    silent += [] if late[-1].serial in self._delivered else [channel]
        if silent:
            self._blame(f"silent at the end: {silent}")

    def _blame(self, words):
        self.problems.append(words)

    def _slow_figures(self):
        account = _total(self._run.accounts["slow"])
        return {"delivered": account.delivered, "dropped": account.dropped}

    def _redis_figures(self):
        if self._run.published is None:
            return None
        published = Counter(self._run.published)
        return {
            "messages": published.total(),
            "ids": len(published),
            "hung": self._run.fate.pauses,
            "down told": sum(isinstance(event, status.SinkDown) for event in self._run.events),
        }

    # -- what led to it -------------------------------------------------------------------------------------

    def clusters(self):
        """Return the untold ids in lines, those that were made together in one."""
        lines = []
        untold = sorted((self._made[serial] for serial in self.untold), key=lambda made: made.made_ns)
        while untold:
            count = next(
                (n for n, (a, b) in enumerate(pairwise(untold), 1) if b.made_ns - a.made_ns > APART_NS),
                len(untold),
            )
            cluster, untold = untold[:count], untold[count:]
            channels = Counter(made.channel for made in cluster)
            from_s, to_s = (self._run.at(cluster[place].made_ns) for place in (0, -1))
            lines.append(f"untold {from_s}-{to_s}: {dict(channels.most_common(12))}")
        return lines

    def plot(self, before_s=12.0, after_s=3.0):
        """Return what led to the first untold id, and what was told of its channel."""
        if not self.untold:
            return []
        made = min((self._made[serial] for serial in self.untold), key=lambda made: made.made_ns)
        at_s = (made.made_ns - self._run.begin_ns) / 1e9
        return self.story(at_s - before_s, at_s + after_s, made.channel)

    def story(self, from_s, to_s, channel=""):
        """Return what happened between two times, s, line by line, and what was told of a channel."""
        run = self._run
        told = [(event.at_ns, f"told: {_words(event)}") for event in run.events]
        lines = sorted([*run.server.log, *run.operator.log, *told])
        story = [
            f"{run.at(ns):>9}  {words[:250]}" for ns, words in lines if from_s <= float(run.at(ns)) <= to_s
        ]
        story += [f"span {span}" for span in self.spans[channel]]
        untold = [self._made[s] for s in self.untold if self._made[s].channel == channel]
        return story + [f"untold: of {run.at(made.event_ns)}, {self._shown(made)}" for made in untold]


def _words(event):
    if isinstance(event, status.Loss) and event.gaps:
        return f"{event.connection}: a loss of {len(event.gaps)} spans"
    return event.describe()


def _total(by_connection):
    accounts = list(by_connection.values())
    return sum(accounts[1:], accounts[0])
