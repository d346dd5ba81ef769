from pipeline import status
from tests.test_pool import HOMES, TICKERS, PoolWorld

BREAK = {"overlap_s": 0.0}


def asked_of(world, name):
    """Return the channels that a server was asked for in its last session, whether it confirms or not."""
    asked = [m["params"].split(",") for m in world.wires[name].sent if m["action"] == "subscribe"]
    return {channel.partition(".")[2] for channels in asked for channel in channels}


def home_again(world):
    """Kill c1, revive it, and stop when its tickers have begun to come home."""
    world.kill("c1")
    world.run(10)
    world.revive("c1")
    assert world.held()["c2"] | world.held()["c3"] == set(TICKERS)
    world.gaps.opened.clear()
    world.gaps.closed.clear()
    for _ in range(10_000):
        if any(event.reason == "return" for event in world.of(status.Moved)):
            return
        world.run(0.001)
    raise AssertionError("they never came home")


def test_without_an_overlap_a_ticker_leaves_before_it_comes():
    """With a process a connection nobody takes out copies: two seconds of each tick twice, at every move."""
    world = PoolWorld(**BREAK)  # its servers check that no channel is on two of them
    home_again(world)
    world.run(0.1)
    assert world.held() == {name: set(home) for name, home in HOMES.items()}
    assert [e.reason for e in world.of(status.Moved) if e.connection == "c1"] == ["return"] * 2


def test_what_a_move_without_an_overlap_misses_is_told():
    """A gap that nobody declares is a silent loss, however short it is."""
    world = PoolWorld(**BREAK)
    home_again(world)
    world.run(0.1)
    opened = {ticker: (name, cut) for name, tickers, cut in world.gaps.opened for ticker in tickers}
    closed = {ticker: (name, at) for name, tickers, at in world.gaps.closed for ticker in tickers}
    assert set(opened) == set(closed) == {"A", "B"}
    for ticker, (name, cut_ns) in opened.items():
        assert name in {"c2", "c3"}, "the one that carried it last"
        assert closed[ticker][0] == name
        assert 0 < closed[ticker][1] - cut_ns < 0.1e9


def test_a_server_that_never_confirms_is_waited_for_a_second():
    """A ticker would be carried nowhere for as long as an old server keeps silent."""
    world = PoolWorld(**BREAK)
    world.confirms = False
    world.pool.move_ticker("A", "c2")
    world.run(0.9)
    assert "A" not in asked_of(world, "c2")
    world.run(0.2)
    assert "A" in asked_of(world, "c2")


def test_one_that_dies_while_it_gives_back_is_not_waited_for():
    """The second would be a second of nothing, for no copies could come any more."""
    world = PoolWorld(**BREAK)
    world.confirms = False
    world.pool.move_ticker("A", "c2")
    world.run(0.01)
    assert "A" not in asked_of(world, "c2")
    world.kill("c1")
    world.run(0.01)
    assert "A" in asked_of(world, "c2")
    assert [gap[:2] for gap in world.gaps.opened if "A" in gap[1]] == [("c1", ("A",))]


def test_a_ticker_that_is_removed_on_its_way_stays_away():
    """Somebody's removed ticker would come back a second later."""
    world = PoolWorld(**BREAK)
    world.confirms = False
    world.pool.move_ticker("A", "c2")
    world.run(0.01)
    world.pool.remove_tickers(["A"])
    world.run(5)
    assert not any("A" in asked_of(world, name) for name in ("c2", "c3"))
    assert not world.gaps.is_open


def test_one_that_is_moved_on_while_it_parts_arrives_where_it_was_moved_last():
    """A user who changes his mind within a second would find the ticker nowhere, or twice."""
    world = PoolWorld(**BREAK)
    world.pool.move_ticker("A", "c2")
    world.pool.move_ticker("A", "c3")
    world.run(2)
    assert [name for name, held in world.held().items() if "A" in held] == ["c3"]
    world.pool.move_ticker("A", "c2")
    world.pool.move_ticker("A", "c3")
    world.run(2)
    assert [name for name, held in world.held().items() if "A" in held] == ["c3"]
    assert not world.gaps.is_open


def test_nothing_begins_after_the_end():
    """A timer of the seating would subscribe on a stream that is closed."""
    world = PoolWorld(**BREAK)
    world.confirms = False
    world.pool.move_ticker("A", "c2")
    world.run(0.01)
    world.pool.dispose()
    world.run(5)
    assert "A" not in asked_of(world, "c2")
