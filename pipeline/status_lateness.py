"""The status events of late ticks and growing backlogs: where, how much, and whose doing."""

from typing import Final, Literal

from .status_event import StatusEvent, some_of

__all__ = ["CaughtUp", "FallingBehind", "Late", "OnTime", "Others"]

Others = Literal["on time", "late", "none"]

OURS_BYTES: Final = 1 << 20
"""If more than this waits undecoded, it is us who are slow: at full speed it is there for some ms."""
MIB: Final = 1 << 20


class Late(StatusEvent, frozen=True):
    """Ticks come later than they use to, after they happened; `OnTime` or `Disconnected` ends it.

    Without ``tickers`` it is all channels of the connection together: even the fastest tenth of the ticks is
    late. Without ``connection`` it is all connections that bring any, together.

    Args:
        tickers: those that are late, where the others of the connection are not.
        late_s: from the event's time until received, now.
        usually_s: the same, in the minutes before; of ``tickers``, of the others on the connection now.
        others: what the other connections are; ``none`` where there are none to compare with.
        queued_bytes: what waits undecoded here.
    """

    late_s: float
    usually_s: float
    tickers: tuple[str, ...] = ()
    others: Others = "none"
    queued_bytes: int = 0

    def _words(self) -> str:
        if self.tickers:
            return (
                f"ticks of {some_of(self.tickers)} come {self.late_s:.2f} s late, those of the other tickers"
                f" {self.usually_s:.2f} s: the source of these is slow"
            )
        how = f"all ticks come {self.late_s:.2f} s late, usually {self.usually_s:.2f} s"
        if self.queued_bytes > OURS_BYTES:
            return f"{how}; {self.queued_bytes / MIB:.1f} MiB wait here, so we are slow"
        if self.connection is None:
            return f"{how}, on every connection: our line, this machine, or the feed itself is slow"
        if self.others == "none":
            return f"{how}; there is no other connection to compare with"
        return (
            f"{how}, while other connections are on time: we or the server are slow on {self.connection};"
            " nothing waits here, so it is the server or the line to it"
        )


class OnTime(StatusEvent, frozen=True):
    """What was `Late` is no longer; ``connection`` and ``tickers`` say what, as there.

    Args:
        late_for_s: for how long it was.
    """

    late_for_s: float
    tickers: tuple[str, ...] = ()

    def _words(self) -> str:
        whose = f"of {some_of(self.tickers)} " if self.tickers else ""
        return f"ticks {whose}come on time again after {self.late_for_s:.0f} s"


class FallingBehind(StatusEvent, frozen=True):
    """A backlog grows and will overflow; `CaughtUp`, `Disconnected` or `Loss` ends it.

    Args:
        where: ``server``: what it keeps for us, after which it cuts us off; ``ingest``: what waits here
            undecoded, of which the oldest is dropped when it is full.
        backlog_s: how much later than at best the ticks come, of ``server``.
        queued_bytes: what waits undecoded here.
        overflow_in_s: at this rate; None where nobody knows how much the server keeps.
    """

    where: Literal["server", "ingest"]
    backlog_s: float
    queued_bytes: int
    overflow_in_s: float | None

    def _words(self) -> str:
        if self.where == "ingest":
            return (
                f"we fall behind: {self.queued_bytes / MIB:.1f} MiB wait undecoded and grow;"
                f" ticks are dropped in about {self.overflow_in_s or 0:.0f} s"
            )
        when = "" if self.overflow_in_s is None else f" in about {self.overflow_in_s:.0f} s"
        return (
            f"the server's backlog for us grows, {self.backlog_s:.1f} s by now:"
            f" it cuts us off when its buffer is full{when}"
        )


class CaughtUp(StatusEvent, frozen=True):
    """A backlog that grew is gone, or grows no more.

    Args:
        where: as `FallingBehind` has it.
        behind_for_s: since it was told.
    """

    where: Literal["server", "ingest"]
    behind_for_s: float

    def _words(self) -> str:
        whose = "the server's backlog for us" if self.where == "server" else "what waits undecoded"
        return f"{whose} grows no more, after {self.behind_for_s:.0f} s"
