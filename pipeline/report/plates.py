"""The figures of a report, each with what it shows and what follows from it; as a PDF and as PNGs."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from .figures import (
    by_group,
    by_stage,
    ecdf_plot,
    heat_map,
    latency_ms,
    latency_over_time,
    percentile_plot,
    summary_plot,
)
from .findings import Findings
from .flows import account_bars, gaps_plot

__all__ = ["Plate", "plates_of", "write_pdf", "write_pngs"]

PNG_DPI: Final = 150


class Plate(NamedTuple):
    """Is a figure of the report.

    Args:
        name: of its file.
        words: what it shows and how to read it, a sentence or a few.
    """

    name: str
    figure: Figure
    words: str


def plates_of(findings: Findings) -> Iterator[Plate]:
    """Yield the figures of a capture, one after the other; what it cannot show is left out."""
    ticks = findings.ticks
    if findings.accounts is not None:
        yield Plate(
            "account",
            account_bars(findings.accounts, "Where every received element is"),
            "Whatever a connection brought was delivered, was taken out as a duplicate, or was rejected "
            "since it is no tick.",
        )
    if latency_ms(ticks, "feed").count():
        yield from _feed_plates(ticks)
    if latency_ms(ticks, "bars").count():
        yield from _bars_plates(ticks)
    yield Plate(
        "stages",
        percentile_plot(by_stage(ticks), "Where the time goes"),
        "The feed's part (the way to us, and their clock; bars apart, which it sends late), ours until the "
        "tick is decoded, and the wait "
        "until the capture was given it. Percentiles of parts do not add up to those of the whole.",
    )
    yield Plate(
        "summary",
        summary_plot(findings.summary, "Each connection and stage"),
        "The numbers of the table above, drawn.",
    )
    if findings.gaps:
        yield Plate(
            "gaps",
            gaps_plot(findings.gaps, "What may be missing, by channel"),
            "From the last tick before a connection was lost to the first after. What happened between is "
            "unknown: the feed does not send it again.",
        )


def _feed_plates(ticks: pl.DataFrame) -> Iterator[Plate]:
    """Yield the figures of events, which are all ticks but bars."""
    yield Plate(
        "percentiles",
        percentile_plot(by_group(ticks, "connection", "feed"), "Feed latency by percentile"),
        "From the event's time to receipt, by connection, without bars. From mark to mark on the axis there "
        "is a tenth of the ticks left, so the tail has as much room as the rest. The feed's clock and ours "
        "are two: where they differ a curve is moved up or down, and only its shape is certain.",
    )
    yield Plate(
        "ecdf",
        ecdf_plot(by_group(ticks, "connection", "feed"), "Feed latency: which share was at most so late"),
        "A curve to the left of the others is a faster connection; curves that cross are not ordered.",
    )
    yield Plate(
        "over-time",
        latency_over_time(ticks, "Feed latency over time"),
        "A tick counts at its event's time. Latency that rises with the rate is a queue; latency that rises "
        "alone is the way or the feed.",
    )
    yield Plate(
        "heat-map",
        heat_map(ticks, "Feed latency by ticker and time"),
        "A bright column is trouble of everything at that time, a bright row that of one ticker; the busiest "
        "are on top.",
    )


def _bars_plates(ticks: pl.DataFrame) -> Iterator[Plate]:
    yield Plate(
        "bars-percentiles",
        percentile_plot(by_group(ticks, "connection", "bars"), "Latency of bars by percentile"),
        "From the end of a bar until it came for the first time, by connection. Massive sends a second bar "
        "2 s after its second on purpose: so much is nobody's fault. What it sends again, for up to 15 "
        "minutes, since a late trade changed it, is no latency and is left out, as is the first bar of a "
        "ticker, which may be such a one.",
    )
    yield Plate(
        "bars-over-time",
        latency_over_time(ticks, "Latency of bars over time", stage="bars"),
        "A bar counts at its end. The height of the curve is the delay by design; a rise is not.",
    )
    yield Plate(
        "bars-heat-map",
        heat_map(ticks, "Latency of bars by ticker and time", stage="bars"),
        "A bright column is trouble of all bars at that time, a bright row that of one ticker.",
    )


def write_pngs(plates: Iterable[Plate], directory: Path) -> list[Path]:
    """Write each figure as a PNG, numbered in their order, and return where; the directory is made."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, plate in enumerate(plates, start=1):
        paths.append(directory / f"{number:02}-{plate.name}.png")
        plate.figure.savefig(paths[-1], dpi=PNG_DPI)
    return paths


def write_pdf(plates: Iterable[Plate], front: str, path: Path) -> None:
    """Write the figures as a PDF, a page each, behind a page of text.

    Args:
        plates: the figures.
        front: the lines of the first page.
        path: the file.
    """
    with PdfPages(path) as pdf:
        cover = Figure(figsize=(8.0, 10.5), facecolor="white")
        cover.text(0.06, 0.96, front.replace("$", r"\$"), va="top", family="monospace", fontsize=8)
        pdf.savefig(cover)
        for plate in plates:
            pdf.savefig(plate.figure)
