"""One connection of a session, as TickStock's code looks at it."""

from pipeline.stream import TickStream

from .session import Session

__all__ = ["ConnectionFace"]


class ConnectionFace:
    """Is the interface of `MassiveWebSocketClient` on one connection; all methods from any thread.

    Args:
        session: whose connection it is.
        connection: its id.
        url: its address.
    """

    def __init__(self, session: Session, connection: str, url: str) -> None:
        self._session = session
        self._connection = connection
        self.url = url

    @property
    def stream(self) -> TickStream | None:
        """The pipeline beneath, once connected."""
        return self._session.stream

    @property
    def connected(self) -> bool:
        """Whether the server has accepted the key, and the connection is up."""
        return self._connection in self._session.up()

    @property
    def subscribed_tickers(self) -> set[str]:
        """The tickers it carries."""
        return set(self._session.tickers().get(self._connection, ()))

    @property
    def subscription_confirmations(self) -> set[str]:
        """The tickers that the server confirmed."""
        return self._session.confirmed(self._connection)

    def is_connected(self) -> bool:
        """Tell whether it is up."""
        return self.connected

    def get_subscribed_tickers(self) -> set[str]:
        """Return the tickers it carries."""
        return self.subscribed_tickers

    def subscribe(self, tickers: list[str] | str) -> bool:
        """Carry these too, and wait some seconds until they are confirmed.

        Args:
            tickers: symbols, or one, asked for as they are written; what is subscribed already stays as it
                is, what can be no symbol is told to the status callback.

        Returns:
            False where it is not connected, or all of them were refused.
        """
        return self.connected and self._session.subscribe(tickers, self._connection)

    def unsubscribe(self, tickers: list[str] | str) -> bool:
        """Carry these no more; what is not carried is told. False where nothing is connected."""
        return self.connected and self._session.unsubscribe(tickers)
