from hypothesis import given
from hypothesis import strategies as st

from pipeline.massive.frames import Frames
from pipeline.massive.patience import CALM, DEFAULT_PATIENCE_BYTES, Patience

BEGIN_MS = 1_772_000_000_000
TICK_BYTES = 100


class Server:
    """Makes ticks at a rate and keeps what is not read: the independent record of what waits."""

    def __init__(self, patience, *, offset_ms=0, name="a"):
        self.patience = patience
        self.now_ms = BEGIN_MS
        self.waiting = []
        self.offset_ms = offset_ms
        self.name = name

    @property
    def waiting_bytes(self):
        return TICK_BYTES * len(self.waiting)

    def run(self, ms, ticks_a_ms, read_a_ms):
        """Let time go by, in which so many ticks are made and so many read each ms."""
        for _ in range(ms):
            self.now_ms += 1
            self.waiting += [self.now_ms] * ticks_a_ms
            self.read(read_a_ms)

    def read(self, ticks):
        taken, self.waiting = self.waiting[:ticks], self.waiting[ticks:]
        if taken:
            message = b"[%b]" % b",".join(b'{"ev":"T","t":%d}' % at_ms for at_ms in taken[-30:])
            frames = Frames(self.name, 0, [message], TICK_BYTES * len(taken))
            self.patience.read(frames, (self.now_ms + self.offset_ms) / 1e3, closely=True)


@given(
    st.lists(
        st.tuples(st.integers(50, 300), st.integers(1, 30), st.integers(1, 60)),
        min_size=1,
        max_size=8,
    ),
    st.integers(-5_000, 900_000),
)
def test_what_waits_at_the_server_is_known_by_its_lateness(phases, offset_ms):
    """Guessed too low, the server cuts us off; too high, ticks are given up that it would have kept."""
    patience = Patience()
    server = Server(patience, offset_ms=offset_ms)
    server.run(200, 10, 10)
    for ms, made, read in phases:
        server.run(ms, made, read)
        estimate = patience.waiting_bytes("a")
        fastest = max(10, *(made for _, made, _ in phases))
        slack = 5 * TICK_BYTES * fastest * 50  # the rate that it was made at is that of what was read
        assert estimate <= server.waiting_bytes * fastest + slack
        if server.waiting_bytes:
            slowest = min(10, *(made for _, made, _ in phases))
            assert estimate >= server.waiting_bytes * slowest / fastest / 3 - slack


def test_patience_is_spent_and_returns():
    """Reads would be held until the server cuts us off, or never again after one burst."""
    patience = Patience(1_000_000)
    server = Server(patience)
    server.run(300, 20, 20)
    assert not patience.is_spent
    spent_at = None
    while spent_at is None and server.now_ms < BEGIN_MS + 5_000:
        server.run(10, 20, 10)
        spent_at = server.waiting_bytes if patience.is_spent else None
    assert 800_000 < spent_at < 1_300_000
    while patience.is_spent and server.waiting:
        server.run(10, 20, 60)
    assert 0.5 * CALM * 1_000_000 < server.waiting_bytes < 1.5 * CALM * 1_000_000


def test_one_connection_of_many_spends_it():
    """The one that is behind would be cut off because the others are not."""
    patience = Patience(1_000_000)
    quiet, behind = Server(patience, name="quiet"), Server(patience, name="behind")
    for server in (quiet, behind):
        server.run(300, 5, 5)
    behind.run(1000, 40, 10)
    assert patience.is_spent
    quiet.run(100, 5, 5)
    assert patience.is_spent
    assert patience.waiting_bytes("quiet") < 1


def test_a_late_print_a_junk_time_and_no_time_are_no_backlog():
    """One odd tick would end the holding of reads, and ticks would be given up."""
    patience = Patience()
    server = Server(patience)
    server.run(300, 20, 20)
    for element in (b'{"ev":"T","t":1},', b'{"ev":"LULD","t":1772000000000000000},', b'{"ev":"X"},', b""):
        message = b'[%b{"ev":"T","t":%d}]' % (element, server.now_ms)
        patience.read(Frames("a", 0, [message], len(message)), server.now_ms / 1e3, closely=True)
        assert patience.waiting_bytes("a") < 10_000
    patience.read(Frames("a", 0, [b"[]"], 2), server.now_ms / 1e3 + 60, closely=True)
    assert patience.waiting_bytes("a") < 10_000


def test_the_clock_may_drift_for_a_day():
    """After some hours what is late by the clock's drift would be taken for a full server."""
    patience = Patience()
    server = Server(patience)
    server.run(300, 10, 10)
    for _ in range(24 * 6):
        server.now_ms += 600_000
        server.offset_ms += 6  # 10 ppm
        server.run(100, 10, 10)
    assert patience.waiting_bytes("a") < DEFAULT_PATIENCE_BYTES / 4


def test_where_all_is_calm_few_reads_are_looked_at():
    """Each read of a quiet market would cost 2 µs more."""
    patience, looked = Patience(), []

    class Message(bytes):
        def __getitem__(self, index):
            looked.append(index)
            return super().__getitem__(index)

    for read in range(1000):
        message = Message(b'[{"ev":"T","t":1772000000000}]')
        patience.read(Frames("a", 0, [message], 30), (BEGIN_MS + read) / 1e3, closely=False)
    assert len(looked) <= 11
