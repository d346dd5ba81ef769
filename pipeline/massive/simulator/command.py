"""The simulator as a command: ``tickbraid simulate``, or ``python -m pipeline.massive.simulator``."""

import contextlib
import logging
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from pipeline.massive.frames import Frames
from pipeline.setting_keys import DEFAULT_TICKERS
from pipeline.status_event import counted
from pipeline.symbols import WILDCARD, read_symbols, split_symbols

from .feeds import Bursts, Feed, ReplayFeed, SyntheticFeed, packets_of, read_recording
from .options import Acks, Eviction, Faults, Options
from .report import Report
from .server import Simulator

__all__ = ["simulate"]

FAREWELL_S: Final = 2.0
POLL_S: Final = 0.2


def simulate(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8765,
    tickers: Annotated[str, typer.Option(help="Tickers, AAPL,MSFT, or how many to make up.")] = ",".join(
        DEFAULT_TICKERS  # so that `tickbraid run` has ticks without further words
    ),
    types: Annotated[str, typer.Option(help="Event types of the synthetic market.")] = "T,Q,A,AM",
    rate: Annotated[float, typer.Option(help="Synthetic ticks a second; inf is full speed.")] = 1000.0,
    bursts: Annotated[bool, typer.Option(help="Open-bell bursts, tenfold, once a minute.")] = False,
    count: Annotated[int | None, typer.Option(help="End after so many synthetic ticks.")] = None,
    recording: Annotated[
        list[Path] | None,
        typer.Option(
            help="Replay a file of frames (JSON lines, gz or not) instead.", exists=True, dir_okay=False
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Replay what `tickbraid run --record` wrote.", file_okay=False),
    ] = None,
    speed: Annotated[float, typer.Option(help="Speed of the replay; inf is full speed.")] = 1.0,
    rebase: Annotated[bool, typer.Option(help="Shift the recording's event times to now.")] = False,
    key: Annotated[list[str] | None, typer.Option(help="A key that is good; without any, all are.")] = None,
    max_connections: Annotated[int | None, typer.Option(help="Connections a key may have.")] = None,
    eviction: Annotated[Eviction, typer.Option(help="Who goes when there are too many.")] = Eviction.OLDEST,
    acks: Annotated[Acks, typer.Option(help="How subscriptions are acknowledged.")] = Acks.BATCHED,
    start_after: Annotated[int, typer.Option(help="Connections that must subscribe before data flows.")] = 1,
    repeat: Annotated[float, typer.Option(help="Fraction of frames sent twice.")] = 0.0,
    malformed: Annotated[float, typer.Option(help="Fraction of malformed elements mixed in.")] = 0.0,
    truncated: Annotated[float, typer.Option(help="Fraction of frames followed by a cut copy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the market and of the faults.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the closing report as JSON.")] = False,
) -> None:
    """Serve a simulated Massive feed until its recordings are over, or until Ctrl-C."""
    try:
        feeds: list[Feed] = [
            ReplayFeed(read_recording(path), speed=speed, rebase=rebase) for path in recording or ()
        ]
        if replay:
            feeds.append(ReplayFeed(packets_of(_messages(replay)), speed=speed, rebase=rebase))
        if not feeds:
            feeds = [
                SyntheticFeed(
                    _names(tickers),
                    rate=rate,
                    event_types=[kind.strip() for kind in types.split(",")],
                    seed=seed,
                    count=count,
                    bursts=Bursts() if bursts else None,
                )
            ]
        options = Options(
            host=host,
            port=port,
            keys=frozenset(key or ()),
            max_connections=max_connections,
            eviction=eviction,
            acks=acks,
            start_after=start_after,
            seed=seed,
        )
        faults = Faults(repeat=repeat, malformed=malformed, truncated=truncated)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        report = _serve(Simulator(feeds, options, faults))
    except (OSError, UnicodeError) as error:
        typer.echo(f"Cannot listen on {host}:{port}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(_as_json(report) if as_json else _in_words(report))
    if report.feed_errors:
        raise typer.Exit(1)


def _names(tickers: str) -> Sequence[str]:
    """Return the tickers of a market, exactly as they are written; say what can be none.

    Raises:
        ValueError: there is none.
    """
    symbols, odd = read_symbols([] if tickers.isdecimal() else split_symbols(tickers))
    names = [symbol for symbol in symbols if symbol != WILDCARD]  # a market has symbols of its own
    if tickers.isdecimal():
        names = [f"SIM{n:03d}" for n in range(int(tickers))]
    if not names:
        raise ValueError(f"--tickers must name tickers, or how many to make up, not {tickers!r}")
    for each in odd:
        typer.echo(f"Left out {each}", err=True)
    return names


def _messages(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield what was received into a capture, of all connections, and when (µs)."""
    from pipeline.capture.playback import Selection  # noqa: PLC0415  # pyarrow: only who replays pays for it

    selection = Selection(path)
    return (
        (item.received_ns // 1000, message)
        for items in selection.chunks()
        for item in items
        if isinstance(item, Frames)
        for message in item.messages
    )


def _serve(simulator: Simulator) -> Report:
    # SIGINT too: a shell starts background jobs with it ignored, and Python would leave it so.
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in signals]
    log, said = logging.getLogger("tickbraid.simulator"), logging.StreamHandler()
    log.addHandler(said)
    try:
        with simulator:
            with contextlib.suppress(KeyboardInterrupt):
                # Within, since whoever reads this line may end us at once.
                typer.echo(f"Listening on {simulator.url}", err=True)
                while not simulator.finished.wait(POLL_S):
                    pass
            simulator.close_clients(1001, "the simulator ends")
            with contextlib.suppress(TimeoutError):
                simulator.wait_for(lambda report: not report.clients, FAREWELL_S)
            return simulator.report()
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
        log.removeHandler(said)


def _in_words(report: Report) -> str:
    sent = report.sent
    types = ", ".join(f"{kind} {count:,}" for kind, count in sorted(sent.types.items())) or "none"
    connections, frames = counted(report.attempts, "connection"), counted(sent.frames, "frame")
    lines = [
        f"{connections}, {frames}, {counted(sent.elements, 'element')} ({types})",
        f"elements repeated {sent.repeated_elements:,}, malformed {sent.malformed.total():,}",
        f"truncated frames {sent.truncated_frames:,}, evicted {sent.evictions:,}",
        f"slow readers killed {sent.slow_kills:,}",
        *(f"a feed broke off: {error}" for error in report.feed_errors),
    ]
    return "\n".join(lines)


def _as_json(report: Report) -> str:
    sent = msgspec.to_builtins(report.sent) | {"types": report.sent.types, "elements": report.sent.elements}
    values = {"sent": sent, "attempts": report.attempts, "feed_errors": report.feed_errors}
    return msgspec.json.encode(values).decode()
