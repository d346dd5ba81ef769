"""Which connection carries which channel, and so what may be missing of each: pure, in the stream's order.

All that it is told comes in one order: ticks, and between them what was asked for, confirmed, given back and
lost, each at its place among the reads. So nothing in here compares times of a clock.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .sessions import Sessions
from .span_book import LATEST_NS, SpanBook
from .spans import Outage, Session, Span
from .symbols import WILDCARD

__all__ = ["Coverage"]


class Coverage:
    """Knows who carries each channel, and keeps the spans of which ticks may be missing.

    A channel that nobody carries any more, though somebody did, has an open span that is *certain*: it begins
    with its last tick, and ends with its first tick on a connection that was asked for it, or with the
    confirmation where it stays silent.

    Where a channel gets another carrier, its old ones may have been dead for long without anybody knowing: a
    half-open socket is found out after 40 s, and by then it may not carry the channel any more. So from the
    request on there is a span that is *tentative*, from the last tick by the old carriers to the first by the
    new one. It is dropped when one of the old carriers proves that it lived when the new one had begun; when
    all of them have ended without, it is certain. The proof is the answer to something that was sent after
    that moment, and a tick behind it: a socket is one ordered stream, so all before it were received. A
    connection that carries nothing more has no ticks to send: its answer is the proof, unless it had been
    silent for far longer than usual.

    Nothing else needs a span: as long as anybody carries a channel, whatever was lost lies behind the last
    tick that came, and that is where the span begins once nobody does.

    Args:
        begin_ns: returns the event time of a channel's last tick; where it had none, of the last that any of
            these connections brought, but not before the given moment, from which on it was carried.
        end_ns: returns by when at the latest a span ended that no tick ends: when its channel was confirmed,
            monotonic, or now.
        tell: given what has ended of an outage; must not block.

    Attributes:
        watched: the sessions whose batches must be shown to `see`, by connection.
    """

    def __init__(
        self,
        begin_ns: Callable[[str, Sequence[str], int], int],
        end_ns: Callable[[Span, float | None], int],
        tell: Callable[[Outage, list[Span]], None],
    ) -> None:
        self._sessions = Sessions()
        self._book = SpanBook(self._sessions, begin_ns, end_ns, tell)
        self.watched = self._sessions.watched
        self.look = self._book.look
        self.flush = self._book.flush

    @property
    def has_spans(self) -> bool:
        """Whether there is a span that is not decided, not ended or not told."""
        return self._book.has_spans

    @property
    def next_look_s(self) -> float | None:
        """When `look` may have something to do, monotonic; None while it has not."""
        return self._book.next_look_s

    # -- what happens to channels ---------------------------------------------------------------------------

    def begin(
        self,
        connection: str,
        feed: str,
        channels: Iterable[str],
        *,
        since_ns: int,
        prove: Callable[[int], None],
        is_mute: Callable[[], bool],
    ) -> None:
        """Note that a session begins, in which these are asked for.

        Args:
            connection: its id.
            feed: its address; a wildcard brings all that there is at one.
            channels: as they are asked for.
            since_ns: now, by the feed's clock.
            prove: asks the server for an answer; `answered` is called with the given mark when it comes.
            is_mute: tells whether it has been silent for far longer than ever.
        """
        self._sessions.add(Session(connection, feed, prove, is_mute))
        self.ask(connection, channels, since_ns)

    def ask(self, connection: str, channels: Iterable[str], since_ns: int) -> None:
        """Note that these are asked for in a session."""
        session = self._sessions.get(connection)
        if session is None:
            return
        for key in map(session.key, channels):
            if key not in session.carried and key not in session.asked:
                session.asked[key] = since_ns
                self._book.watch(session, key)
                for each in self._book.covered_by(session, key):
                    self._book.doubt(session, each)

    def confirm(self, connection: str, channels: Iterable[str], at_s: float) -> None:
        """Note that the server confirmed these.

        Args:
            connection: whose.
            channels: which.
            at_s: when, monotonic.
        """
        session = self._sessions.get(connection)
        if session is not None:
            for key in map(session.key, channels):
                if key not in session.carried:
                    self._gain(session, key, at_s)

    def give_back(self, connection: str, channels: Iterable[str]) -> None:
        """Note that these are being given back."""
        session = self._sessions.get(connection)
        if session is None:
            return
        outage = Outage(connection, "moved")
        for key in map(session.key, channels):
            asked = session.asked.pop(key, None) is not None
            carried = session.carried.pop(key, self) is None
            if asked or carried:
                session.leave(key, self._sessions.mark, carried=carried)
            if carried:
                self._lose(session, key, outage)
            elif asked:
                self._book.withdraw(session, key)
            self._book.watch(session, key)
        self._sessions.ask_life(session, self._sessions.next_mark())  # the acknowledgement may be lost
        self._review(session)

    def returned(self, connection: str, channels: Iterable[str]) -> None:
        """Note that the server acknowledged that these were given back, by its own spelling of pairs."""
        session = self._sessions.get(connection)
        if session is None:
            return
        for key in map(session.key_leaving, channels):
            marks = session.leaving.get(key)
            if marks:
                self._left(session, key, marks[1:])
                self._take_answer(session, marks[0])

    def renew(self, connection: str) -> None:
        """Note that a session that fell silent gives all back, and asks for it again."""
        session = self._sessions.get(connection)
        if session is None:
            return
        outage = Outage(connection, "stale")
        lost, session.carried = session.carried, {}
        for key in lost:
            session.asked[key] = self._book.since_ns.get(key, 0)
            session.leave(key, self._sessions.mark, carried=True)
            self._lose(session, key, outage)
            self._book.watch(session, key)
        self._sessions.ask_life(session, self._sessions.next_mark())

    def end(self, connection: str) -> None:
        """Note that a session ended: what it has not brought, it will not."""
        session = self._sessions.pop(connection)
        if session is None:
            return
        outage = Outage(connection, "disconnected")
        for key in session.carried:
            self._lose(session, key, outage)
        for key in session.asked:
            self._book.withdraw(session, key)
        for span in tuple(session.vouches):
            self._book.stop_vouching(session, span, outage)
        for key in tuple(session.leaving):
            self._left(session, key)

    def forget(self, channels: Iterable[str], end_ns: Callable[[str], int], at_s: float) -> None:
        """Note that nobody wants these any more: what is missing of them ends now.

        Args:
            channels: which.
            end_ns: returns what time it is at a feed.
            at_s: now, monotonic.
        """
        gone = frozenset(channels)
        for key in [key for key in self._book.since_ns if key.partition(" ")[0] in gone]:
            span = self._book.open_span(key)
            mark = self._sessions.next_mark()
            carriers = [each for each in self._sessions.all() if key in each.carried]
            for each in self._sessions.all():
                asked = each.asked.pop(key, None) is not None
                carried = each.carried.pop(key, self) is None
                if asked or carried:
                    each.leave(key, mark, carried=carried)
                    self._sessions.ask_life(each, self._sessions.next_mark())
            if span is None and carriers:  # which may be dead
                span = self._book.open(key, carriers[0].feed, carriers)
                self._book.depend(span, carriers)
            if span is not None and span.outage is None:
                self._book.gained(span)
            if span is not None:
                span.found_mark = mark
                self._book.close(span, end_ns(span.feed), at_s)
            for each in self._sessions.all():
                self._book.watch(each, key)
            self._book.forget(key)

    def answered(self, connection: str, mark: int) -> None:
        """Note that a session's server answered what `prove` sent."""
        session = self._sessions.get(connection)
        if session is not None and mark <= session.sent:
            session.awaits_answer = False
            self._take_answer(session, mark)
            if session.sent > mark:
                self._sessions.ask_life(session, session.sent)

    # -- what the stream brings -----------------------------------------------------------------------------

    def see(self, session: Session, ticks: Sequence[Any], *, is_alive: bool, at_s: float) -> None:
        """Look at a batch of a watched session.

        Args:
            session: as in `watched`.
            ticks: in their order, without copies.
            is_alive: any tick came, if only copies.
            at_s: now, monotonic.
        """
        watch = session.watch
        if watch and not watch.keys().isdisjoint(map(type, ticks)):
            for tick in ticks:
                its = watch.get(type(tick))
                if its is not None:
                    # The wildcard first: it may be what a ticker comes by.
                    for key in (its.get(WILDCARD), its.get(tick.ticker)):
                        if key is not None and 0 < tick.event_ns < LATEST_NS:
                            self._take(session, key, tick.event_ns, at_s)
        if is_alive and session.answered > session.proved:
            self._prove(session)
            self._sessions.rest(session)

    def _take(self, session: Session, key: str, event_ns: int, at_s: float) -> None:
        if key in session.asked and key not in session.leaving:
            self._gain(session, key, at_s)
        self._book.take(session, key, event_ns, at_s)

    # -- carriers -------------------------------------------------------------------------------------------

    def _gain(self, session: Session, key: str, at_s: float) -> None:
        """Note that a session carries a channel from now on."""
        self._book.since_ns.setdefault(key, session.asked.pop(key, 0))
        session.left(key)
        session.carried[key] = None
        for each in self._book.covered_by(session, key):
            span = self._book.open_span(each)
            if span is not None:
                self._book.find_carried(session, span, at_s)
            self._book.watch(session, each)

    def _lose(self, session: Session, key: str, outage: Outage) -> None:
        """Note that a session carries a channel no more: if nobody does, it is missing."""
        span = self._book.open_span(key)
        if span is not None and span.is_idle and not session.brings(key):
            span.vouchers.pop(session, None)
            session.vouches.pop(span, None)
        for each in self._book.covered_by(session, key):
            self._book.leave(session, each)
        carriers = self._sessions.carriers(key, session.feed)
        if key in self._book.since_ns and not carriers:
            self._book.lose(key, session, outage)
        elif span is not None and all(each in span.before for each in carriers):
            span.found = []  # only those are left that carried it before

    def _left(self, session: Session, key: str, marks: tuple[int, ...] = ()) -> None:
        """Note that no more ticks come of what was given back, unless it was again since."""
        session.left(key, marks)
        self._book.watch(session, key)
        self._book.review(key)

    # -- proofs ---------------------------------------------------------------------------------------------

    def _take_answer(self, session: Session, mark: int) -> None:
        session.answered = max(session.answered, mark)
        for key, marks in tuple(session.leaving.items()):
            if marks[0] < mark:
                self._left(session, key, tuple(each for each in marks if each >= mark))
        self._review(session)

    def _review(self, session: Session) -> None:
        """See what an answer proves: of a session that carries something a tick must follow."""
        if session.answered > session.proved and not session.carried:
            if session.is_mute():
                outage = Outage(session.connection, "stale")
                for span in tuple(session.vouches):
                    if span.gain is not None and span.gain <= session.answered:
                        self._book.stop_vouching(session, span, outage)
            else:
                self._prove(session)
        self._sessions.rest(session)

    def _prove(self, session: Session) -> None:
        session.proved = session.answered
        for span in tuple(session.vouches):
            if span.gain is not None and span.gain <= session.proved:
                self._book.drop(span)
                for asker in self._sessions.askers(span.key, span.feed):
                    self._book.doubt(asker, span.key)
