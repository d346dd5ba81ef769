"""The spans in which ticks may be missing: opened, moved, ended, made certain or dropped, and told."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import inf
from typing import Final

from .sessions import Sessions
from .spans import Finding, Outage, Session, Span, kind_of, star_of
from .tracks import forget_oldest

__all__ = ["LATEST_NS", "SETTLE_S", "SpanBook"]

SETTLE_S: Final = 2.0
"""A channel that stays silent for so long after its confirmation is not waited for."""
HOLD_S: Final = 4.0
"""So long at most is waited for the answer of a session that nothing more comes of it."""
SPANS_MOST: Final = 16
"""Of one channel so many spans may wait for an old carrier's proof; then the first is told without."""
LATEST_NS: Final = 2**63 - 1


class SpanBook:
    """Keeps the spans of all channels until they are told; see `Coverage` for when there is one.

    Of a channel one span at most is open; those before it have ended, and wait to be decided or told.

    Args:
        sessions: that there are.
        begin_ns: as in `Coverage`.
        end_ns: as in `Coverage`.
        tell: as in `Coverage`.

    Attributes:
        since_ns: channels that were ever carried, and from when on.
    """

    def __init__(
        self,
        sessions: Sessions,
        begin_ns: Callable[[str, Sequence[str], int], int],
        end_ns: Callable[[Span, float | None], int],
        tell: Callable[[Outage, list[Span]], None],
    ) -> None:
        self.since_ns: dict[str, int] = {}
        self._sessions = sessions
        self._begin_ns = begin_ns
        self._end_ns = end_ns
        self._emit = tell
        self._settled_ns: dict[str, int] = {}
        """Up to when the spans of a channel were told, or were found to miss nothing."""
        self._spans: dict[str, list[Span]] = {}
        self._outages: dict[Outage, None] = {}
        self._settling: deque[tuple[float, Span]] = deque()

    @property
    def has_spans(self) -> bool:
        """Whether there is a span that is not decided, not ended or not told."""
        return bool(self._spans or self._outages)

    @property
    def next_look_s(self) -> float | None:
        """When `look` may have something to do, monotonic; None while it has not."""
        if self._settling:
            return self._settling[0][0] + SETTLE_S  # whatever is awaited is among them
        due = [outage.ended_s + SETTLE_S for outage in self._outages if outage.has_ended]
        due += [span.ended_s + HOLD_S for outage in self._outages for span in outage.spans if span.holders]
        return min(due, default=None)

    def of(self, key: str) -> tuple[Span, ...]:
        """Return the spans of a channel, in their order."""
        return tuple(self._spans.get(key, ()))

    def open_span(self, key: str) -> Span | None:
        """Return the open span of a channel, if there is one."""
        spans = self._spans.get(key)
        return spans[-1] if spans and spans[-1].to_ns is None else None

    def covered_by(self, session: Session, key: str) -> Iterable[str]:
        """Return a channel, and of a wildcard those that it brings, too, as far as somebody carries them."""
        if key != star_of(key, session.feed):
            return (key,)
        kind = kind_of(key)
        named = self._sessions.named_beside(key, session.feed)
        open_ones = dict.fromkeys(
            name
            for name, spans in self._spans.items()
            if kind_of(name) == kind and spans[-1].feed == session.feed
        )
        return (key, *(name for name in named | open_ones if name != key))

    def open(self, key: str, feed: str, carriers: list[Session], from_ns: int | None = None) -> Span:
        """Open a span of a channel.

        Args:
            key: the channel.
            feed: the address at which it is had.
            carriers: who carried it until now.
            from_ns: its begin; by default what was missing cannot have been before.
        """
        if from_ns is None:
            names = [each.connection for each in carriers]
            from_ns = self._begin_ns(key, names, self.since_ns.get(key, 0))
            told = [span.to_ns for span in self._spans.get(key, ()) if span.to_ns is not None]
            from_ns = max(from_ns, self._settled_ns.get(key, 0), *told)
        span = Span(key, feed, from_ns)
        span.before = {each: None for each in self._sessions.all() if key in each.flowing}
        spans = self._spans.setdefault(key, [])
        spans.append(span)
        if len(spans) > SPANS_MOST and spans[0].outage is None:
            self._condemn(spans[0], outage := Outage(carriers[0].connection, "disconnected"))
            self._ended(outage, 0.0)
        if len(spans) == 1:
            for session in self._sessions.all():
                self.watch(session, key)
        return span

    def doubt(self, session: Session, key: str, from_ns: int | None = None) -> None:
        """Begin to look when a channel that others carry comes over another session."""
        others = [each for each in self._sessions.carriers(key, session.feed) if each is not session]
        if others and self.open_span(key) is None:
            self.depend(self.open(key, session.feed, others, from_ns), others)

    def depend(self, span: Span, sessions: list[Session]) -> None:
        """Let a span stand until one of these proves that it lived."""
        span.vouchers = dict.fromkeys(sessions)
        span.before = span.before | span.vouchers
        for each in sessions:
            each.vouches[span] = None
            self.watch(each, span.key)

    def withdraw(self, session: Session, key: str) -> None:
        """Drop the spans that only a request was the reason for, where nobody else has made it."""
        for each in self.covered_by(session, key):
            span = self.open_span(each)
            if span is not None and span.is_idle and not self._sessions.askers(each, session.feed):
                self.drop(span)

    # -- how they go on -------------------------------------------------------------------------------------

    def find_carried(self, session: Session, span: Span, at_s: float) -> None:
        """Note that the channel of an open span has another carrier."""
        span.before.pop(session, None)
        span.found_mark = self._sessions.next_mark()
        for each in span.found:  # it may be dead already
            if self._sessions.lives(each.session):
                self._sessions.ask_life(each.session, span.found_mark)
        span.found.append(Finding(session, at_s, span.found_mark))
        span.feed = session.feed
        self._settling.append((at_s, span))
        if span.outage is None:
            self.gained(span)

    def leave(self, session: Session, key: str) -> None:
        """Note that a session carries a channel no more; if it is missing, another may since."""
        span = self.open_span(key)
        for each in span.found if span is not None and not session.brings(key) else ():
            if each.session is session and each.left is None:
                each.left = self._sessions.mark

    def gained(self, span: Span) -> None:
        """Ask the old carriers of a channel whether they lived until now."""
        span.gain = self._sessions.next_mark()
        for each in span.vouchers:
            self._sessions.ask_life(each, self._sessions.mark)

    def take(self, session: Session, key: str, event_ns: int, at_s: float) -> None:
        """Take a tick of a channel."""
        for span in self.of(key):
            if session in span.before:
                self._advance(session, span, event_ns)
            elif span.to_ns is None and event_ns > span.from_ns and session.brings(key):
                # A bar may be one of an older second than those that are missing.
                gains = [each.at_s for each in span.found if span.is_of_bars and each.session is session]
                confirmed_s = gains[-1] if gains else None
                to_ns = event_ns if confirmed_s is None else self._end_ns(span, confirmed_s)
                self.close(span, to_ns, at_s)
            elif key in session.leaving and span.from_ns < event_ns < (span.to_ns or LATEST_NS):
                self._split(session, span, event_ns, at_s)

    def _advance(self, session: Session, span: Span, event_ns: int) -> None:
        """Begin a span later: an old carrier has brought all up to here."""
        if span.to_ns is not None and event_ns >= span.to_ns:
            if span.outage is None and session in span.vouchers and not span.is_star:
                self.drop(span)
        elif event_ns - span.is_star > span.from_ns:
            span.from_ns = event_ns - span.is_star

    def _split(self, session: Session, span: Span, event_ns: int, at_s: float) -> None:
        """Take a tick out of a span: one that came over a session which had only begun to carry it.

        That one carried the channel until it gave it back. If somebody else did by then, or nobody wanted it
        any more, nothing is missing after the tick but what that session did not live to bring.
        """
        if span.is_idle:
            self.gained(span)
        before = Span(span.key, span.feed, span.from_ns)
        before.gain, before.outage = span.gain, span.outage
        spans = self._spans[span.key]
        spans.insert(spans.index(span), before)
        self.depend(before, [*span.vouchers])
        before.before |= span.before
        if before.outage is not None:
            before.outage.spans[before] = None
        span.from_ns = event_ns
        span.before[session] = None
        if (span.found or span.to_ns is not None) and session.leaving[span.key][-1] >= span.found_mark:
            span.gain = span.found_mark
            if span.outage is not None:
                del span.outage.spans[span]
                span.outage = None
            self.depend(span, [*span.vouchers, session])
            self._sessions.ask_life(session, span.gain)
            if session.answered >= span.gain:
                self.drop(span)
        self.close(before, event_ns, at_s)

    def close(self, span: Span, to_ns: int, at_s: float) -> None:
        """End a span; it is told if it is certain, and a tentative one waits for what becomes of it.

        Where its last tick came after another had begun to carry it, nothing is missing.
        """
        span.to_ns, span.ended_s = max(span.from_ns, to_ns), at_s
        ended_ns = max(each.to_ns or 0 for each in self.of(span.key))
        for asker in self._sessions.askers(span.key, span.feed):
            self.doubt(asker, span.key, ended_ns)
        if to_ns <= span.from_ns:
            self.drop(span)
            return
        span.holders = {each: None for each in self._sessions.all() if span.key in each.leaving}
        for each in span.holders:
            self._sessions.ask_life(each, self._sessions.next_mark())
        if span.outage is not None:
            self._ended(span.outage, at_s)

    def _settle(self, span: Span, now_s: float) -> None:
        """End a span with the first confirmation from which on its channel was carried by one or the other.

        So it was if each lived until the next began. Of one that has not proved it, what it carried is a span
        of its own, as with any other old carrier.
        """
        *others, last = span.found
        kept = [last]
        for each in reversed(others):
            if self._may_have_kept(each, kept[-1]):
                kept.append(each)
        for heir, each in reversed(tuple(pairwise(kept))):
            beside = [
                other for other in others if other.mark <= each.mark and self._may_have_kept(other, heir)
            ]
            if all(other.session.proved < heir.mark for other in beside):
                self._leave_to_prove(span, each, heir, [other.session for other in beside], now_s)
        self.close(span, self._end_ns(span, kept[-1].at_s), now_s)

    def _may_have_kept(self, each: Finding, heir: Finding) -> bool:
        return each.may_have_lived_until(heir.mark, lives=self._sessions.lives(each.session))

    def _leave_to_prove(
        self, span: Span, each: Finding, heir: Finding, vouchers: list[Session], now_s: float
    ) -> None:
        """Let what came between two be a span of its own, until one who carried it meanwhile proves it."""
        rest = Span(span.key, span.feed, max(self._end_ns(span, each.at_s), span.from_ns))
        rest.to_ns, rest.ended_s = self._end_ns(span, heir.at_s), now_s
        rest.gain = rest.found_mark = heir.mark
        if rest.from_ns < rest.to_ns:
            self._spans[span.key].append(rest)
            self.depend(rest, [*vouchers, *span.vouchers])

    def lose(self, key: str, session: Session, outage: Outage) -> None:
        """Make sure of a span of a channel that nobody carries any more."""
        span = self.open_span(key) or self.open(key, session.feed, [session])
        span.found = []
        if span.outage is None:
            self._condemn(span, outage)

    def forget(self, key: str) -> None:
        """Note that a channel begins anew if it is asked for again."""
        ended = [span.to_ns for span in self.of(key) if span.to_ns is not None]
        self._settled_ns[key] = max([self._settled_ns.get(key, 0), *ended])
        del self.since_ns[key]
        forget_oldest(self._settled_ns)

    # -- what becomes of them -------------------------------------------------------------------------------

    def _condemn(self, span: Span, outage: Outage) -> None:
        """Make a span certain."""
        for voucher in span.vouchers:
            voucher.vouches.pop(span, None)
        span.vouchers = {}
        if span.to_ns is not None and span.from_ns >= span.to_ns:
            self.drop(span)
            return
        span.outage = outage
        outage.spans[span] = None
        self._outages[outage] = None

    def stop_vouching(self, session: Session, span: Span, outage: Outage) -> None:
        """Count no more on a session's proof; without any other the span is certain, and of this outage."""
        span.vouchers.pop(session, None)
        session.vouches.pop(span, None)
        if not span.vouchers:
            if span.gain is None:
                self.drop(span)
                return
            self._condemn(span, outage)
            if span.to_ns is not None and span.outage is not None:
                self._ended(outage, 0.0)

    def drop(self, span: Span) -> None:
        """Forget a span: nothing is missing, or nobody wants it."""
        for voucher in span.vouchers:
            voucher.vouches.pop(span, None)
        span.vouchers = {}
        self._settled(span)
        self._remove(span)
        if span.outage is not None:
            span.outage.spans.pop(span, None)
            if span.outage.is_over:
                self._tell(span.outage)

    def _settled(self, span: Span) -> None:
        """Begin no span before this one's end: the last tick may have been an old one, over a slow socket."""
        if span.to_ns is not None:
            self._settled_ns[span.key] = max(span.to_ns, self._settled_ns.get(span.key, 0))

    def _remove(self, span: Span) -> None:
        spans = self._spans[span.key]
        spans.remove(span)
        if not spans:
            del self._spans[span.key]
            for session in self._sessions.all():
                self.watch(session, span.key)

    def watch(self, session: Session, key: str) -> None:
        """Look at a channel's ticks on a session, or no more."""
        held = key in session.asked or (
            key in self._spans and (key in session.leaving or session.brings(key))
        )
        session.watch_for(key, wanted=held)
        self._sessions.rest(session)

    # -- telling --------------------------------------------------------------------------------------------

    def review(self, key: str) -> None:
        """Tell what can be told now of a channel's outages."""
        for span in self.of(key):
            if span.outage is not None:
                self._ended(span.outage, span.outage.ended_s)

    def look(self, now_s: float) -> None:
        """End what was waited for long enough, and tell what nothing more is waited for.

        Args:
            now_s: monotonic; all that was received before has been seen.
        """
        while self._settling and self._settling[0][0] + SETTLE_S <= now_s:
            found_s, span = self._settling.popleft()
            if span.is_awaited and span.found[-1].at_s <= found_s and self.open_span(span.key) is span:
                self._settle(span, now_s)
        for outage in tuple(self._outages):
            for span in outage.spans:
                if span.ended_s + HOLD_S <= now_s:
                    span.holders = {}
            if outage.has_ended:
                outage.waits_s = min(outage.waits_s, now_s)
                awaits = any(span.is_awaited for span in outage.spans)
                if not awaits or outage.waits_s + SETTLE_S <= now_s:
                    self._tell(outage)

    def flush(self) -> None:
        """Tell all that is open as ending now, and what is not decided: all sessions end."""
        for session in self._sessions.all():
            outage = Outage(session.connection, "disconnected")
            for span in tuple(session.vouches):
                self.stop_vouching(session, span, outage)
        for outage in tuple(self._outages):
            for span in tuple(outage.spans):
                span.holders = {}
                if span.to_ns is None:
                    found_s = span.found[0].at_s if span.found else None
                    span.to_ns = max(span.from_ns, self._end_ns(span, found_s))
            self._tell(outage)

    def _ended(self, outage: Outage, at_s: float) -> None:
        outage.ended_s = at_s
        if outage.is_over:
            self._tell(outage)

    def _tell(self, outage: Outage) -> None:
        """Tell what has ended of an outage, and keep what has not."""
        ended = [span for span in outage.spans if span.is_final]
        outage.waits_s = inf
        for span in ended:
            del outage.spans[span]
            self._settled(span)
            self._remove(span)
        if not outage.spans:
            self._outages.pop(outage, None)
        if ended:
            self._emit(outage, ended)
