"""What can go wrong at Massive: each fault a function of two numbers, so that a schedule is plain data."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

from pipeline.massive.simulator import Acks, Eviction, Silence
from pipeline.massive.simulator.feeds import join
from pipeline.massive.simulator.session import status
from pipeline.massive.simulator.wire import encode_frame
from tests.simulation.effects import Effect
from tests.simulation.elements import BREAKING, STATUSES
from tests.simulation.massive import Link, Massive, OtherProgram, SentTick
from tests.simulation.windows import Windows

__all__ = ["CLOSE_CODES", "FAULTS", "MassiveFaults"]

CLOSE_CODES = (1000, 1001, 1006, 1008, 1011, 1012, 1013)
SIZES = (125, 126, 127, 65_535, 65_536, 65_537, 70_000)
"""Of payloads, bytes: on both sides of each length class of RFC 6455."""
MOST_COPIES = 50


class MassiveFaults:
    """The faults of one server. Each takes two numbers in [0, 1): whom it hits, and how hard or how long.

    Each returns its effect, which grows as long as the fault lasts. Random choices beyond the two numbers
    are the conversations' own, from the seed of the server.

    Args:
        massive: the server.
    """

    def __init__(self, massive: Massive) -> None:
        self._massive = massive
        self._kernel = massive.kernel
        self._faults = Windows(massive.faults, massive.set_faults)
        self._options = Windows(massive.options, massive.set_options)
        self._visits: list[Any] = []
        self._programs: list[OtherProgram] = []

    def inject(self, name: str, pick: float, strength: float) -> Effect:
        """Let a fault of `FAULTS` happen now."""
        return FAULTS[name](self, pick, strength)

    def heal(self) -> None:
        """End all that lasts; what is half-open is for the client to find."""
        massive = self._massive
        self._faults.close_all()
        self._options.close_all()
        massive.set_faults(drop_auth=0, lose_auth=0)
        massive.sizes.clear()
        massive.listener.open()
        for timer in self._visits:
            self._kernel.cancel(timer)
        for program in self._programs:
            program.leave()
        for link in tuple(massive.links.values()):
            link.cuts_at = None
            if link.is_deaf and not link.is_half_open:
                link.conversation.abort("healed")

    # --- sessions end

    def fin(self, pick: float, _: float) -> Effect:
        """End TCP in order, without a close frame."""
        return self._end("fin", pick, lambda link: link.conversation.hang_up("fin"))

    def rst(self, pick: float, _: float) -> Effect:
        """Reset TCP: what is on its way is lost."""
        return self._end("rst", pick, lambda link: link.conversation.abort("rst"))

    def rst_all(self, *_: float) -> Effect:
        """Reset all sessions at once."""
        effect = self._effect("rst_all", "sessions ended", "bytes lost")
        for link in self._massive.listening:
            link.conversation.abort("rst")
        effect.stop()
        return effect

    def close(self, pick: float, strength: float) -> Effect:
        """Close with one of the codes."""
        code = CLOSE_CODES[int(strength * len(CLOSE_CODES))]
        return self._end(f"close_{code}", pick, lambda link: link.conversation.close(code, "rotation"))

    def close_all(self, _: float, strength: float) -> Effect:
        """Close all sessions with one of the codes, as a server does that is rolled over."""
        code = CLOSE_CODES[int(strength * len(CLOSE_CODES))]
        effect = self._effect("close_all", "sessions ended", "bytes lost")
        for link in self._massive.listening:
            link.conversation.close(code, "rotation")
        effect.stop()
        return effect

    def cut_in_message(self, pick: float, strength: float) -> Effect:
        """End a session in the middle of what it is sent next, in order or not."""
        effect = self._effect("cut_in_message", "messages cut in two")
        if link := self._pick(pick):
            link.cuts_at = strength
        return effect

    def force_disconnect(self, pick: float, _: float) -> Effect:
        """Say that it is about to be disconnected, and do it."""

        def action(link: Link) -> None:
            link.conversation.send_raw(encode_frame(join([status("force_disconnect", "Rotation")])))
            link.conversation.close(1001)

        return self._end("force_disconnect", pick, action)

    def kill_slow(self, pick: float, _: float) -> Effect:
        """Say that it reads too slowly, and cut it a second later."""
        return self._end("kill_slow", pick, lambda link: link.conversation.kill_slow())

    def little_patience(self, _: float, strength: float) -> Effect:
        """Kill whoever leaves a few bytes unread, for a while."""
        return self._options_for(
            "little_patience", 1 + 9 * strength, "slow kills", slow_consumer_bytes=1 + int(strength * 200)
        )

    def half_open(self, pick: float, _: float) -> Effect:
        """Let nothing through any more, and tell nobody."""
        effect = self._effect("half_open", "bytes lost")
        if link := self._pick(pick):
            effect.note("sessions half-open")
            link.go_half_open()
        return effect

    def half_open_all(self, *_: float) -> Effect:
        """Cut all links silently, as on some nights."""
        effect = self._effect("half_open_all", "bytes lost")
        for link in self._massive.listening:
            effect.note("sessions half-open")
            link.go_half_open()
        return effect

    def mute_data(self, pick: float, _: float) -> Effect:
        """Answer a session, and send it no data, until its end."""
        return self._mute("mute_data", pick, Silence.DATA)

    def mute_all(self, pick: float, _: float) -> Effect:
        """Answer a session nothing any more, not even pings, until its end."""
        return self._mute("mute_all", pick, Silence.ALL)

    # --- sessions do not begin

    def down(self, _: float, strength: float) -> Effect:
        """Reset all sessions and refuse new ones for a while, as a server that is restarted."""
        effect = self._effect("down", "sessions ended", "bytes lost")
        self._massive.listener.close_for(0.5 + 20 * strength)
        for link in tuple(self._massive.links.values()):
            link.conversation.abort("down")
        effect.stop()
        return effect

    def refuse(self, _: float, strength: float) -> Effect:
        """Refuse new sessions for a while."""
        seconds = 1 + 20 * strength
        effect = self._effect("refuse")
        listener = self._massive.listener
        before = listener.refusals
        listener.close_for(seconds)
        self._kernel.at(seconds, lambda: effect.note("connections refused", listener.refusals - before))
        return effect

    def greeting_late(self, _: float, strength: float) -> Effect:
        """Greet late, for a while."""
        return self._faults_for("greeting_late", 30.0, "greetings late", greeting_delay_s=12 * strength)

    def auth_late(self, _: float, strength: float) -> Effect:
        """Answer good keys late, for a while."""
        return self._faults_for("auth_late", 30.0, "keys answered late", auth_delay_s=12 * strength)

    def auth_dropped(self, _: float, strength: float) -> Effect:
        """Drop the next sessions when they send their key."""
        count = 1 + int(3 * strength)
        effect = self._effect("auth_dropped", "auths dropped")
        self._massive.set_faults(drop_auth=self._massive.faults.drop_auth + count)
        return effect

    def auth_timeout(self, _: float, strength: float) -> Effect:
        """Lose the next keys, and say later that none came."""
        count = 1 + int(2 * strength)
        effect = self._effect("auth_timeout", "keys lost")
        self._massive.set_faults(lose_auth=self._massive.faults.lose_auth + count)
        return effect

    def other_program(self, _: float, strength: float) -> Effect:
        """Let another program with the same key connect, stay for a while, and come back once if evicted."""
        effect = self._effect("other_program", "evictions")
        sessions = [one for one in self._massive.conversations if one.session.key]
        if sessions and self._massive.options.max_connections is not None:
            key, stays_s = str(sessions[0].session.key), 1 + 30 * strength
            self._visit(key, stays_s, effect)
            self._visits.append(self._kernel.at(stays_s / 2, self._visit, key, stays_s, effect))
        return effect

    def _visit(self, key: str, stays_s: float, effect: Effect) -> None:
        effect.note("other programs")
        program = OtherProgram(self._massive, key)
        self._programs.append(program)
        self._kernel.at(stays_s, program.leave)

    def eviction(self, _: float, strength: float) -> Effect:
        """Let other connections be evicted than usual, for a while; takes another program to be seen."""
        eviction = list(Eviction)[int(strength * len(Eviction))]
        return self._options_for("eviction", 60.0, "evictions", eviction=eviction)

    # --- acknowledgements

    def acks_late(self, _: float, strength: float) -> Effect:
        """Acknowledge late, for a while."""
        return self._faults_for("acks_late", 30.0, "acks late", ack_delay_s=0.1 + 14 * strength)

    def acks_lost(self, pick: float, strength: float) -> Effect:
        """Lose acknowledgements, for a while."""
        return self._faults_for("acks_lost", 15 + 30 * pick, "acks lost", ack_loss=0.1 + 0.9 * strength)

    def acks_shuffled(self, *_: float) -> Effect:
        """Acknowledge the channels of a request in another order, for a while."""
        return self._faults_for("acks_shuffled", 60.0, "acks in another order", shuffle_acks=True)

    def acks_single(self, *_: float) -> Effect:
        """Acknowledge each channel by a message of its own, for a while."""
        return self._options_for("acks_single", 60.0, "acks", acks=Acks.SINGLE)

    def acks_among_ticks(self, *_: float) -> Effect:
        """Acknowledge among ticks, for a while."""
        return self._options_for("acks_among_ticks", 60.0, "statuses among ticks", acks=Acks.AMONG_TICKS)

    def not_authorized(self, pick: float, strength: float) -> Effect:
        """Let the plan no more cover some channels that are held, for sessions that begin in a while."""
        channels = self._some_channels(pick, strength)
        seconds = 30 + 90 * strength
        return self._options_for("not_authorized", seconds, "not authorized", unauthorized=channels)

    def unanswered(self, pick: float, strength: float) -> Effect:
        """Answer some channels never, for sessions that begin in a while."""
        channels = self._some_channels(pick, strength)
        return self._options_for("unanswered", 30 + 90 * strength, "channels unanswered", unanswered=channels)

    def _some_channels(self, pick: float, strength: float) -> frozenset[str]:
        held = sorted(set().union(*(link.held for link in self._massive.links.values())))
        start = int(pick * len(held))
        return frozenset(held[start : start + 1 + int(3 * strength)])

    # --- data

    def malformed(self, _: float, strength: float) -> Effect:
        """Mix in elements that are no ticks, for a while."""
        return self._data_for("malformed", "elements malformed", malformed=0.1 + 0.9 * strength)

    def truncated(self, _: float, strength: float) -> Effect:
        """Send copies that break off in the middle, for a while."""
        return self._data_for("truncated", "messages cut", truncated=0.1 + 0.9 * strength)

    def repeated(self, _: float, strength: float) -> Effect:
        """Send messages twice on the same socket, at once or later, for a while."""
        return self._data_for("repeated", "messages repeated", repeat=0.1 + 0.9 * strength)

    def fragments(self, pick: float, strength: float) -> Effect:
        """Cut messages into fragments, pings between some of them, for a while."""
        count = 2 + int(5 * strength)
        return self._data_for("fragments", "messages in fragments", fragments=count, pings=pick)

    def statuses_among_ticks(self, pick: float, strength: float) -> Effect:
        """Put statuses of no meaning, hostile ones too, among the next ticks of a session."""
        effect = self._effect("statuses_among_ticks", "statuses among ticks")
        if link := self._pick(pick):
            start = int(strength * len(STATUSES))
            link.conversation.put_among_ticks(STATUSES[start : start + 3])
        return effect

    def broken_json(self, pick: float, strength: float) -> Effect:
        """Send a message that is no JSON, some copies and an element that breaks it, between two that are."""
        name = sorted(BREAKING)[int(strength * len(BREAKING))]
        effect = self._effect("broken_json")
        if link := self._pick(pick):
            copies = self._copies(link)[-6:]
            broken = [*copies[1:3], BREAKING[name], *copies[3:-1]]
            beside = [[copy] for copy in copies[:1]], [[copy] for copy in copies[-1:]]
            self._massive.send_message(link, *beside[0], broken, *beside[1])
            effect.note("broken messages")
        return effect

    def copies_elsewhere(self, pick: float, strength: float) -> Effect:
        """Send ticks that were read off one socket on another that has held their channels as long."""
        effect = self._effect("copies_elsewhere")
        listening = self._massive.listening
        start = int(pick * len(listening))
        for source, target in permutations(listening[start:] + listening[:start], 2):
            copies = [tick.element for tick in self._read_ticks(source) if target.has_held(tick)]
            if copies := copies[-1 - int(MOST_COPIES * strength) :]:
                self._massive.send_message(target, copies)
                effect.note("copies on another socket", len(copies))
                break
        return effect

    def large_message(self, pick: float, strength: float) -> Effect:
        """Send a message of more than 64 KiB, of copies, right behind a short one."""
        effect = self._effect("large_message")
        if (link := self._pick(pick)) and (copies := self._copies(link)):
            size_bytes = 65_536 + int(30_000 * strength)
            many: list[bytes] = []
            length = 0
            while length < size_bytes:
                many.append(copies[len(many) % len(copies)])
                length += len(many[-1]) + 1
            self._massive.send_message(link, copies[-1:])
            self._massive.send_message(link, many)
            effect.note("large messages")
        return effect

    def sizes(self, pick: float, strength: float) -> Effect:
        """Put ticks aside for a while and send them together, in messages of every length class."""
        effect = self._effect("sizes", "messages of a chosen size")
        if link := self._pick(pick):
            start = int(strength * len(SIZES))
            self._massive.sizes.extend(SIZES[start:] + SIZES[:start])
            self._massive.wait_with(link, 0.5 + 2 * strength)
        return effect

    def lag(self, pick: float, strength: float) -> Effect:
        """Send the ticks of one session later than those of the others, together."""
        effect = self._effect("lag")
        if link := self._pick(pick):
            effect.note("sessions late")
            self._massive.wait_with(link, 0.01 + 2 * strength)
        return effect

    @staticmethod
    def _read_ticks(link: Link) -> list[SentTick]:
        """Return those that the client has read: a copy of one that is lost would be no copy."""
        return [tick for tick in link.sent if tick.end <= link.tcp.read_bytes]

    def _copies(self, link: Link) -> list[bytes]:
        return [tick.element for tick in self._read_ticks(link)]

    # --- how

    def _pick(self, pick: float) -> Link | None:
        listening = self._massive.listening
        return listening[int(pick * len(listening))] if listening else None

    def _effect(self, name: str, *watched: str) -> Effect:
        return Effect(name, self._massive.effects, *watched)

    def _end(self, name: str, pick: float, action: Callable[[Link], object]) -> Effect:
        effect = self._effect(name, "sessions ended", "bytes lost")
        if link := self._pick(pick):
            action(link)
        effect.stop()
        return effect

    def _mute(self, name: str, pick: float, silence: Silence) -> Effect:
        effect = self._effect(name, "elements withheld", "unanswered")
        if link := self._pick(pick):
            effect.note("sessions mute")
            link.mute(silence)
        return effect

    def _faults_for(self, name: str, seconds: float, *watched: str, **changes: Any) -> Effect:
        return self._while_open(name, seconds, self._faults.open(**changes), watched)

    def _options_for(self, name: str, seconds: float, *watched: str, **changes: Any) -> Effect:
        return self._while_open(name, seconds, self._options.open(**changes), watched)

    def _data_for(self, name: str, watched: str, **changes: float) -> Effect:
        return self._faults_for(name, 20.0, watched, **changes)

    def _while_open(
        self, name: str, seconds: float, close: Callable[[], None], watched: tuple[str, ...]
    ) -> Effect:
        effect = self._effect(name, *watched)

        def end() -> None:
            close()
            effect.stop()

        self._kernel.at(seconds, end)
        return effect


FAULTS: dict[str, Callable[[MassiveFaults, float, float], Effect]] = {
    name: method
    for name, method in vars(MassiveFaults).items()
    if not name.startswith("_") and name not in {"heal", "inject"}
}
"""All faults of a server, by name."""
