"""The batched channel of Redis, from the setting to who listens."""

import json
from collections import Counter

import pytest

from pipeline.embedded import RedisServer
from tests.conftest import wait_until
from tests.integration.harness import RedisListener, Run

RAW, MANY = "tickstock.data.raw", "tickstock.data.raw.batch"


@pytest.mark.parametrize("raw", [RAW, ""])
def test_the_batched_channel_carries_every_tick_once(raw):
    """Whoever moves a consumer to the batched channel, beside the old one or alone, must miss nothing."""
    with RedisServer.start() as server:
        listener = RedisListener(server.url, RAW, MANY)
        config = {
            "SYNTHETIC_UPDATE_INTERVAL": 0.005,
            "MASSIVE_EVENT_TYPES": "T,Q,A",
            "SUBSCRIBER_OVERFLOW": "block",
            "REDIS_URL": server.url,
            "REDIS_CHANNEL_RAW": raw,
            "REDIS_CHANNEL_MARKET": "",
            "REDIS_CHANNEL_RAW_BATCH": MANY,
        }
        with Run(config) as run:
            wait_until(lambda: run.count > 300)
            run.stream.close()
            account = run.stream.account("redis")
            assert (account.imbalance, account.queued, account.dropped) == (0, 0, 0)
            wait_until(lambda: sum(map(len, map(json.loads, listener.messages[MANY]))) == account.delivered)
        listener.close()
    many = [tick for message in listener.messages[MANY] for tick in json.loads(message)]
    got = Counter((tick["event_type"], tick["ticker"]) for tick in many)
    assert got == Counter({channel: len(ticks) for channel, ticks in run.ticks.items()})
    if raw:
        assert [json.loads(message) for message in listener.messages[RAW]] == many
