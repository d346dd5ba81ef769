import os
import socket
from dataclasses import replace
from typing import Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.account import Account
from operators.histogram import LatencyHistogram
from operators.latency_stamp import LatenciesSnapshot
from pipeline import status
from pipeline.health.figures import ConnectionFigures, Figures, SubscriberFigures
from pipeline.massive.snapshot import ConnectionSnapshot, Phase
from pipeline.processes import messages
from pipeline.processes.messages import (
    Begin,
    End,
    HandColumns,
    Heard,
    Report,
    Said,
    Want,
    pack,
    read_orders,
    read_words,
    send_with,
)
from pipeline.settings import load_settings

KINDS = status.StatusEvent.__subclasses__()
SAMPLES = {
    str: st.text(max_size=5),
    int: st.integers(0, 2**63 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    tuple[str, ...]: st.lists(st.text(max_size=3), max_size=3).map(tuple),
    tuple[status.Gap, ...]: st.just((status.Gap("A", 1, 2),)),
}


def sample(kind):
    """Return a value of a type that a status event's field has."""
    if kind in SAMPLES:
        return SAMPLES[kind]
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    return st.none() | st.one_of(*(SAMPLES[part] for part in kind.__args__ if part in SAMPLES))


def events():
    """Return any status event of any kind."""
    return st.sampled_from(KINDS).flatmap(
        lambda kind: st.builds(kind, **{f.name: sample(f.type) for f in msgspec.structs.fields(kind)})
    )


def travel(data, read, cuts=()):
    """Send bytes in pieces, and return what is read of them until the end."""
    near, far = socket.socketpair()
    with near, far:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            near.sendall(data[start:end])
        near.shutdown(socket.SHUT_WR)
        return list(read(far))


@given(st.lists(events(), max_size=4), st.data())
@settings(max_examples=60)
def test_every_event_arrives_as_it_was_however_it_is_cut(sent, data):
    """A kind of event that cannot travel would end its process the first time that it happens."""
    words = [Heard(event, number) for number, event in enumerate(sent)]
    stream = b"".join(map(pack, words))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    assert travel(stream, read_words, cuts) == words


def test_settings_travel_with_their_key_and_never_show_it():
    """A child without the key cannot connect; a key in a log is a key lost."""
    config = {"MASSIVE_API_KEY": "k-3f9a", "USE_MASSIVE_API": True, "REDIS_URL": "redis://:k-3f9a@localhost"}
    begin = Begin(replace(load_settings(config, environ={}), universes={}, provenance={}), 10)
    (arrived,) = travel(pack(begin), read_orders)
    assert arrived == begin
    assert arrived.settings.massive_api_key.reveal() == "k-3f9a"
    assert "k-3f9a" not in repr(arrived)


def test_figures_arrive_as_they_were():
    """The parent's account would not be the children's."""
    histogram = LatencyHistogram()
    histogram.record(1234, 5)
    latencies = LatenciesSnapshot({"c": histogram.snapshot()}, {}, {"redis": histogram.snapshot()})
    subscriber = SubscriberFigures(
        "block", False, {"c": Account(3, 1, 0, 1, 0, 1)}, {"x": 1}, 0, {"state": "up"}
    )
    figures = Figures(
        {"c": ConnectionFigures(ConnectionSnapshot("c", "n", "u", Phase.LIVE), 3, 1.5)},
        {"redis": subscriber},
        latencies,
        7,
        {"malformed": 2},
    )
    report = Report(1, figures, 2, {"AAPL": 0.5}, True)
    assert travel(pack(report) + pack(Said("x", 30, "y")), read_words) == [report, Said("x", 30, "y")]


def test_a_socket_comes_with_its_order_and_not_with_another():
    """A subscriber would get another's columns; one that nobody takes would stay open."""
    near, far = socket.socketpair()
    pairs = [socket.socketpair() for _ in range(3)]
    with near, far:
        for number, (_, its) in enumerate(pairs):
            near.sendall(pack(Want((f"T.{number}",))))
            send_with(near, HandColumns(str(number), ()), its)
            its.close()
        near.shutdown(socket.SHUT_WR)
        orders = read_orders(far)
        for number, (ours, _) in enumerate(pairs[:2]):
            assert next(orders) == Want((f"T.{number}",))
            order = next(orders)
            assert not os.get_inheritable(order.descriptor)
            with socket.socket(fileno=order.descriptor) as received:
                received.sendall(order.name.encode())
            assert ours.recv(9) == b"%d" % number
        next(orders)
        orders.close()
    assert pairs[2][0].recv(1) == b"", "it is closed"
    for ours, _ in pairs:
        ours.close()


def test_what_is_no_message_of_ours_is_refused(monkeypatch):
    """Four wrong bytes would make the parent wait for gigabytes."""
    monkeypatch.setattr(messages, "MESSAGE_MAX_BYTES", 100)
    with pytest.raises(ConnectionError, match="bytes"):
        travel(pack(Want(("A" * 200,))), read_orders)
    with pytest.raises(msgspec.ValidationError):
        travel(pack(Heard(status.Closed(at_ns=1), 0)), read_orders)


def test_the_end_in_the_middle_of_a_message_is_the_end():
    """A child that is killed while it writes would look like a defect."""
    data = pack(End(1.0)) + pack(End(2.0))[:-1]
    assert travel(data, read_orders) == [End(1.0)]


def test_only_what_is_meant_to_travels():
    """A type that slips into a snapshot should be noticed by a test, not by a user."""
    with pytest.raises(NotImplementedError, match="object"):
        pack(
            Report(
                1, Figures(subscribers={"x": SubscriberFigures("block", False, {}, {}, 0, {"a": object()})})
            )
        )
    with pytest.raises(NotImplementedError, match="complex"):
        messages._hide(complex, 1)
