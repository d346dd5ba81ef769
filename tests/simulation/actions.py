"""What happens around the stream: the network, the operator, subscribers, clocks. Each tells what it did.

Each action is given two numbers in [0, 1): whom it hits, and how hard or how long.
"""

import socket
from collections.abc import Callable
from typing import Any, Final

from pipeline.errors import Closed
from tests.simulation.network import Name
from tests.simulation.users import ERRORS

__all__ = ["ACTIONS", "Actions"]

STEP_MS: Final = 50.0
"""What a clock is set by at most: what a time server does to a clock that it keeps."""
DRIFT_PPM: Final = 200.0
HERE: Final = ("2001:db8::1", "192.0.2.1")
JOINERS_MOST: Final = 4


class Actions:
    """The things that somebody does in a world, by name.

    Args:
        run: the world while it runs, see `world.Run`.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        self._joined = 0

    # -- the network ----------------------------------------------------------------------------------------

    def slow_link(self, x: float, y: float) -> str:
        """Let all links be slow for a while."""
        self._run.slow_links(0.05 + 2 * y, 2 + 10 * x)
        return "links slow"

    def dns(self, x: float, y: float) -> str:
        """Let name servers fail, be slow, or know only an address at which nobody is, for a while."""
        name = _pick(
            (Name(error=socket.EAI_AGAIN), Name(HERE, delay_s=15 * y), Name((*HERE[:1], "192.0.2.9"))), x
        )
        self._run.fail_lookups(name, 1 + 10 * y)
        return "look-ups"

    def obstruct(self, x: float, y: float) -> str:
        """Let nobody get through to the server for a while, in each way that there is."""
        obstacle = _pick(("refused", "unreachable", "silent", "swallowed"), x)
        self._run.obstruct(obstacle, 1 + 10 * y)
        return obstacle

    def dead(self, x: float, _: float) -> str:
        """Let a connection be dead for good."""
        self._run.kill(f"connection_{1 + int(x * self._run.world.connections)}")
        return "dead"

    # -- the operator ---------------------------------------------------------------------------------------

    def move(self, x: float, y: float) -> str:
        """Move a ticker to a connection."""
        run = self._run
        names = [name for name in run.names if name in run.wanted]
        if not names:
            return ""
        connection = f"connection_{1 + int(y * run.world.connections)}"
        return self._operate("move", lambda: run.stream.move_ticker(_pick(names, x), connection))

    def add(self, x: float, _: float) -> str:
        """Want a ticker that is not wanted."""
        run = self._run
        names = [name for name in run.names if name not in run.wanted]
        if not names:
            return ""
        name = _pick(names, x)
        run.want(name)
        return self._operate("add", lambda: run.stream.add_tickers([name]))

    def remove(self, x: float, _: float) -> str:
        """Want a ticker no more, unless it is the last."""
        run = self._run
        names = [name for name in run.names if name in run.wanted]
        if len(names) < 2:
            return ""
        name = _pick(names, x)
        run.unwant(name)
        return self._operate("remove", lambda: run.stream.remove_tickers([name]))

    def reconnect(self, x: float, _: float) -> str:
        """End a connection's session."""
        run = self._run
        connection = f"connection_{1 + int(x * run.world.connections)}"
        return self._operate("reconnect", lambda: run.stream.reconnect(connection))

    def rebalance(self, _x: float, _y: float) -> str:
        """Spread the tickers anew."""
        return self._operate("rebalance", self._run.stream.rebalance)

    def _operate(self, name: str, action: Callable[[], object]) -> str:
        def act() -> None:
            try:
                action()
            except (Closed, ValueError) as refused:
                self._run.effects[name, f"refused: {type(refused).__name__}"] += 1

        self._run.spawn(act, "operator")
        return "asked for"

    # -- subscribers ----------------------------------------------------------------------------------------

    def join(self, x: float, y: float) -> str:
        """Attach a sink."""
        if len(self._run.sinks) >= JOINERS_MOST:
            return ""
        self._joined += 1
        overflow = _pick(("drop_oldest", "drop_newest", "conflate", "block", "error"), x)
        self._run.attach(f"sink-{self._joined}", overflow, 1 + int(y * 50))
        return f"joined ({overflow})"

    def leave(self, x: float, _: float) -> str:
        """Let a sink leave, rather one that hangs."""
        sinks = self._run.sinks
        if not sinks:
            return ""
        self._run.detach(_pick([name for name in sinks if sinks[name][0].hangs] or [*sinks], x))
        return "left"

    def quit(self, _x: float, _y: float) -> str:
        """Let the callback leave for good, which may be reading the sockets itself."""
        return "left" if self._run.quit() else ""

    def raise_(self, x: float, y: float) -> str:
        """Let a subscriber's code raise."""
        user, error = _pick(self._run.users, x), _pick(ERRORS, y)
        user.fall_out(error, 1 + int(x * 5))
        return f"raises {error.__name__}"

    def hang(self, x: float, y: float) -> str:
        """Let a subscriber's code hang."""
        _pick(self._run.users, x).hang(0.5 + 30 * y * y)
        return "hangs"

    def slow(self, x: float, y: float) -> str:
        """Let a subscriber's code be slow for some calls."""
        _pick(self._run.users, x).be_slow(0.001 + y, 1 + int(x * 20))
        return "slow"

    # -- clocks ---------------------------------------------------------------------------------------------

    def step(self, _: float, y: float) -> str:
        """Set our clock, forward or back."""
        self._run.set_clock(int((y - 0.5) * 2 * STEP_MS * 1e6))
        return "clock set"

    def drift(self, _: float, y: float) -> str:
        """Let our clock go wrong."""
        self._run.drift(int((y - 0.5) * 2 * DRIFT_PPM))
        return "clock drifts"


def _pick(some: Any, x: float) -> Any:
    return some[int(x * len(some))]


ACTIONS: Final[dict[str, Callable[[Actions, float, float], str]]] = {
    name.rstrip("_"): method for name, method in vars(Actions).items() if not name.startswith("_")
}
"""All that happens around the stream, by name; each returns what it did, "" where there was nothing to do."""
