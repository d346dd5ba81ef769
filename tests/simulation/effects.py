"""What a fault did, as it is counted by those to whom it happens."""

from collections import Counter

__all__ = ["Effect"]


class Effect:
    """What one fault did, by kind; a fault that hit nothing has none.

    Args:
        fault: its name.
        effects: what is counted as it happens, by whoever it happens to; grows.
        watched: what of that this fault is the cause of, from now until `stop`.
    """

    def __init__(self, fault: str, effects: Counter[str], *watched: str) -> None:
        self.fault = fault
        self._effects = effects
        self._before = {name: effects[name] for name in watched}
        self._counts: Counter[str] = Counter()

    def note(self, what: str, count: int = 1) -> None:
        """Count something that happened at once."""
        self._counts[what] += count

    def stop(self) -> None:
        """Let what happens from now on have other causes."""
        self._counts.update(self._watched())
        self._before.clear()

    def _watched(self) -> dict[str, int]:
        return {name: self._effects[name] - before for name, before in self._before.items()}

    @property
    def counts(self) -> dict[str, int]:
        """What happened so far, how often."""
        return dict(+(self._counts + Counter(self._watched())))

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __repr__(self) -> str:
        return f"{self.fault}: {self.counts or 'hit nothing'}"
