import pytest

from pipeline import SettingsError, TickData
from pipeline.tickstock import SyntheticDataAdapter
from tests.conftest import wait_until
from tests.tickstock.harness import FOREIGN

CONFIG = {**FOREIGN, "SYNTHETIC_UPDATE_INTERVAL": "0.02", "MASSIVE_EVENT_TYPES": "T"}


@pytest.fixture
def made(heard):
    """An adapter, disconnected at the end."""
    made = SyntheticDataAdapter(CONFIG, heard.tick, heard.status)
    yield made
    made.disconnect()


def test_it_generates_what_it_is_connected_with(made, heard):
    """TickStock's own made up its tickers, whatever the watchlist."""
    assert made.connect(["AAPL", "BACpL"]) is True
    assert made.connected
    heard.wait_for_tickers(["AAPL", "BACpL"])
    assert heard.tickers() == {"AAPL", "BACpL"}
    assert {(type(tick), tick.source) for tick in heard.ticks} == {(TickData, "synthetic")}
    assert heard.words() == ["connected"]


def test_disconnect_ends_it(made, heard):
    """Ticks would go on after the end of the application."""
    made.connect(["AAPL"])
    heard.wait_for_ticks(5)
    made.disconnect()
    made.disconnect()
    count = len(heard.ticks)
    assert made.stream.account().delivered == count
    assert not made.connected
    assert heard.words() == ["connected", "disconnected"]


def test_connect_again_generates_something_else(made, heard):
    """The watchlist has changed."""
    made.connect(["AAPL"])
    made.connect(["MSFT"])
    heard.wait_for_tickers(["MSFT"])
    assert made.stream.tickers() == {"synthetic": ("MSFT",)}


def test_it_has_the_attributes_of_the_real_one(made, heard):
    """TickStock treats both alike."""
    assert made.config is CONFIG
    assert made.client is made.stream is None
    assert (made.tick_callback, made.status_callback) == (heard.tick, heard.status)
    made.disconnect()


def test_what_cannot_be_is_told(made, heard, caplog):
    """A watchlist with a slip would generate a ticker that does not exist, or nothing at all."""
    assert made.connect(["S1", "NO GOOD"]) is True
    wait_until(lambda: "add_tickers: left out 'NO GOOD'" in caplog.text)
    assert made.stream.tickers() == {"synthetic": ("S1",)}
    with pytest.raises(SettingsError, match="SYNTHETIC_UPDATE_INTERVAL"):
        SyntheticDataAdapter({"SYNTHETIC_UPDATE_INTERVAL": "fast"}, heard.tick, heard.status).connect(["S1"])
