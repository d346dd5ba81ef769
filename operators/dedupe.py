"""Ticks that came before are taken out."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from reactivex import Observable, abc

from .batch import Batch

__all__ = ["dedupe"]

_B = TypeVar("_B", bound=Batch)


def dedupe(
    window: int, identify: Callable[[Sequence[Any]], list[Hashable | None]]
) -> Callable[[Observable[_B]], Observable[_B]]:
    """Take out the ticks whose identity is among those last seen, and count them.

    ::

        --[a b]---[b c]------[a c]--------|
        --[a b]---[c]+1------[]+2---------|     +n: added to batch.deduplicated

    What is remembered is two generations of identities: the younger grows to ``window`` and becomes the
    older, which is then forgotten as a whole. So at least the last ``window`` identities are known and at
    most twice as many, and nothing is moved or counted a tick. One that is seen again counts as new.

    It runs on the source's thread and changes the batch in place, so it belongs before `share`. A batch that
    is left without ticks flows on, for the counts that it carries.

    Args:
        window: identities to remember, at least.
        identify: return the identity of each of some ticks, None for one that always passes. It takes a list
            so that it may be one comprehension: a call a tick costs as much as the rest. Identities of
            different kinds of ticks must differ. If it raises, the stream ends with that error.

    Raises:
        ValueError: ``window`` is below 1.
    """
    if window < 1:
        raise ValueError(f"window must be 1 or more identities, not {window!r}")

    def operator(source: Observable[_B]) -> Observable[_B]:
        def subscribe(
            observer: abc.ObserverBase[_B], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            memory = _Memory(window, identify)

            def on_next(batch: _B) -> None:
                try:
                    memory.take_out_duplicates(batch)
                except Exception as error:  # noqa: BLE001 - a selector that raises ends the stream, as in Rx
                    observer.on_error(error)
                else:
                    observer.on_next(batch)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


class _Memory:
    """Remembers identities in two generations."""

    def __init__(self, window: int, identify: Callable[[Sequence[Any]], list[Hashable | None]]) -> None:
        self._window = window
        self._identify = identify
        self._younger: set[Hashable] = set()
        self._older: set[Hashable] = set()

    def take_out_duplicates(self, batch: Batch) -> None:
        """Leave in a batch the ticks not remembered, and remember them."""
        identities = self._identify(batch.ticks)
        new = set(identities)
        younger = self._younger
        # Mostly no tick of a batch is a duplicate, and set arithmetic shows that for all at once: it hashes
        # each identity once, and sets keep the hashes.
        if (
            len(new) == len(identities)
            and len(younger) + len(new) <= self._window
            and new.isdisjoint(younger)
            and new.isdisjoint(self._older)
            and None not in new
        ):
            younger |= new
            return
        ticks = zip(batch.ticks, identities, strict=True)
        kept = [tick for tick, identity in ticks if identity is None or self._is_new(identity)]
        batch.deduplicated += len(batch.ticks) - len(kept)
        batch.ticks = kept

    def _is_new(self, identity: Hashable) -> bool:
        if identity in self._younger:
            return False
        is_new = identity not in self._older
        if len(self._younger) >= self._window:
            self._younger, self._older = set(), self._younger
        self._younger.add(identity)
        return is_new
