"""Ticks that came before are taken out."""

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable, abc

from .batch import Batch, refuse

__all__ = ["dedupe"]

_B = TypeVar("_B", bound=Batch)


def dedupe(
    remember: Callable[[], Callable[[list[Any]], list[Any]]],
) -> Callable[[Observable[_B]], Observable[_B]]:
    """Take out the ticks that came before, and count them.

    ::

        --[a b]---[b c]------[a c]--------|
        --[a b]---[c]+1------[]+2---------|     +n: added to batch.deduplicated

    What a tick has in common with its copy, and how long it is remembered, is a matter of the feed and not
    of this operator. It runs on the source's thread and changes the batch in place, so it belongs before
    `share`. A batch that is left without ticks flows on, for the counts that it carries.

    Args:
        remember: makes the memory of a subscription, which is given the ticks of one batch after the other
            and returns those that did not come before, in their order; of a list without copies the list
            itself. It takes lists, since a call a tick costs as much as the rest. If it raises, the stream
            ends with that error.
    """

    def operator(source: Observable[_B]) -> Observable[_B]:
        def subscribe(
            observer: abc.ObserverBase[_B], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            memory = remember()

            def on_next(batch: _B) -> None:
                try:
                    kept = memory(batch.ticks)
                except Exception as error:  # noqa: BLE001 - a selector that raises ends the stream, as in Rx
                    observer.on_error(refuse(batch, "dedupe", error))
                    return
                if kept is not batch.ticks:
                    batch.deduplicated += len(batch.ticks) - len(kept)
                    batch.ticks = kept
                observer.on_next(batch)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator
