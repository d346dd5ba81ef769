"""What the product may not take from the standard library by itself, and what it may: data, no code."""

from typing import Final, NamedTuple

__all__ = ["CALLED_WITH", "CLASSES", "DENIED", "MODULES", "WHOLE", "Module"]


class Module(NamedTuple):
    """A module of which nothing may be used but what is named.

    Attributes:
        advice: what to do instead.
        allowed: its members that depend on nothing outside: constants, exceptions, pure functions.
        constants: whether all of its members in capitals are allowed, too.
    """

    advice: str
    allowed: frozenset[str] = frozenset()
    constants: bool = False


HANDED: Final = "take it from the Runtime"
NOWHERE: Final = "it has no place in the stream"

MODULES: Final = {
    "time": Module(HANDED, frozenset({"mktime", "strptime", "struct_time"})),
    "random": Module(HANDED),
    "secrets": Module(HANDED),
    "threading": Module(HANDED, frozenset({"ThreadError"}), constants=True),
    "_thread": Module(HANDED),
    "queue": Module(HANDED, frozenset({"Empty", "Full"})),
    "selectors": Module(HANDED, frozenset({"SelectorKey"}), constants=True),
    "select": Module(HANDED, constants=True),
    "socket": Module(
        HANDED,
        frozenset(
            {"gaierror", "herror", "timeout", "error", "inet_aton", "inet_ntoa", "inet_pton", "inet_ntop"}
        ),
        constants=True,
    ),
    "asyncio": Module(NOWHERE, frozenset({"CancelledError", "TimeoutError"})),
    "concurrent.futures": Module(NOWHERE, frozenset({"CancelledError", "TimeoutError"})),
    "multiprocessing": Module(NOWHERE),
    "subprocess": Module(NOWHERE, constants=True),
    "socketserver": Module(NOWHERE),
    "signal": Module(NOWHERE, constants=True),
    "sched": Module(NOWHERE),
    "reactivex.scheduler": Module(HANDED),
}
"""Modules of which all is refused that is not allowed: what Python adds to them is refused, too."""

DENIED: Final = {
    "datetime.datetime.now": HANDED,
    "datetime.datetime.utcnow": HANDED,
    "datetime.datetime.today": HANDED,
    "datetime.date.today": HANDED,
    "os.urandom": HANDED,
    "os.getrandom": HANDED,
    "os.times": HANDED,
    "os.fork": NOWHERE,
    "uuid.uuid1": HANDED,
    "uuid.uuid4": HANDED,
    "reactivex.interval": HANDED,
    "reactivex.start": HANDED,
    "reactivex.timer": HANDED,
    "reactivex.to_async": HANDED,
    **{
        f"reactivex.operators.{name}": HANDED
        for name in (
            "buffer_with_time", "buffer_with_time_or_count", "debounce", "delay", "delay_subscription",
            "delay_with_mapper", "sample", "skip_last_with_time", "skip_until_with_time", "skip_with_time",
            "take_last_with_time", "take_until_with_time", "take_with_time", "throttle_first",
            "throttle_with_timeout", "time_interval", "timeout", "timestamp", "window_with_time",
            "window_with_time_or_count",
        )
    },
}  # fmt: skip
"""What is refused of modules of which the rest is allowed."""

CALLED_WITH: Final = {
    "random.Random": 1,
    "time.asctime": 1,
    "time.ctime": 1,
    "time.gmtime": 1,
    "time.localtime": 1,
    "time.strftime": 2,
}
"""Refused, but where they are called with so many arguments: a seed, or a time of somebody else's."""

WHOLE: Final = frozenset(
    {"datetime.datetime", "datetime.date", "os", "uuid", "datetime", "reactivex.operators"}
)
"""Of which something is refused, so that they must not be passed on as a value, where nobody would see it."""

CLASSES: Final = frozenset({"socket.socket", "datetime.datetime", "datetime.date", "socket.timeout"})
"""Classes whose names do not begin as a class's does."""
