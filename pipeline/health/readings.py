"""What all metrics of one scrape are made of: a stream's figures, read once."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from operators.account import Account
from operators.histogram import HistogramSnapshot
from pipeline.shown import shown
from pipeline.stream import TickStream

from .figures import Figures
from .tally import Tally

__all__ = ["LATENCY_LABELS", "Reading", "Readings", "latencies", "printable"]

LATENCY_LABELS: Final = ("stage", "connection", "sink")


@dataclass(frozen=True, slots=True)
class Reading:
    """Holds what all metrics of one scrape are made of.

    Args:
        figures: what was counted.
        carried: connection id to its tickers.
        tally: what the status events say.
        now_ns: wall clock of the reading.
        accounts: by sink and connection, of what was decoded.
    """

    figures: Figures
    carried: Mapping[str, tuple[str, ...]]
    tally: Tally
    now_ns: int
    accounts: Mapping[str, Mapping[str, Account]]


class Readings:
    """Reads a stream for an exporter; from any thread.

    Args:
        stream: is asked for its figures.
    """

    def __init__(self, stream: TickStream) -> None:
        self._stream = stream
        self._tally = Tally(stream.status)

    def take(self) -> Reading:
        """Return how it is now; it takes some ms."""
        figures, carried = self._stream.figures(), self._stream.tickers()
        accounts = {sink: each.counted() for sink, each in figures.subscribers.items()}
        return Reading(figures, carried, self._tally, time.time_ns(), accounts)

    def close(self) -> None:
        """Listen no more; idempotent."""
        self._tally.close()


def printable(label: str) -> str:
    """Return a label's value as it is told; line ends stay, for which each format has its own way."""
    return "\n".join(map(shown, label.split("\n")))


def latencies(reading: Reading) -> Iterator[tuple[tuple[str, str, str], HistogramSnapshot]]:
    """Yield stage, connection and sink of each latency histogram, and what it holds.

    ``feed`` is from the event's time until received, by connection; ``bars`` the same of bars, from their end
    until they came for the first time; ``pipeline`` from then until delivered, and ``sink`` from then until
    acknowledged, by sink.
    """
    held = reading.figures.latencies
    for connection, histogram in held.feed.items():
        yield ("feed", printable(connection), ""), histogram
    for connection, histogram in held.bars.items():
        yield ("bars", printable(connection), ""), histogram
    for sink, histogram in held.delivered.items():
        yield ("pipeline", "", printable(sink)), histogram
    for sink, histogram in held.sink.items():
        yield ("sink", "", printable(sink)), histogram
