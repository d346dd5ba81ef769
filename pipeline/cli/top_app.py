"""The screen of ``tickbraid top``: asks on a thread, shows on Textual's; needs the extra ``web``."""

import threading
from collections.abc import Callable
from itertools import cycle
from typing import ClassVar, Final, Protocol

from rich.console import RenderableType
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Footer, Static

from pipeline.errors import NoAnswer

from . import top_screen
from .instance import Frame

__all__ = ["TopApp", "Watched"]

EVERY_S: Final = 1.0
END_WITHIN_S: Final = 2.0
HELP: Final = """\
s  sort the connections by the next column (marked with ▾)
t  the slowest tickers instead of the busiest, and back
p  pause: nothing on the screen changes; and go on
?  this, and back
q  quit"""


class Watched(Protocol):
    """Is what is watched: an `Instance`, or in a test something like it."""

    url: str

    def read(self) -> Frame:
        """Return how it is doing now, or raise `NoAnswer`."""
        ...


class TopApp(App[None]):
    """Shows an instance once a second until it is quit; a server that is lost is said, and asked again.

    Args:
        instance: is asked on the thread ``tickbraid-top``, which ends with the app.
        wait: for so many seconds, or until the event is set; returns whether it was.
    """

    CSS = """
    #head { height: 1; margin-bottom: 1; }
    #connections, #subscribers { height: auto; margin-bottom: 1; }
    #left { width: 40; }
    VerticalScroll { scrollbar-size-vertical: 1; }
    #help { display: none; height: auto; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "Sort"),
        Binding("t", "tickers", "Slowest/busiest"),
        Binding("p,space", "pause", "Pause"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]
    ENABLE_COMMAND_PALETTE = False

    class Answered(Message):
        """Says what the instance answered."""

        def __init__(self, frame: Frame) -> None:
            super().__init__()
            self.frame = frame

    class Lost(Message):
        """Says why the instance did not answer."""

        def __init__(self, why: str) -> None:
            super().__init__()
            self.why = why

    def __init__(
        self,
        instance: Watched,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        super().__init__(ansi_color=True)
        self._instance = instance
        self._wait = wait
        self._sorts = cycle(top_screen.SORTS)
        self._sort = next(self._sorts)
        self._slowest = False
        self._paused = False
        self._shown: Frame | None = None
        self._over = threading.Event()
        self._asking = threading.Thread(target=self._ask, name="tickbraid-top", daemon=True)

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Static("…", id="head")
        yield Static(HELP, id="help")
        yield Static(id="connections")
        yield Static(id="subscribers")
        with Horizontal():
            with VerticalScroll(id="left"):
                yield Static(id="tickers")
            with VerticalScroll():
                yield Static(id="events")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self._asking.start()

    def on_unmount(self) -> None:
        """Ask no more; a question that is open is not waited for longer than 2 s."""
        self._over.set()
        if self._asking.ident is not None:  # it was started
            self._asking.join(END_WITHIN_S)

    def on_top_app_answered(self, message: Answered) -> None:
        """Show an answer, unless paused."""
        if not self._paused:
            self._shown = message.frame
            self._show()

    def on_top_app_lost(self, message: Lost) -> None:
        """Say that nobody answers; the last figures stay."""
        now = self._shown.now if self._shown else None
        self._write("head", top_screen.lost(now.at_ns if now else None, message.why))

    def on_resize(self) -> None:
        """Show more or less, once the new size is known."""
        self.call_after_refresh(self._show)

    def action_sort(self) -> None:
        """Sort the connections by the next column."""
        self._sort = next(self._sorts)
        self._show()

    def action_tickers(self) -> None:
        """Show the slowest instead of the busiest, and back."""
        self._slowest = not self._slowest
        self._show()

    def action_pause(self) -> None:
        """Let the screen stand still, and go on."""
        self._paused = not self._paused
        self._show()

    def action_help(self) -> None:
        """Show the keys, and hide them."""
        its = self.query_one("#help")
        its.display = not its.display

    def _show(self) -> None:
        frame = self._shown
        if frame is None or frame.now is None:
            return
        url, now = self._instance.url, frame.now
        self._write("head", top_screen.headline(now, url, "paused" if self._paused else ""))
        self._write(
            "connections",
            top_screen.connections(now.connections, frame.ticks_per_s, self._sort, self.size.width),
        )
        self._write("subscribers", top_screen.subscribers(now.subscribers, self.size.width))
        self._write("tickers", top_screen.tickers(frame, slowest=self._slowest))
        self._write("events", top_screen.events(frame))

    def _write(self, name: str, content: RenderableType) -> None:
        self.query_one(f"#{name}", Static).update(content)

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                message: Message = self.Answered(self._instance.read())
            except NoAnswer as error:
                message = self.Lost(str(error))
            self.post_message(message)
            self._wait(self._over, EVERY_S)
