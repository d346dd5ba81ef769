"""Every market over real sockets: what was sent is what callback, columns and Redis messages have."""

import json
from collections import Counter

import pytest

from pipeline.columns import COLUMNS
from pipeline.markets import EVENT_TYPES
from pipeline.massive.decode import decode_message
from pipeline.massive.simulator import Options, ReplayFeed, Simulator
from pipeline.massive.simulator.feeds import packets_of
from pipeline.sinks.redis_messages import Channels, Packer
from tests.conftest import wait_until
from tests.feed_examples import EXAMPLES
from tests.integration.harness import KEY, Run, config_for

SENT = [example for example in EXAMPLES if example.wire["ev"] in EVENT_TYPES]
"""All that can be asked for."""


def test_every_event_of_every_market_comes_through():
    """A field that is lost on the way from the socket to the user is lost for good."""
    message = json.dumps([example.wire for example in SENT]).encode()
    feed = ReplayFeed(packets_of([(0, message)]))
    rows = []
    with Simulator([feed], Options(keys=frozenset({KEY}), start_after=99)) as server:
        config = config_for(
            server,
            dict.fromkeys(example.ticker for example in SENT),
            MASSIVE_WEBSOCKET_URL=f"ws://{server.address}/",
            MASSIVE_EVENT_TYPES=list(EVENT_TYPES),
            DEDUPE_WINDOW=0,
        )
        with Run(config) as run:
            columns = run.stream.columns_of(*sorted(COLUMNS))
            columns.subscribe(lambda its: rows.extend(its.to_pylist()))
            run.wait_confirmed(len(EVENT_TYPES) * len({example.ticker for example in SENT}))
            server.start_feeds()
            wait_until(lambda: run.count == len(SENT) == len(rows))
            health = run.stream.health()
    assert health["rejected"] == health["unreadable"] == {}
    assert run.by_channel() == Counter(example.channel for example in SENT)
    assert [(row["event_type"], row["ticker"]) for row in rows] == [
        (example.wire["ev"], example.ticker) for example in SENT
    ]
    for example in SENT:
        its = run.ticks[example.wire["ev"], example.ticker]
        assert any(
            all(getattr(tick, name) == value for name, value in example.says.items()) for tick in its
        ), example.name


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_every_event_with_a_price_is_a_message_to_redis(example):
    """TickStock reads the same keys of every market; a forex bar without them draws no chart."""
    (tick,), _ = decode_message(json.dumps([example.wire]).encode())
    parcel, rejected = Packer(Channels(raw="raw", market="market")).pack("c", [tick])
    if tick.price is None:
        assert rejected == {"no_price": 1}
        return
    raw, market = map(json.loads, parcel.parts[1::2])
    assert {name: raw[name] for name in raw} == {name: getattr(tick, name) for name in raw}
    assert raw["event_type"] == example.wire["ev"]
    assert (market["symbol"], market["price"]) == (example.ticker, tick.price)
