"""Ticks that came before are taken out."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from reactivex import Observable, abc

from .batch import Batch

__all__ = ["dedupe"]

_B = TypeVar("_B", bound=Batch)


def dedupe(
    window: int, identity: Mapping[type, Callable[[Any], Hashable | None]]
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
        identity: how to tell the identity of a tick, by its exact type. All types share one memory, so
            identities of different types must differ. A tick of a type that is not named, or whose
            identity is None, always passes. If one raises, the stream ends with that error.

    Raises:
        ValueError: ``window`` is below 1.
    """
    if window < 1:
        raise ValueError(f"window must be 1 or more identities, not {window!r}")
    identity = dict(identity)

    def operator(source: Observable[_B]) -> Observable[_B]:
        def subscribe(
            observer: abc.ObserverBase[_B], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            memory = _Memory(window, identity)

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

    def __init__(self, window: int, identity: Mapping[type, Callable[[Any], Hashable | None]]) -> None:
        self._window = window
        self._identity_of = identity.get
        self._younger: set[Hashable] = set()
        self._older: set[Hashable] = set()

    def take_out_duplicates(self, batch: Batch) -> None:
        """Leave in a batch the ticks not remembered, and remember them."""
        identity_of = self._identity_of
        identities = [identity_of(type(tick), _no_identity)(tick) for tick in batch.ticks]
        # Mostly no tick of a batch is a duplicate, and set arithmetic shows that for the whole batch at once
        # with one hash of each identity.
        fresh = set(identities)
        count = len(identities)
        if None in fresh:
            fresh.discard(None)
            count -= identities.count(None)
        if (
            len(fresh) < count
            or len(self._younger) + count > self._window
            or not self._younger.isdisjoint(fresh)
            or not self._older.isdisjoint(fresh)
        ):
            ticks = zip(batch.ticks, identities, strict=True)
            kept = [
                tick for tick, its_identity in ticks if its_identity is None or self._is_new(its_identity)
            ]
            batch.deduplicated += len(batch.ticks) - len(kept)
            batch.ticks = kept
        else:
            self._younger |= fresh

    def _is_new(self, identity: Hashable) -> bool:
        if identity in self._younger:
            return False
        is_new = identity not in self._older
        if len(self._younger) >= self._window:
            self._younger, self._older = set(), self._younger
        self._younger.add(identity)
        return is_new


def _no_identity(_tick: Any) -> None:
    return None
