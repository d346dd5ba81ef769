"""One subscription of a source for any number of subscribers."""

from collections.abc import Callable
from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from .runtime import SYSTEM, Runtime
from .throttled_log import ThrottledLog

__all__ = ["share"]

_T = TypeVar("_T")


def share(runtime: Runtime = SYSTEM) -> Callable[[Observable[_T]], Observable[_T]]:
    """Share one subscription of the source among all subscribers.

    ::

        source     ---1---2---3---4---
        first      ---1---2---3|           subscribing it subscribes the source
        second           -2---3---4|       disposing it, the last, disposes the source

    The first subscriber is added before the source is subscribed to, so it misses nothing; the last to
    leave disposes the source. After that a new subscriber starts it anew. Once the source has *ended*, it
    stays ended: whoever comes later gets the same end at once, for the connections behind it said that
    nothing more can come.

    An emission takes no lock: it walks a tuple that subscribers replace. It runs on the source's thread.
    What one subscriber raises is logged (``tickbraid.operators``) and the others still get the item.
    Subscribe and dispose from any thread, from inside ``on_next`` too.
    """

    def operator(source: Observable[_T]) -> Observable[_T]:
        return Observable(_Hub(source, runtime).subscribe)

    return operator


class _Connection(Generic[_T]):
    """One subscription of the source, and who listens to it."""

    def __init__(self) -> None:
        self.observers: tuple[abc.ObserverBase[_T], ...] = ()
        self.subscription = SingleAssignmentDisposable()


class _Hub(Generic[_T]):
    """Outlives its subscriptions, as that is what sharing means; guards who is connected by a lock."""

    def __init__(self, source: Observable[_T], runtime: Runtime) -> None:
        self._source = source
        self._lock = runtime.lock()
        self._connection: _Connection[_T] | None = None
        self._end: Callable[[abc.ObserverBase[_T]], None] | None = None
        self._log = ThrottledLog("a subscriber of a shared stream raised", runtime=runtime)

    def subscribe(
        self, observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        connection = _Connection[_T]()
        with self._lock:
            end = self._end
            first = self._connection is None
            if end is None:
                self._connection = connection = self._connection or connection
            connection.observers += (observer,)
        if end is not None:
            end(observer)
            return Disposable()
        if first:
            try:
                connection.subscription.disposable = self._connect(connection, scheduler)
            except BaseException:
                self._leave(connection, observer)  # so that the next one tries again
                raise
        return Disposable(lambda: self._leave(connection, observer))

    def _connect(
        self, connection: _Connection[_T], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        def on_next(item: _T) -> None:
            for observer in connection.observers:
                try:
                    observer.on_next(item)
                except BaseException as error:  # noqa: BLE001 - whatever it is, it is not the next one's fault
                    self._log(error)

        def on_error(error: Exception) -> None:
            self._finish(connection, lambda observer: observer.on_error(error))

        def on_completed() -> None:
            self._finish(connection, lambda observer: observer.on_completed())

        return self._source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)

    def _finish(self, connection: _Connection[_T], end: Callable[[abc.ObserverBase[_T]], None]) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
                self._end = end
            observers, connection.observers = connection.observers, ()
        for observer in observers:
            try:
                end(observer)
            except BaseException as error:  # noqa: BLE001 - as above
                self._log(error)

    def _leave(self, connection: _Connection[_T], observer: abc.ObserverBase[_T]) -> None:
        with self._lock:
            connection.observers = tuple(other for other in connection.observers if other is not observer)
            last = not connection.observers
            if last:
                self._connection = None
        if last:
            connection.subscription.dispose()
