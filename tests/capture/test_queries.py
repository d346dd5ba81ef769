from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from pipeline.capture import TICK_COLUMNS, latency_summary, load_ticks
from pipeline.capture.layout import HOUR_NS, TICKS, parts
from pipeline.capture.record import CaptureSink
from pipeline.errors import CaptureUnusable
from pipeline.status_stream import StatusStream
from pipeline.tap import Tap
from pipeline.ticks import TickBatch, Trade

NOON = datetime(2025, 11, 24, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 1_000_000_000


@pytest.fixture
def captured(tmp_path):
    """Three hours of two tickers, one tick a minute, each 3 ms late at receipt; a file an hour."""
    sink = CaptureSink(tmp_path, Tap(), StatusStream(), kinds=[TICKS], clock=lambda: NOON_NS)
    for minute in range(180):
        at_ns = NOON_NS + minute * 60_000_000_000
        ticker = ("AAPL", "MSFT")[minute % 2]
        tick = Trade(ticker=ticker, price=minute, size=1, event_ms=at_ns // 10**6 - 3, sequence=minute)
        connection = f"connection_{1 + minute % 3}"
        batch = TickBatch(connection=connection, received_ns=at_ns, decoded_ns=at_ns + 10**6, ticks=[tick])
        sink.write([batch])
    sink.close()
    return tmp_path


def test_all_of_it_comes_in_the_order_of_the_stream(captured):
    """A backtest would see the future."""
    ticks = load_ticks(captured)
    assert tuple(ticks.columns) == TICK_COLUMNS
    assert ticks["sequence"].to_list() == list(range(180))


def test_a_part_is_chosen_by_ticker_and_time(captured):
    """A quant would get ticks that he did not ask for, or lack some that he did."""
    eastern = timezone(timedelta(hours=-5))
    ticks = load_ticks(
        captured,
        tickers=["AAPL", "NFLX"],
        start=(NOON + timedelta(minutes=58)).astimezone(eastern),
        end=NOON + timedelta(minutes=64),
        columns=["sequence", "ticker"],
    )
    assert ticks.rows() == [(58, "AAPL"), (60, "AAPL"), (62, "AAPL")]
    assert load_ticks(captured, tickers="MSFT").height == 90
    assert load_ticks(captured, start=NOON + timedelta(days=9)).schema == load_ticks(captured).schema


def test_files_of_other_hours_are_not_even_opened(captured):
    """A query for a minute would read a year of data."""
    for part in parts(captured, TICKS):
        if part.hour_ns != NOON_NS + HOUR_NS:
            part.path.write_bytes(b"not to be read")
    ticks = load_ticks(captured, start=NOON + timedelta(hours=1), end=NOON + timedelta(hours=2))
    assert ticks["sequence"].to_list() == list(range(60, 120))


def test_what_cannot_be_asked_is_said(captured, tmp_path):
    """A typing mistake, or the offset that somebody forgot, would give an empty answer or a wrong one."""
    with pytest.raises(ValueError, match="start must tell its offset from UTC"):
        load_ticks(captured, start=datetime(2025, 11, 24))  # noqa: DTZ001  # what is tested
    with pytest.raises(ValueError, match=r"columns must be of .*, not volume"):
        load_ticks(captured, columns=["volume"])
    with pytest.raises(CaptureUnusable, match="no directory"):
        load_ticks(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaptureUnusable, match="there are no ticks in"):
        load_ticks(tmp_path / "empty")
    ticks = load_ticks(captured)
    with pytest.raises(ValueError, match=r"by must be columns of the ticks .* not venue"):
        latency_summary(ticks, by=["venue"])
    with pytest.raises(ValueError, match="stages must be of feed"):
        latency_summary(ticks, stages=["wire"])
    with pytest.raises(ValueError, match="ticks must have the columns event_ns"):
        latency_summary(ticks.drop("event_ns"), stages=["feed"])


def test_latencies_are_summed_up_by_group_and_stage(captured):
    """The slow connection would be another one, or a percentile a value that never was."""
    ticks = load_ticks(captured)
    summary = latency_summary(ticks)
    assert summary["connection"].to_list() == [f"connection_{n}" for n in (1, 2, 3) for _ in range(4)]
    assert summary["stage"].to_list() == ["feed", "pipeline", "sink", "total"] * 3
    assert set(summary["count"]) == {60}
    feed = summary.filter(pl.col("stage") == "feed")
    assert set(feed.select("p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms").rows()) == {(3.0,) * 5}
    waits = pl.DataFrame({"received_ns": [0] * 1000, "decoded_ns": [n * 10**6 for n in range(1, 1001)]})
    (row,) = latency_summary(waits, by=(), stages=["pipeline"]).rows()
    assert row == ("pipeline", 1000, 501.0, 901.0, 991.0, 1000.0, 1000.0)
