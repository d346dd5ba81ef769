"""Functions of the user that only look right: whose call makes something that would have to be run."""

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator
from typing import Any, Final

__all__ = ["check_callable", "refuse_unrun"]

WHAT_TO_WRITE: Final = (
    "Give a plain function; to run a coroutine, hand it to its event loop:"
    " def on_tick(tick): asyncio.run_coroutine_threadsafe(handle(tick), loop)"
)


def check_callable(function: object, what: str) -> None:
    """Refuse a function whose call would run none of it.

    Args:
        function: of the user's; None, and what is no function, pass.
        what: it is, for the message: ``on_next``.

    Raises:
        TypeError: it is an ``async def`` or a generator function, or an object whose ``__call__`` is; says
            what to write.
    """
    kind = _kind_of(function)
    if kind is not None:
        raise TypeError(f"{what} is {kind}: a call of it would run nothing. {WHAT_TO_WRITE}")


def refuse_unrun(returned: object, what: str) -> None:
    """Refuse what a call returned, if nothing of it has run yet; a coroutine is closed.

    Args:
        returned: by the user's function, not None.
        what: the function is, for the message.

    Raises:
        TypeError: it has to be awaited or iterated over; says what to write.
    """
    kind: Any = type(returned)
    if not _is_unrun(kind):
        return
    if isinstance(returned, (Generator, Coroutine)):
        returned.close()  # else Python warns that it was never awaited
    raise TypeError(
        f"{what} returned {_article(type(returned).__name__)}, and nothing of it has run. {WHAT_TO_WRITE}"
    )


@functools.lru_cache(maxsize=64)  # a callback may return anything, a million times
def _is_unrun(kind: type) -> bool:
    return issubclass(kind, (Awaitable, AsyncGenerator, Generator))


def _kind_of(function: object) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    for each in (function, type(function).__call__) if callable(function) else ():
        if inspect.iscoroutinefunction(each):
            return "an async function"
        if inspect.isasyncgenfunction(each):
            return "an async generator function"
        if inspect.isgeneratorfunction(each):
            return "a generator function"
    return None


def _article(name: str) -> str:
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"
