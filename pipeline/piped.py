"""An Observable whose ``pipe`` lets mypy know what a lambda is given."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from reactivex import Observable

__all__ = ["Piped"]

MYPY: Final = False
"""mypy, and no other type checker, takes this name for true."""

_T_co = TypeVar("_T_co", covariant=True)
_A = TypeVar("_A")


class Piped(Observable[_T_co]):
    """An Observable, at run time nothing else.

    reactivex's ``pipe`` is overloaded, so mypy looks at each operator before it knows what comes in, and
    finds no attribute of the items in ``pipe(ops.filter(lambda tick: tick.price > 1))``. This one is not;
    what comes out is not known, as only the overloads could tell. Other type checkers need no such help.
    """

    if MYPY:

        def pipe(  # type: ignore[override]  # the overloads are what it is rid of
            self, first: Callable[[Observable[_T_co]], Observable[_A]], /, *more: Callable[[Any], Any]
        ) -> Observable[Any]:
            """See reactivex."""
