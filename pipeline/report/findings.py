"""What a report says of a capture, read once: its ticks, its account, its latencies and its gaps."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from operators.account import Account
from pipeline.capture import latency_summary, load_ticks
from pipeline.capture.layout import FRAMES, TICKS
from pipeline.capture.replay import Replay
from pipeline.capture.survey import Survey, survey
from pipeline.errors import CaptureUnusable
from pipeline.settings import load_settings
from pipeline.status import Gap

__all__ = ["Findings", "examine"]

COLUMNS: Final = (
    *("connection", "ticker", "event_type", "event_ns", "received_ns", "decoded_ns", "delivered_ns"),
)
STUCK_S: Final = 60.0
"""A replay that does not get on for so long is given up."""


@dataclass(frozen=True)
class Findings:
    """Holds what there is to show.

    Args:
        path: the capture's directory.
        ticks: with the columns that figures need.
        survey: what is in the directory.
        accounts: by connection, of what was received. Exact where frames were recorded, since they are
            replayed for it; else None, for then nobody knows what did not become a tick.
        summary: latencies by connection and stage; ``total_summary`` of all connections.
    """

    path: Path
    ticks: pl.DataFrame
    survey: Survey
    accounts: Mapping[str, Account] | None
    summary: pl.DataFrame
    total_summary: pl.DataFrame

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What may be missing of each channel, as the stream announced it."""
        return tuple(gap for loss in self.survey.losses for gap in loss.gaps)

    @property
    def first(self) -> datetime:
        """When the first tick was received."""
        return _utc(self.ticks["received_ns"].min())

    @property
    def last(self) -> datetime:
        """When the last tick was received."""
        return _utc(self.ticks["received_ns"].max())


def examine(path: Path | str) -> Findings:
    """Read a capture, replay its frames for the account, and compute the latencies.

    Takes about as long as a replay at full speed. Runs on the caller's thread; the replay has its own.

    Raises:
        CaptureUnusable: there is no capture, it has no ticks, or some of it is not as it was written.
    """
    root = Path(path)
    found = survey(root)
    if found.damage:
        raise CaptureUnusable(f"{root} is damaged, so a report would not be true: {'; '.join(found.damage)}")
    kinds = {session.kind for session in found.sessions}
    if kinds == {FRAMES}:
        raise CaptureUnusable(
            f"{root} has frames and no ticks; make them with: "
            f"tickbraid replay {root} --speed max --record DIRECTORY"
        )
    ticks = load_ticks(root, columns=COLUMNS) if TICKS in kinds else pl.DataFrame()
    if ticks.is_empty():
        raise CaptureUnusable(f"there are no ticks in {root}: nothing was recorded, or no file was finished")
    return Findings(
        path=root,
        ticks=ticks,
        survey=found,
        accounts=_replayed(root) if FRAMES in kinds else None,
        summary=latency_summary(ticks),
        total_summary=latency_summary(ticks, by=()),
    )


def _replayed(path: Path) -> Mapping[str, Account]:
    """Return the account of a replay; with no settings but the defaults, so that nothing goes to a Redis."""
    settings = load_settings(
        {"REPLAY_PATH": str(path), "REPLAY_SPEED": "max"}, environ={}, directory=Path(__file__).parent
    )
    replay = Replay(settings)
    over = threading.Event()
    errors: list[Exception] = []

    def fail(error: Exception) -> None:
        errors.append(error)
        over.set()

    with replay.stream as stream:
        stream.start(fail, over.set)
        done_ns = -1
        while not over.wait(STUCK_S):
            now_ns = replay.progress().done_ns
            if now_ns == done_ns:
                raise CaptureUnusable(f"the replay of {path} does not get on")
            done_ns = now_ns
    if errors:
        raise errors[0]
    (accounts,) = stream.accounts().values()
    return dict(sorted(accounts.items()))


def _utc(at_ns: object) -> datetime:
    assert isinstance(at_ns, int)  # noqa: S101  # there are ticks, and each was received
    return datetime.fromtimestamp(at_ns / 1e9, UTC)
