"""The sessions of all connections, and who of them carries what."""

from .spans import Session, kind_of, star_of

__all__ = ["Sessions"]


class Sessions:
    """Holds the present session of each connection.

    Attributes:
        watched: those whose batches have to be looked at, by connection.
    """

    def __init__(self) -> None:
        self.watched: dict[str, Session] = {}
        self._by_connection: dict[str, Session] = {}
        self._mark = 0

    @property
    def mark(self) -> int:
        """The last moment that was marked."""
        return self._mark

    def next_mark(self) -> int:
        """Mark this moment: an answer to what is sent from now on has it, or a later one."""
        self._mark += 1
        return self._mark

    def all(self) -> list[Session]:
        """Return all, in the order in which they began."""
        return list(self._by_connection.values())

    def get(self, connection: str) -> Session | None:
        """Return that of a connection, if there is one."""
        return self._by_connection.get(connection)

    def lives(self, session: Session) -> bool:
        """Tell whether a session has not ended."""
        return self.get(session.connection) is session

    def add(self, session: Session) -> None:
        """Begin one."""
        self._by_connection[session.connection] = session

    def pop(self, connection: str) -> Session | None:
        """End that of a connection, if there is one."""
        self.watched.pop(connection, None)
        return self._by_connection.pop(connection, None)

    def carriers(self, key: str, feed: str) -> list[Session]:
        """Return those that carry a channel, by its name or by a wildcard."""
        star = star_of(key, feed)
        return [each for each in self.all() if key in each.carried or star in each.carried]

    def askers(self, key: str, feed: str) -> list[Session]:
        """Return those that have asked for a channel, or for a wildcard that brings it."""
        star = star_of(key, feed)
        return [each for each in self.all() if key in each.asked or star in each.asked]

    def named_beside(self, star: str, feed: str) -> dict[str, None]:
        """Return the channels that are carried by a name of their own, though a wildcard brings them, too."""
        kind = kind_of(star)
        same = (each for each in self.all() if each.feed == feed)
        return dict.fromkeys(
            key for each in same for key in each.carried if kind_of(key) == kind and key != star
        )

    def ask_life(self, session: Session, mark: int) -> None:
        """Have a session's server asked for an answer, unless it owes one: then as soon as it has come."""
        session.sent = max(session.sent, mark)
        if not session.awaits_answer:
            session.awaits_answer = True
            session.prove(session.sent)

    def rest(self, session: Session) -> None:
        """Have the batches of a session looked at only while there is something to find."""
        if not self.lives(session):
            return
        if session.watch or session.answered > session.proved:
            self.watched[session.connection] = session
        else:
            self.watched.pop(session.connection, None)
