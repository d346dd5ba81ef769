"""Where undecoded reads can be seen on their way, by who asked before they began to flow."""

from collections.abc import Callable

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from .massive.frames import Frames

__all__ = ["Tap"]

See = Callable[[Frames], object]


class Tap:
    """Shows each read before it is decoded; where nobody looks there is nothing in the way of a read.

    Attributes:
        flowing: reads are on their way, and who looks from now on sees only those of the next subscription.
    """

    def __init__(self) -> None:
        self.flowing = False
        self._seers: tuple[See, ...] = ()

    def look(self, see: See) -> abc.DisposableBase:
        """Call ``see`` with each read of the subscriptions to come, on their thread; it must not raise."""
        self._seers = (*self._seers, see)

        def leave() -> None:
            self._seers = tuple(other for other in self._seers if other is not see)

        return Disposable(leave)

    def __call__(self, source: Observable[Frames]) -> Observable[Frames]:
        """Be the operator. One subscriber at a time."""

        def subscribe(
            observer: abc.ObserverBase[Frames], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def on_next(frames: Frames) -> None:
                for see in self._seers:
                    see(frames)
                observer.on_next(frames)

            self.flowing = True
            subscription = source.subscribe(
                on_next if self._seers else observer.on_next,
                observer.on_error,
                observer.on_completed,
                scheduler=scheduler,
            )

            def dispose() -> None:
                self.flowing = False
                subscription.dispose()

            return Disposable(dispose)

        return Observable(subscribe)
