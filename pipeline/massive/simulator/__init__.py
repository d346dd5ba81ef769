"""A simulated Massive server: every word of the protocol, any feed, any fault.

::

    feed = SyntheticFeed(["AAPL", "MSFT"], rate=5000)
    with Simulator([feed], Options(keys=frozenset({"secret"}), max_connections=3)) as simulator:
        connect_to(simulator.url)
        simulator.set_faults(malformed=0.01, repeat=0.05)
        simulator.report().sent.types["T"]
"""

from .feeds import Bursts, Feed, Packet, ReplayFeed, SyntheticFeed, read_recording
from .options import Acks, Eviction, Faults, Options, Silence
from .report import Attempt, ClientReport, Report, Tally
from .server import Simulator

__all__ = [
    "Acks",
    "Attempt",
    "Bursts",
    "ClientReport",
    "Eviction",
    "Faults",
    "Feed",
    "Options",
    "Packet",
    "ReplayFeed",
    "Report",
    "Silence",
    "Simulator",
    "SyntheticFeed",
    "Tally",
    "read_recording",
]
