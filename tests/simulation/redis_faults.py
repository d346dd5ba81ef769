"""What can go wrong at Redis: each fault a function of two numbers, as those of Massive."""

from collections.abc import Callable

from tests.simulation.effects import Effect
from tests.simulation.redis import Redis, RedisLink

__all__ = ["REDIS_FAULTS", "REFUSALS", "RedisFaults"]

REFUSALS = (
    b"READONLY You can't write against a read only replica.",
    b"OOM command not allowed when used memory > 'maxmemory'.",
    b"LOADING Redis is loading the dataset in memory",
    b"MISCONF Errors writing to the AOF file: No space left on device",
    b"ERR something that no version says yet",
)


class RedisFaults:
    """The faults of one server. Each takes two numbers in [0, 1): whom or what, and how hard or how long.

    Each returns its effect, which grows as long as the fault lasts.

    Args:
        redis: the server.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._kernel = redis.kernel
        self._hangs = self._refuses = self._delays = 0

    def inject(self, name: str, pick: float, strength: float) -> Effect:
        """Let a fault of `REDIS_FAULTS` happen now."""
        return REDIS_FAULTS[name](self, pick, strength)

    def heal(self) -> None:
        """End all that lasts; what is half-open is for the client to find."""
        redis = self._redis
        redis.refusal = b""
        redis.forbidden = frozenset()
        redis.reply_delay_s = 0.0
        redis.listener.open()
        redis.go_on()
        for link in tuple(redis.links):
            if link.is_mute or link.breaks_off:
                link.abort()

    def hung(self, _: float, strength: float) -> Effect:
        """Carry out nothing for a while, with TCP up; strong enough for the client to give up."""
        effect = self._effect("hung", "commands held up")
        self._hangs += 1
        self._redis.is_hung = True

        def end() -> None:
            self._hangs -= 1
            if not self._hangs:
                self._redis.go_on()
            effect.stop()

        self._kernel.at(0.2 + 40 * strength**2, end)
        return effect

    def refuses(self, pick: float, strength: float) -> Effect:
        """Answer READONLY, OOM, LOADING and others to whoever writes, for a while."""
        effect = self._effect("refuses", "commands refused")
        self._refuses += 1
        self._redis.refusal = REFUSALS[int(pick * len(REFUSALS))]

        def end() -> None:
            self._refuses -= 1
            if not self._refuses:
                self._redis.refusal = b""
            effect.stop()

        self._kernel.at(0.1 + 10 * strength, end)
        return effect

    def forbidden(self, pick: float, strength: float) -> Effect:
        """Forbid a channel that messages went to, for a while."""
        effect = self._effect("forbidden", "messages forbidden")
        channels = sorted({one.channel for one in self._redis.published[-100:]})
        if not channels or self._redis.forbidden:
            return effect
        self._redis.forbidden = frozenset({channels[int(pick * len(channels))]})

        def end() -> None:
            self._redis.forbidden = frozenset()
            effect.stop()

        self._kernel.at(1 + 10 * strength, end)
        return effect

    def restart(self, *_: float) -> Effect:
        """End all connections, and listen again soon."""
        effect = self._effect("restart", "connections ended", "bytes lost")
        self._redis.go_down_for(0.1)
        effect.stop()
        return effect

    def down(self, _: float, strength: float) -> Effect:
        """Be away for a while."""
        effect = self._effect("down", "connections ended", "bytes lost")
        self._redis.go_down_for(1 + 20 * strength)
        effect.stop()
        return effect

    def rst(self, pick: float, _: float) -> Effect:
        """Reset a connection."""
        return self._with_link("rst", pick, RedisLink.abort)

    def fin(self, pick: float, _: float) -> Effect:
        """End a connection in order, as a server does to clients that are idle."""
        return self._with_link("fin", pick, RedisLink.close)

    def half_open(self, pick: float, _: float) -> Effect:
        """Let nothing through any more, and tell nobody."""
        effect = self._effect("half_open")
        if link := self._pick(pick):
            effect.note("connections half-open")
            link.go_half_open()
        return effect

    def replies_lost(self, pick: float, _: float) -> Effect:
        """Take what comes over a connection, and answer nothing of it any more."""
        effect = self._effect("replies_lost", "replies lost")
        if link := self._pick(pick):
            link.is_mute = True
        return effect

    def replies_late(self, _: float, strength: float) -> Effect:
        """Answer late, for a while."""
        effect = self._effect("replies_late", "replies late")
        self._delays += 1
        self._redis.reply_delay_s = 0.001 + 2 * strength**2

        def end() -> None:
            self._delays -= 1
            if not self._delays:
                self._redis.reply_delay_s = 0.0
            effect.stop()

        self._kernel.at(10.0, end)
        return effect

    def cut_in_reply(self, pick: float, _: float) -> Effect:
        """End a connection in the middle of its next reply."""
        effect = self._effect("cut_in_reply", "replies cut")
        if link := self._pick(pick):
            link.breaks_off = True
        return effect

    def _pick(self, pick: float) -> RedisLink | None:
        links = list(self._redis.links)
        return links[int(pick * len(links))] if links else None

    def _with_link(self, name: str, pick: float, action: Callable[[RedisLink], None]) -> Effect:
        effect = self._effect(name, "connections ended", "bytes lost")
        if link := self._pick(pick):
            action(link)
        effect.stop()
        return effect

    def _effect(self, name: str, *watched: str) -> Effect:
        return Effect(name, self._redis.effects, *watched)


REDIS_FAULTS: dict[str, Callable[[RedisFaults, float, float], Effect]] = {
    name: method
    for name, method in vars(RedisFaults).items()
    if not name.startswith("_") and name not in {"heal", "inject"}
}
"""All faults of a Redis server, by name."""
