from pipeline.routing import universe
from pipeline.routing.universe import register_provider
from pipeline.tickstock import CacheControl


def test_it_knows_the_shipped_universes_and_joins_them():
    """TickStock's pages ask for a watchlist by its key."""
    found = CacheControl().get_universe_tickers("market_leaders:top_10 + etf:sector_spdrs")
    assert (found[0], found[-1], len(found)) == ("NVDA", "XLY", 21)


def test_an_unknown_key_is_empty():
    """TickStock then takes its default."""
    assert CacheControl().get_universe_tickers("no:such") == []


def test_it_asks_the_application_s_own_source(monkeypatch):
    """TickStock keeps its universes in a database; one registered later counts, too."""
    monkeypatch.setattr(universe, "_registered", [])
    cache = CacheControl({"UNIVERSES": {"mine:two": ["A", "B"]}, "USE_MASSIVE_API": True})
    register_provider({"db:one": ["x"]}.get)
    assert cache.get_universe_tickers("mine:two+db:one") == ["A", "B", "x"]
