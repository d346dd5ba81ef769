"""Batches become ticks."""

import time
from collections.abc import Callable
from typing import Any

from reactivex import Observable, abc

from .batch import Batch
from .throttled_log import ThrottledLog

__all__ = ["explode"]


def explode(
    on_raise: Callable[[Exception], object] | None = None,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Callable[[Observable[Batch]], Observable[Any]]:
    """Emit the ticks of each batch one by one.

    ::

        --[1 2 3]----[4]---[]---|
        --1-2-3------4----------|

    It runs on the source's thread. An exception out of the subscriber costs it that tick only: the next
    one still comes. ``flat_map(from_iterable)`` does not do that, and costs ten times as much.

    Args:
        on_raise: gets what the subscriber raised, on the same thread; by default it is logged with its
            traceback, at most once in 10 s. What ``on_raise`` itself raises is logged likewise.
        monotonic: seconds that never go back, for the 10 s.
    """

    def operator(source: Observable[Batch]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            log = ThrottledLog("a subscriber raised; it gets the next tick", monotonic=monotonic)
            report = on_raise or log
            emit = observer.on_next

            def on_next(batch: Batch) -> None:
                ticks = iter(batch.ticks)
                while True:
                    try:
                        for tick in ticks:  # the iterator stands behind the tick that raised
                            emit(tick)
                    except Exception as error:  # noqa: BLE001 - one tick's trouble is not the next one's
                        try:
                            report(error)
                        except Exception as second:  # noqa: BLE001 - as above
                            log(second)
                    else:
                        return

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator
