"""`SyntheticDataAdapter`: generated ticks where there is no account, with TickStock's interface."""

import contextlib
from collections.abc import Mapping
from typing import Any

from operators.isolation import ends_the_program
from pipeline.callables import check_callable, refuse_unrun
from pipeline.errors import Closed
from pipeline.stream import TickStream
from pipeline.subscriber_log import subscriber_log
from pipeline.symbols import read_symbols

from .config import stream_settings_of
from .session import Session, TickCallback
from .words import StatusCallback

__all__ = ["SyntheticDataAdapter"]


class SyntheticDataAdapter:
    """Generates ticks every SYNTHETIC_UPDATE_INTERVAL, and calls back; all methods from any thread.

    Args:
        config: TickStock's configuration. Never changed.
        tick_callback: is given every tick as `TickData`, one at a time, ``source`` being "synthetic".
        status_callback: is given ``connected`` and ``disconnected``, on the thread that causes them.
    """

    def __init__(
        self, config: Mapping[str, Any], tick_callback: TickCallback, status_callback: StatusCallback
    ) -> None:
        check_callable(tick_callback, "tick_callback")
        check_callable(status_callback, "status_callback")
        self.config = config
        self.tick_callback = tick_callback
        self.status_callback = status_callback
        self.client = None
        self._session: Session | None = None

    @property
    def connected(self) -> bool:
        """Whether ticks are generated."""
        return self._session is not None and bool(self._session.up())

    @property
    def stream(self) -> TickStream | None:
        """The pipeline beneath, once connected."""
        return None if self._session is None else self._session.stream

    def connect(self, tickers: list[str] | str) -> bool:
        """Begin to generate ticks of these; what was generated before is over. Always True.

        Raises:
            SettingsError: the configuration has a value that its key does not take.
        """
        given = [tickers] if isinstance(tickers, str) else list(tickers)
        settings = stream_settings_of(
            self.config,
            USE_SYNTHETIC_DATA=True,
            USE_MULTI_CONNECTION=False,
            WEBSOCKET_CONNECTION_1_UNIVERSE_KEY="",
            WEBSOCKET_CONNECTION_1_SYMBOLS=list(read_symbols(given).good),
            WEBSOCKET_REDUNDANT_SYMBOLS="",
        )
        self.disconnect()
        self._session = Session(settings, self.tick_callback, None)
        self._session.open()
        with contextlib.suppress(Closed):  # somebody disconnects meanwhile
            if self._session.stream is not None:
                self._session.stream.add_tickers(given)  # tells what can be no symbol among them
        self._tell("connected", "generating ticks")
        return True

    def disconnect(self) -> None:
        """Stop generating; nothing is called back afterwards."""
        if self.connected and self._session is not None:
            self._session.close()
            self._tell("disconnected", "no more ticks are generated")

    def _tell(self, word: str, message: str) -> None:
        try:
            returned = self.status_callback(word, {"message": message, "connection_id": "synthetic"})
            if returned is not None:
                refuse_unrun(returned, "the status callback")
        except BaseException as error:  # user code; the ticks go on
            subscriber_log.exception("the status callback raised on %s", word)
            if ends_the_program(error):
                raise
