"""Values that are otherwise for a while."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

__all__ = ["Windows"]


class Windows:
    """Values that are otherwise for a while; of windows that overlap, the last one opened holds.

    Args:
        usual: the value of a name outside of all windows.
        change: sets values by their names.
    """

    def __init__(self, usual: Any, change: Callable[..., None]) -> None:
        self._usual = usual
        self._change = change
        self._open: defaultdict[str, list[tuple[object, Any]]] = defaultdict(list)

    def open(self, **values: Any) -> Callable[[], None]:
        """Set values, and return what sets them back."""
        window = object()
        for name, value in values.items():
            self._open[name].append((window, value))
        self._apply(values)

        def close() -> None:
            for name in values:
                self._open[name] = [entry for entry in self._open[name] if entry[0] is not window]
            self._apply(values)

        return close

    def close_all(self) -> None:
        """Set all values back; windows that close later change nothing."""
        names = list(self._open)
        self._open.clear()
        self._apply(names)

    def _apply(self, names: Any) -> None:
        self._change(
            **{
                name: self._open[name][-1][1] if self._open[name] else getattr(self._usual, name)
                for name in names
            }
        )
