"""The Observables that users subscribe to."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from reactivex import Observable, Observer, abc

from .callables import check_callable
from .piped import Piped

__all__ = ["Observed", "bare"]

_T_co = TypeVar("_T_co", covariant=True)


class Observed(Piped[_T_co]):
    """An Observable that refuses, when it is subscribed to, functions whose call would run none of them."""

    def subscribe(
        self,
        on_next: abc.ObserverBase[_T_co] | abc.OnNext[_T_co] | None = None,
        on_error: abc.OnError | None = None,
        on_completed: abc.OnCompleted | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        """Subscribe functions or an observer, as `reactivex.Observable.subscribe` does.

        Raises:
            TypeError: one of them is an ``async def`` or a generator function; says what to write.
        """
        check_callable(getattr(on_next, "on_next", on_next), "on_next")
        check_callable(getattr(on_next, "on_error", on_error), "on_error")
        check_callable(getattr(on_next, "on_completed", on_completed), "on_completed")
        if isinstance(on_next, Observer):
            for what in ("on_next", "on_error", "on_completed"):
                check_callable(getattr(on_next, f"_handler_{what}", None), what)
        return super().subscribe(on_next, on_error, on_completed, scheduler=scheduler)

    if not TYPE_CHECKING:  # there it has types that tell more

        def pipe(self, *operators: Callable[[Any], Any]) -> Any:
            """Return what the operators make of it, which refuses the same."""
            piped = super().pipe(*operators)
            if type(piped) is not Observable:
                return piped  # connectable, perhaps
            # Not piped.subscribe, which would put one more observer between.
            return Observed(piped._subscribe)  # noqa: SLF001


def bare(observer: abc.ObserverBase[Any]) -> Callable[[Any], object]:
    """Return the user's function without reactivex's around it.

    That looks each time whether the observer has ended, which here ends the sink at once: 80 ns a tick. And
    it drops what the function returns.
    """
    function: Callable[[Any], object] = getattr(observer, "_on_next", observer.on_next)
    return function
