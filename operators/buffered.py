"""The bounded hand-off of batches from one thread to another."""

import math
from collections.abc import Callable, Hashable
from typing import Any, get_args

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from ._buffer.accounting import BufferAccounting, Dropped
from ._buffer.buffer import Buffer, Overflow
from .batch import Batch
from .errors import BufferOverflow
from .runtime import SYSTEM, Runtime
from .scheduler import BufferingScheduler, Pastime

__all__ = ["BufferAccounting", "BufferOverflow", "Dropped", "Overflow", "buffered"]


def buffered(
    capacity: int,
    overflow: Overflow = "block",
    on_drop: Callable[[Dropped], object] | None = None,
    *,
    scheduler: abc.SchedulerBase | None = None,
    name: str = "buffer",
    pastime: Pastime | None = None,
    conflate_key: Callable[[Any], Hashable | None] | None = None,
    gather: int = 0,
    waits: bool = True,
    max_age_ms: float = 0,
    gauge: BufferAccounting | None = None,
    runtime: Runtime = SYSTEM,
) -> Callable[[Observable[Batch]], Observable[Any]]:
    """Hand batches over to another thread through a queue of at most ``capacity`` ticks.

    ::

        source             --[1 2]-[3 4]-[5 6]-----------|
                           the subscriber is busy with [1 2]; capacity 3
        drop_oldest        --[1 2]----------------[4][5 6]|
        drop_newest        --[1 2]----------------[3 4][5]|
        block              --[1 2]----------------[3 4][5 6]|   the source waits

    The source's thread appends and goes on; a loop on the scheduler delivers. What a full queue means:

    - ``block``: the source waits for room. A batch larger than the capacity comes through in pieces. Only
      where waiting could never end, for the thread that has to make the room, does it drop instead.
    - ``drop_oldest`` keeps the newest ``capacity`` ticks, ``drop_newest`` the oldest.
    - ``conflate`` keeps the newest tick of each key, in the order of the rest; if that is not enough it
      drops the oldest.
    - ``error``: what fits is still delivered, then comes ``on_error(BufferOverflow)``.

    With ``max_age_ms`` whatever was received longer ago is dropped when its turn comes, however few wait: the
    subscriber is never given anything older.

    The subscriber gets items one at a time, then the source's end, and nothing after it disposed; what is on
    its way to it in that moment, one item at most, counts as delivered. Whatever it raises, be it no
    `Exception`, the ticks in its hand count as failed, that is logged at most once in 10 s, and the next item
    still comes; only `KeyboardInterrupt` and `SystemExit` on the main thread go through to who runs the
    scheduler there. A batch without ticks is counted and not delivered: what a batch says of duplicates and
    losses goes into the account as it arrives, and nobody behind the buffer should count it again.

    Args:
        capacity: ticks that may wait; those in the subscriber's hand do not count.
        overflow: as above.
        on_drop: told what was dropped and why, at most once a batch, connection and reason, on the thread
            of the source (or of whoever disposes) and under no lock. What it raises is logged.
        scheduler: that delivers; it is left running. By default a `BufferingScheduler` of this
            subscription's own, disposed with it.
        pastime: of that own thread, while nothing waits.
        name: of that thread, after ``tickbraid-``, and in the log.
        conflate_key: with ``conflate``, what a newer tick must have in common with an older one to replace
            it; None for a tick that is never replaced. Runs on the source's thread, under no lock. If it
            raises, the stream ends with that error.
        gather: above 0 the items are lists of batches, with about so many ticks together at most.
        waits: with ``block``; False where the source's thread must never wait. Then whatever it brings is
            queued, and it is up to the source to bring nothing while ``gauge.waiting`` is at the capacity.
        max_age_ms: as above; 0 for any age.
        gauge: keeps the account, for one subscription: a second one fails with `ValueError`.
        runtime: its thread, locks and clocks; ``received_ns`` of a batch is by its wall clock.

    Raises:
        ValueError: a parameter is out of range, ``conflate`` and ``conflate_key`` come without each other, or
            ``block``, which is to lose nothing, with a ``max_age_ms``.
        RuntimeError: its thread cannot be started; from ``subscribe``, as the stream's error.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be 1 or more ticks, not {capacity!r}")
    if overflow not in get_args(Overflow):
        raise ValueError(f"overflow must be one of {', '.join(get_args(Overflow))}, not {overflow!r}")
    if (overflow == "conflate") != (conflate_key is not None):
        raise ValueError("conflate_key must be given with overflow 'conflate', and only with it")
    _check_age(max_age_ms, overflow)
    if gather < 0:
        raise ValueError(f"gather must be 0 or more ticks, not {gather!r}")

    def operator(source: Observable[Batch]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], upstream_scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            its_gauge = gauge or BufferAccounting(runtime)
            its_gauge.claim()
            own = _started(name, pastime, runtime) if scheduler is None else None
            buffer = Buffer(
                observer,
                own or scheduler,
                its_gauge,
                capacity=capacity,
                overflow=overflow,
                on_drop=on_drop,
                conflate_key=conflate_key,
                gather=gather,
                waits=waits,
                max_age_ns=round(max_age_ms * 1e6),
                name=name,
                runtime=runtime,
            )
            subscription = SingleAssignmentDisposable()

            def dispose() -> None:
                buffer.close()
                subscription.dispose()
                if own:
                    own.dispose()

            try:
                subscription.disposable = source.subscribe(
                    buffer.on_next, buffer.on_error, buffer.on_completed, scheduler=upstream_scheduler
                )
            except BaseException:
                dispose()
                raise
            return Disposable(dispose)

        return Observable(subscribe)

    return operator


def _started(name: str, pastime: Pastime | None, runtime: Runtime) -> BufferingScheduler:
    """Return a scheduler whose thread runs: now it can still be told to who subscribes that there is none."""
    scheduler = BufferingScheduler(name, pastime=pastime, runtime=runtime)
    scheduler.start()
    return scheduler


def _check_age(max_age_ms: float, overflow: Overflow) -> None:
    if not 0 <= max_age_ms < math.inf:
        raise ValueError(f"max_age_ms must be 0 or more, not {max_age_ms!r}")
    if max_age_ms and overflow == "block":
        raise ValueError("max_age_ms must not be given with overflow 'block', which loses nothing")
