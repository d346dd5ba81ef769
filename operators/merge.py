"""Several sources, one stream."""

from typing import TypeVar

import reactivex
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable

from .runtime import SYSTEM, Runtime

__all__ = ["merge"]

_T = TypeVar("_T")


def merge(*sources: Observable[_T], runtime: Runtime = SYSTEM) -> Observable[_T]:
    """Merge sources that emit on threads of their own into one serial stream.

    ::

        a  ---1-------2-----|
        b  -----x---y------------z-|
           ---1-x---y-2----------z-|

    It runs on the sources' threads and holds nothing back: an emission takes a lock, so that two never
    overlap, and that is all. Whoever comes after runs under that lock; in the pipeline it is `buffered`
    (an append to a queue), so that no user code ever does. Keep it so: put a `buffered` behind a `merge`.
    The end of the stream is decided under the lock and told outside of it, because it disposes the other
    sources, and a source may wait for its thread, which may wait for the lock.

    It completes when all sources have, at once if there are none; the first error ends it.

    Args:
        sources: to subscribe to, in this order.
        runtime: whose lock it takes.
    """

    def subscribe(
        observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        # Re-entrant: a source that is made to emit by its own item must not wait for itself.
        lock = runtime.rlock()
        emit = observer.on_next
        running = len(sources) or 1
        group = CompositeDisposable()

        def on_next(item: _T) -> None:
            with lock:
                if running > 0:
                    emit(item)

        def on_error(error: Exception) -> None:
            nonlocal running
            with lock:
                first, running = running > 0, 0
            if first:
                observer.on_error(error)

        def on_completed() -> None:
            nonlocal running
            with lock:
                last, running = running == 1, running - 1
            if last:
                observer.on_completed()

        for source in sources or (reactivex.empty(),):
            if running <= 0:
                break  # a source before it failed while it was subscribed to
            group.add(source.subscribe(on_next, on_error, on_completed, scheduler=scheduler))
        return group

    return Observable(subscribe)
